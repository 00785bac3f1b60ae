"""What is learnt beside the frozen matrices of a backbone: layers that stand in their places and have them inside."""

import contextlib
import math
import zlib
from collections.abc import Collection, Iterator

import keras
import numpy as np
from keras import ops

from tfft.config.adaptation import LOW_RANK, USUAL, Adaptation
from tfft.errors import UserError
from tfft.models.places import Place, axes, chosen, matches, matrices, places, shapes, sizes


class Beside(keras.layers.Layer):
    """A matrix, frozen, with what is learnt beside it."""

    def __init__(self, layer, **kwargs):
        super().__init__(name=f"{layer.name}_adapted", dtype=layer.dtype_policy, **kwargs)
        self.layer = layer
        self.inputs, self.outputs = sizes(layer)
        self.activation, layer.activation = layer.activation, None

    def rows(self, x):
        """[..., inputs of the kernel] -> [rows, inputs]"""
        return ops.reshape(x, (-1, self.inputs))

    def shaped(self, rows, inputs):
        """[rows, outputs] -> [..., outputs of the kernel], for what went in."""
        taken, made = shapes(self.layer)
        return ops.reshape(rows, (*ops.shape(inputs)[:-len(taken)], *made))

    def call(self, inputs, training=None):
        made = self.changed(inputs, training)
        return made if self.activation is None else self.activation(made)

    def changed(self, inputs, training):
        """What the matrix and what is beside it make of the inputs."""
        raise NotImplementedError

    def matrix(self):
        """f[inputs, outputs]: the frozen matrix."""
        return ops.reshape(ops.transpose(self.layer.kernel, sum(axes(self.layer), ())), (self.inputs, self.outputs))

    def merged(self) -> tuple[np.ndarray, float | np.ndarray]:
        """(float32[inputs, outputs], factor of the bias): the matrix that does the same alone."""
        raise NotImplementedError

    def alone(self):
        """The layer itself, changed so that it does the same. The other is not to be used any more."""
        kernel, factor = self.merged()
        order, shape = sum(axes(self.layer), ()), sum(shapes(self.layer), ())
        self.layer.kernel.assign(kernel.reshape(shape).transpose(np.argsort(order)))
        if self.layer.bias is not None:
            bias = ops.convert_to_numpy(self.layer.bias)
            self.layer.bias.assign((bias.reshape(-1) * factor).reshape(bias.shape))
        self.layer.activation = self.activation
        return self.layer


class LowRank(Beside):
    """x W + scale (dropout(x) A) B: LoRA (Hu et al. 2022, section 4.1). A [inputs, rank] is drawn, B [rank, outputs] begins as
    0. With `magnitude` the columns of W + scale A B have lengths of their own, which are learnt: DoRA (Liu et al. 2024,
    equation 5; the norms that divide have no gradient, section 4.3). With `values` it is A diag(values) B, the values begin as
    0, A's columns and B's rows as orthonormal ones: AdaLoRA (Zhang et al. 2023, equation 3), see tfft.training.ranks.
    """

    def __init__(self, layer, rank: int, scale: float, dropout: float, seed: int, *, magnitude: bool = False,
                 values: bool = False):
        super().__init__(layer)
        self.scale = scale
        self.drop = keras.layers.Dropout(dropout, seed=seed, dtype=layer.dtype_policy, name="dropout") if dropout else None
        limit = 1 / math.sqrt(self.inputs)  # Kaiming's with a = sqrt(5), as in the authors' own code
        first = keras.initializers.RandomUniform(-limit, limit, seed=seed)
        a, b = (keras.initializers.Orthogonal(seed=seed + i) for i in range(2)) if values else (first, "zeros")
        self.a = self.add_weight((self.inputs, rank), a, name="a")
        self.values = self.add_weight((rank,), "zeros", name="values") if values else None
        self.b = self.add_weight((rank, self.outputs), b, name="b")
        self.magnitude = None
        if magnitude:
            self.magnitude = self.add_weight((self.outputs,), "ones", name="magnitude")
            self.measure()
        self.built = True

    def measure(self) -> None:
        """Has the columns the lengths that the matrix's have now."""
        self.magnitude.assign(np.linalg.norm(ops.convert_to_numpy(self.matrix()), axis=0))

    def left(self):
        """[inputs, rank]: what B is multiplied by."""
        return ops.convert_to_tensor(self.a) if self.values is None else self.a * self.values

    def changed(self, inputs, training):
        x = inputs if self.drop is None else self.drop(inputs, training=training)
        update = ops.matmul(ops.matmul(self.rows(x), self.left()), self.b) * self.scale
        made = self.layer(inputs)
        if self.magnitude is None:
            return made + self.shaped(update, inputs)
        update_of = ops.matmul(ops.cast(self.a, "float32"), ops.cast(self.b, "float32")) * self.scale
        summed = ops.cast(self.matrix(), "float32") + update_of
        norms = ops.stop_gradient(ops.sqrt(ops.sum(ops.square(summed), axis=0)))
        factor = ops.cast(ops.cast(self.magnitude, "float32") / norms, made.dtype)
        bias = 0.0 if self.layer.bias is None else ops.reshape(ops.cast(self.layer.bias, made.dtype), (-1,))
        made = ops.reshape(made, (-1, self.outputs))
        return self.shaped((made - bias + update) * factor + bias, inputs)

    def merged(self):
        a, b = (ops.convert_to_numpy(v).astype(np.float64) for v in (self.left(), self.b))
        summed = ops.convert_to_numpy(self.matrix()) + self.scale * (a @ b)
        if self.magnitude is not None:
            summed = summed * (ops.convert_to_numpy(self.magnitude) / np.linalg.norm(summed, axis=0))
        return summed.astype(np.float32), 1.0


class Scaled(Beside):
    """Each output, or each input, times a factor that is learnt: (IA)3 (Liu et al. 2022, section 3.3)."""

    def __init__(self, layer, inputs: bool):
        super().__init__(layer)
        self.of_inputs = inputs
        self.factors = self.add_weight((self.inputs if inputs else self.outputs,), "ones", name="factors")
        self.built = True

    def changed(self, inputs, training):
        taken, made = shapes(self.layer)
        if self.of_inputs:
            return self.layer(inputs * ops.reshape(self.factors, taken))
        return self.layer(inputs) * ops.reshape(self.factors, made)

    def merged(self):
        factors = ops.convert_to_numpy(self.factors)
        kernel = ops.convert_to_numpy(self.matrix())
        return (kernel * factors[:, None], 1.0) if self.of_inputs else (kernel * factors, factors)


class Inner(keras.layers.Layer):
    """Two matrices with biases, D and d, U and u, by way of few inner values."""

    def add_inner(self, inputs: int, width: int, outputs: int, down, up) -> None:
        """down, up: how the matrices begin; biases begin as 0."""
        self.down = self.add_weight((inputs, width), down, name="down")
        self.down_bias = self.add_weight((width,), "zeros", name="down_bias")
        self.up = self.add_weight((width, outputs), up, name="up")
        self.up_bias = self.add_weight((outputs,), "zeros", name="up_bias")
        self.built = True

    def through(self, rows, activation):
        """[n, inputs] -> [n, outputs]"""
        return ops.matmul(activation(ops.matmul(rows, self.down) + self.down_bias), self.up) + self.up_bias

    def add_before(self, length: int, inputs: int, width: int, outputs: int, seed: int) -> None:
        """What makes a prefix: learnt vectors E [length, inputs], and the two matrices."""
        tokens, down, up = (keras.initializers.TruncatedNormal(stddev=1 / math.sqrt(inputs), seed=seed + number)
                            for number in range(3))
        self.tokens = self.add_weight((length, inputs), tokens, name="tokens")
        self.add_inner(inputs, width, outputs, down, up)

    def before(self):
        """[length, outputs]: tanh(E D + d) U + u, so that they are learnt well (Li & Liang 2021, section 4.3)."""
        return self.through(self.tokens, ops.tanh)


class Bottleneck(Inner, Beside):
    """y + gelu(y D + d) U + u for y = x W + b: an adapter (Houlsby et al. 2019, section 2.1). U and u are 0 first."""

    def __init__(self, layer, width: int, seed: int):
        super().__init__(layer)
        self.add_inner(self.outputs, width, self.outputs, keras.initializers.TruncatedNormal(stddev=0.02, seed=seed), "zeros")

    def changed(self, inputs, training):
        made = self.layer(inputs)
        return made + self.shaped(self.through(ops.reshape(made, (-1, self.outputs)), keras.activations.gelu), inputs)


class Prefixed(Inner, Beside):
    """Keys, or values, with some more before those of the tokens: prefix tuning (Li & Liang 2021, section 4.3)."""

    def __init__(self, layer, length: int, width: int, seed: int):
        super().__init__(layer)
        self.add_before(length, self.inputs, width, self.outputs, seed)

    def changed(self, inputs, training):
        made, more = self.layer(inputs), self.seen()
        shape = (ops.shape(made)[0], *more.shape)
        return ops.concatenate([ops.broadcast_to(more[None], shape), made], axis=1)

    def seen(self):
        """[P, outputs of the kernel]"""
        return ops.reshape(self.before(), (-1, *self.layer.kernel.shape[1:]))


def adapt(layers: list, config: Adaptation, seed: int) -> list:
    """Puts what the method learns into these layers of a backbone; returns the new weights, or the biases that it trains.

    Raises: UserError where `targets` has a pattern that matches nothing, or the method has nothing to act on.
    """
    if config.method == "bitfit":
        biases = [v for layer in layers for v in layer.trainable_variables if v.path.endswith(("bias", "beta"))]
        if not biases:
            raise UserError("config.adaptation.method=bitfit trains biases, and this backbone has none (Llama's and T5's "
                            "kinds). Choose ia3, which is as small, or lora.")
        return biases
    found, made = matrices(layers), []
    for place in chosen(found, config.targets or usual(found, config.method), "config.adaptation.targets"):
        made += put(place, config, seed)
    return made


def usual(found: list[Place], method: str) -> tuple[str, ...]:
    """A method's usual targets, as these matrices are called."""
    return tuple(next((name for name in names if any(matches(place.path, name) for place in found)), names[0])
                 for names in USUAL[method])


def put(place: Place, config: Adaptation, seed: int) -> list:
    """Puts what the method learns beside a matrix in its place; returns its weights."""
    *scopes, _ = place.path.split("/")
    with inside(*scopes):
        beside = _beside(place, config, seed_of(place.path, seed))
    place.put(beside)
    return [v for v in beside.trainable_variables if not any(v is own for own in place.layer.variables)]


@contextlib.contextmanager
def inside(*scopes: str) -> Iterator[None]:
    """Variables made inside have paths that begin so."""
    with contextlib.ExitStack() as stack:
        for name in scopes:
            stack.enter_context(keras.name_scope(name))
        yield


def seed_of(path: str, seed: int) -> int:
    """Of what is drawn at a place."""
    return zlib.crc32(f"{seed} {path}".encode()) % 2**31


def _beside(place: Place, config: Adaptation, seed: int) -> Beside:
    with keras.name_scope(f"{place.layer.name}_{config.method}"):
        if config.method == "prefix":
            return Prefixed(place.layer, config.prefix, config.bottleneck, seed)
        if config.method in LOW_RANK:
            scale = config.alpha / (math.sqrt(config.rank) if config.rank_stabilised else config.rank)
            ada = config.method == "adalora"
            rank = min(math.ceil(1.5 * config.rank), *sizes(place.layer)) if ada else config.rank
            return LowRank(place.layer, rank, scale, config.dropout, seed, magnitude=config.method == "dora", values=ada)
        if config.method == "ia3":
            return Scaled(place.layer, inputs="output" in place.layer.name)
        return Bottleneck(place.layer, config.bottleneck, seed)


def with_values(layers: list) -> dict[str, LowRank]:
    """AdaLoRA's, by the paths of the matrices that they stand beside."""
    found = [place for layer in layers for place in places(layer)]
    return {place.path.removesuffix("_adapted"): place.layer for place in found
            if isinstance(place.layer, LowRank) and place.layer.values is not None}


def measure(layers: list, but: Collection[str]) -> None:
    """Has DoRA begin as the matrices of these layers are now. but: paths of lengths that stay as they are."""
    for place in [place for layer in layers for place in places(layer)]:
        if isinstance(place.layer, LowRank) and place.layer.magnitude is not None and place.layer.magnitude.path not in but:
            place.layer.measure()


def kept_ranks(layers: list) -> str:
    """'query 6.5, key 4, ...': how many values of AdaLoRA's are left of a matrix, the mean over matrices of a name."""
    kept = {}
    for path, beside in with_values(layers).items():
        kept.setdefault(path.rpartition("/")[2], []).append(np.count_nonzero(ops.convert_to_numpy(beside.values)))
    return ", ".join(f"{name} {sum(counts) / len(counts):.3g}" for name, counts in kept.items())


def merge(layers: list) -> None:
    """Has frozen matrices of these layers do alone what they and what one of MERGED has learnt beside them do."""
    for place in [place for layer in layers for place in places(layer)]:
        if isinstance(place.layer, Beside):
            place.put(place.layer.alone())
