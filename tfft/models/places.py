"""The matrices inside a backbone's layers: found by name, and other layers put in their places."""

import dataclasses
import fnmatch
import math
from collections.abc import Iterator

import keras

from tfft.errors import UserError

MATRICES = (keras.layers.Dense, keras.layers.EinsumDense)


@dataclasses.dataclass(frozen=True)
class Place:
    """A layer, and the attribute of another that it is.

    path: 'transformer_layer_0/self_attention_layer/query', the names of the layers it is in and its own.
    """

    parent: keras.layers.Layer
    attribute: str
    layer: keras.layers.Layer
    path: str

    def put(self, layer: keras.layers.Layer) -> None:
        """Has the parent use another layer instead. Both are built; the parent keeps no other reference to the old one."""
        layers, old = self.parent._layers, getattr(self.parent, self.attribute)
        position = next(i for i, one in enumerate(layers) if one is old)
        locked = self.parent._tracker.locked
        self.parent._tracker.unlock()  # as Keras does itself where a built layer gets new weights
        try:
            setattr(self.parent, self.attribute, layer)
        finally:
            if locked:
                self.parent._tracker.lock()
        layers[:] = [one for one in layers if one is not layer and one is not old]
        layers.insert(position, layer)


def places(layer: keras.layers.Layer, path: str = "") -> Iterator[Place]:
    """Every layer that is an attribute of another, all the way down."""
    path, seen = f"{path}{layer.name}", set()
    for attribute, value in list(vars(layer).items()):
        if isinstance(value, keras.layers.Layer) and id(value) not in seen:
            seen.add(id(value))
            yield Place(layer, attribute, value, f"{path}/{value.name}")
            yield from places(value, f"{path}/")


def matrices(layers: list) -> list[Place]:
    """Those of these layers whose inputs and outputs are rows: that multiply the last axes of what comes in, by a kernel."""
    return [place for layer in layers for place in places(layer) if isinstance(place.layer, MATRICES) and axes(place.layer)[0]]


def axes(layer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(those of a matrix's axes that are its input, those that are its output); no input: it is no such matrix.

    Of "btd,ndh->btnh", Gemma's queries: ((1,), (0, 2))
    """
    if isinstance(layer, keras.layers.Dense):
        return (0,), (1,)
    inputs, _, rest = layer.equation.partition(",")
    kernel, _, outputs = rest.partition("->")
    summed = "".join(axis for axis in kernel if axis in inputs and axis not in outputs)
    made = "".join(axis for axis in kernel if axis not in inputs)
    if not summed or len(summed + made) != len(kernel) or not inputs.endswith(summed) or \
            outputs != inputs.removesuffix(summed) + made:
        return (), ()
    return tuple(map(kernel.index, summed)), tuple(map(kernel.index, made))


def shapes(layer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(inputs, outputs) of a matrix, each with its axes."""
    return tuple(tuple(layer.kernel.shape[axis] for axis in part) for part in axes(layer))


def sizes(layer) -> tuple[int, int]:
    """(inputs, outputs) of a matrix, as a matrix."""
    return tuple(map(math.prod, shapes(layer)))


def chosen(found: list[Place], patterns: tuple[str, ...], where: str) -> list[Place]:
    """Those that a pattern matches: a glob of the whole path, of its end, or of one name in it.

    Raises: UserError where a pattern matches none, with what there is.
    """
    hits = {pattern: [place for place in found if matches(place.path, pattern)] for pattern in patterns}
    for pattern, hit in hits.items():
        if not hit:
            names = sorted({place.path.partition("/")[2] for place in found})
            layers = list(dict.fromkeys(place.path.partition("/")[0] for place in found))
            shown = layers if len(layers) < 3 else [layers[0], "...", layers[-1]]
            raise UserError(f"{where}: no matrix of the backbone matches {pattern!r}. There are {', '.join(names)}, in each of "
                            f"{', '.join(shown)}.")
    wanted = {place.path for hit in hits.values() for place in hit}
    return [place for place in found if place.path in wanted]


def matches(path: str, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (path, *path.split("/"))) or \
        fnmatch.fnmatchcase(path, f"*/{pattern}")
