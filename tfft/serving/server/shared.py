"""Weights that several loaded versions have in common, several adapters over one backbone say, are in memory once."""

import hashlib
import itertools
import weakref

import numpy as np
import tensorflow as tf

LEAST = 1 << 16    # bytes of a weight that is worth it
AT_ONCE = 1 << 27  # bytes looked at in one run of a session, each of which costs time and memory of its own
ALIGNED = 64       # bytes: an array that begins at such an address is taken by TensorFlow as it is, without a copy

# how the names of ops begin that change a variable where it is, and so would change it for others
CHANGING = ("AssignAdd", "AssignSub", "ResourceApply", "ResourceSparseApply", "ResourceScatter", "ResourceStridedSliceAssign")

_KNOWN: weakref.WeakValueDictionary = weakref.WeakValueDictionary()  # by contents, as long as a variable has it


def share(session, graph: tf.Graph, definition) -> int:
    """Lets the variables of a session have the memory of those with equal contents in other sessions; returns the bytes so
    saved. On a GPU, whose memory is not Python's to give, and of models that change their variables nothing is shared.

    definition: the GraphDef that the graph was made of. Versions are loaded one after the other.
    """
    if tf.config.list_physical_devices("GPU") or any(node.op.startswith(CHANGING) for node in _nodes(definition)):
        return 0
    parts, saved = _parts(graph), 0
    for part in parts:
        try:
            values = session.run([read for _, read, _ in part])
        except tf.errors.FailedPreconditionError:  # one that has no value
            continue
        known = [_known(value) for value in values]
        saved += sum(array.nbytes for array, was_there in known if was_there)
        session.run([assign for _, _, assign in part],
                    {given: array for (given, _, _), (array, _) in zip(part, known, strict=True)})
    return saved


def _nodes(definition):
    """All nodes of a graph and its functions."""
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def _parts(graph: tf.Graph) -> list[list[tuple]]:
    """(placeholder, its reading, its assignment) of each large variable, by so many as are looked at together."""
    made, sizes = [], []
    with graph.as_default():
        for op in [op for op in graph.get_operations() if op.type == "VarHandleOp"]:
            dtype, shape = op.get_attr("dtype"), tf.TensorShape(op.get_attr("shape"))
            if dtype == tf.string or not shape.is_fully_defined() or shape.num_elements() * dtype.size < LEAST:
                continue
            given = tf.raw_ops.Placeholder(dtype=dtype)
            made.append((given, tf.raw_ops.ReadVariableOp(resource=op.outputs[0], dtype=dtype),
                         tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=given)))
            sizes.append(shape.num_elements() * dtype.size)
    before = itertools.accumulate(sizes, initial=0)
    grouped = itertools.groupby(zip(before, made, strict=False), lambda pair: pair[0] // AT_ONCE)
    return [[one for _, one in group] for _, group in grouped]


def _known(value: np.ndarray) -> tuple[np.ndarray, bool]:
    """(the array of these contents that all have, whether it was there)"""
    key = (value.dtype.name, value.shape, hashlib.blake2b(np.ascontiguousarray(value).view(np.uint8)).digest())
    found = _KNOWN.get(key)
    if found is not None:
        return found, True
    room = np.empty(value.nbytes + ALIGNED, np.uint8)
    begin = -room.ctypes.data % ALIGNED
    made = _KNOWN[key] = room[begin:begin + value.nbytes].view(value.dtype).reshape(value.shape)
    made[...] = value
    return made, False
