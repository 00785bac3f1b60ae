"""What TensorFlow would keep of models that nobody holds any more, in a process that trains often. Imports no TensorFlow."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_leaks() -> Iterator[None]:
    """TensorFlow never lets go of a graph with gradients of its own (it registers each), nor of what is known to its default
    graph: a process that trains often would keep every model with its optimizer. What came within is let go at the end; it can
    still compute, but not be trained."""
    def registered() -> dict:
        ops = sys.modules.get("tensorflow.python.framework.ops")
        return getattr(getattr(ops, "gradient_registry", None), "_registry", {})

    before = set(registered())
    try:
        yield
    finally:
        for name in [name for name in registered() if name.startswith("CustomGradient") and name not in before]:
            del registered()[name]
        tf = sys.modules.get("tensorflow")
        if tf and tf.executing_eagerly():
            tf.compat.v1.reset_default_graph()
