"""T5 (Raffel et al. 2020): an encoder-decoder whose attention knows distances between tokens, not their places.

KerasHub's has as many layers in both halves, one number of distances, norms in half precision and layers whose names depend on
what was made before; this one has what checkpoints in Hugging Face's layout say.
"""

import math

import keras
import keras_hub
from keras import ops

from tfft.converters.t5 import SETTINGS
from tfft.models.encoder_decoder import Shown

NEVER = -1e9
ACTIVATIONS = {"relu": keras.activations.relu, "silu": keras.activations.silu, "gelu": keras.activations.gelu,
               "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True)}


def bucket(distance, both: bool, buckets: int, longest: int):
    """int32[...] -> int32[...]: the number of a distance in tokens, backwards. The first half of the numbers are a distance
    each, the others more of them, up to `longest`. both: a half of all are for tokens to come, else these are 0.

    32 numbers, longest 128, not both: 0 -> 0, 5 -> 5, 15 -> 15, 16 -> 16, 20 -> 17, 127 -> 31, 500 -> 31, -3 -> 0
    """
    distance, base = ops.cast(distance, "int32"), 0
    if both:
        buckets //= 2
        base = ops.cast(distance < 0, "int32") * buckets
        distance = ops.abs(distance)
    else:
        distance = ops.maximum(distance, 0)
    exact = buckets // 2
    share = ops.log(ops.cast(ops.maximum(distance, 1), "float32") / exact) / math.log(longest / exact)
    far = ops.minimum(exact + ops.cast(share * (buckets - exact), "int32"), buckets - 1)
    return base + ops.where(distance < exact, distance, far)


class RelativeBias(keras.layers.Layer):
    """What attention's scores get added for the distance of two tokens, for each head; and that what must not be seen is not:
    padding, or without a mask what comes after."""

    def __init__(self, heads: int, buckets: int, longest: int, both: bool, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.buckets, self.longest, self.both = buckets, longest, both
        self.table = self.add_weight((buckets, heads), keras.initializers.RandomNormal(stddev=0.1), name="embeddings")
        self.built = True

    def call(self, token_ids, padding_mask=None):
        """float32[1 or B,heads,S,S] of int32[B,S]."""
        places = ops.arange(ops.shape(token_ids)[1])
        made = self.at(places, places)
        if padding_mask is not None:
            return made + hidden_padding(padding_mask)
        return made + ops.where(places[:, None] >= places[None], 0.0, NEVER)

    def at(self, own, others):
        """float32[1,heads,T,N] of tokens at int32[T] that look at ones at int32[N]."""
        number = bucket(own[:, None] - others[None], self.both, self.buckets, self.longest)
        return ops.transpose(ops.take(self.table, number, axis=0), (2, 0, 1))[None]


def hidden_padding(padding_mask):
    """float32[B,1,1,S]: NEVER at padding."""
    return (1 - ops.cast(padding_mask, "float32"))[:, None, None] * NEVER


class T5Attention(keras.layers.Layer):
    """softmax(q k^T + bias) v, the scores not divided by anything: the matrices' first values are so small instead."""

    def __init__(self, width: int, heads: int, size: int, dropout: float, **kwargs):
        super().__init__(**kwargs, autocast=False)  # the bias stays in float32
        self.heads, self.size = heads, size

        def dense(name: str, outputs: int, deviation: float):
            return keras.layers.Dense(outputs, use_bias=False, name=name, dtype=self.dtype_policy,
                                      kernel_initializer=keras.initializers.RandomNormal(stddev=deviation))

        self.query = dense("query", heads * size, (width * size) ** -0.5)
        self.key, self.value = (dense(name, heads * size, width**-0.5) for name in ("key", "value"))
        self.attention_output = dense("attention_output", width, (heads * size) ** -0.5)
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy)

    def call(self, x, source, bias, training=None):
        query, key, value = (ops.transpose(self.apart(matrix(of)), (0, 2, 1, 3))
                             for matrix, of in ((self.query, x), (self.key, source), (self.value, source)))
        scores = ops.cast(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))), "float32") + bias
        chances = self.drop(ops.cast(ops.softmax(scores), self.compute_dtype), training=training)
        return self.joined(ops.transpose(ops.matmul(chances, value), (0, 2, 1, 3)))

    def apart(self, x):
        """f[B,T,heads x size] -> f[B,T,heads,size]"""
        return ops.reshape(x, (*ops.shape(x)[:2], self.heads, self.size))

    def joined(self, x):
        """f[B,T,heads,size] -> f[B,T,H], through the last matrix."""
        return self.attention_output(ops.reshape(x, (*ops.shape(x)[:2], self.heads * self.size)))


class T5Layer(keras.layers.Layer):
    """x + dropout(part(norm(x))) for each of its parts: attention to its own tokens, to the source, feed-forward."""

    def __init__(self, width: int, heads: int, size: int, inner: int, *, activation: str, gated: bool, dropout: float,
                 epsilon: float, decodes: bool, **kwargs):
        super().__init__(**kwargs, autocast=False)
        policy = self.dtype_policy
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=policy)

        def norm(name: str):
            return keras.layers.RMSNormalization(epsilon=epsilon, name=f"{name}_layer_norm", dtype=policy)

        def dense(name: str, inputs: int, outputs: int, activation=None):
            return keras.layers.Dense(outputs, activation, use_bias=False, name=f"feedforward_{name}_dense", dtype=policy,
                                      kernel_initializer=keras.initializers.RandomNormal(stddev=inputs**-0.5))

        self.self_attention = T5Attention(width, heads, size, dropout, name="self_attention", dtype=policy)
        self.self_attention_layer_norm = norm("self_attention")
        self.cross_attention = None
        if decodes:
            self.cross_attention = T5Attention(width, heads, size, dropout, name="cross_attention", dtype=policy)
            self.cross_attention_layer_norm = norm("cross_attention")
        self.intermediate = dense("intermediate", width, inner, ACTIVATIONS[activation])
        self.gate = dense("gate", width, inner) if gated else None
        self.output_dense = dense("output", inner, width)
        self.feedforward_layer_norm = norm("feedforward")

    def call(self, x, bias, source=None, source_bias=None, training=None):
        """x f[B,T,H], source f[B,S,H], the biases float32[1 or B,1 or heads,T,T or S]."""
        normal = self.self_attention_layer_norm(x)
        x += self.drop(self.self_attention(normal, normal, bias, training=training), training=training)
        if self.cross_attention is not None:
            normal = self.cross_attention_layer_norm(x)
            x += self.drop(self.cross_attention(normal, source, source_bias, training=training), training=training)
        return x + self.drop(self.feed_forward(self.feedforward_layer_norm(x), training), training=training)

    def feed_forward(self, x, training=None):
        """f[B,T,H] -> f[B,T,H]"""
        inner = self.intermediate(x)
        if self.gate is not None:
            inner = inner * self.gate(x)
        return self.output_dense(self.drop(inner, training=training))


class HiddenPadding(keras.layers.Layer):
    """int32[B,S] -> float32[B,1,1,S]: NEVER at padding."""

    def call(self, padding_mask):
        return hidden_padding(padding_mask)


@keras.saving.register_keras_serializable("tfft")
class T5Backbone(keras_hub.models.Backbone):
    """{"token_ids", "padding_mask" int32[B,S], "decoder_token_ids" int32[B,T]} -> "encoder_sequence_output" f[B,S,H],
    "decoder_sequence_output" f[B,T,H].

    tie_weights: words are chosen by the token embeddings themselves; scaled: by the decoder's output / sqrt(hidden_dim).
    """

    def __init__(self, vocabulary_size: int, num_layers: int, num_decoder_layers: int, num_heads: int, head_dim: int,
                 hidden_dim: int, intermediate_dim: int, dropout: float = 0.1, activation: str = "relu", gated: bool = False,
                 layer_norm_epsilon: float = 1e-6, buckets: int = 32, max_distance: int = 128, tie_weights: bool = True,
                 scaled: bool = True, dtype=None, **kwargs):
        stated = {name: value for name, value in locals().items() if name in SETTINGS}
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size, hidden_dim, tie_weights=tie_weights, name="token_embedding", dtype=dtype,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0))
        ids, mask, target = (keras.Input((None,), dtype="int32", name=name)
                             for name in ("token_ids", "padding_mask", "decoder_token_ids"))

        def bias(stack: str):
            return RelativeBias(num_heads, buckets, max_distance, stack == "encoder",
                                name=f"{stack}_relative_position_embedding")

        def layers(stack: str, count: int) -> list:
            return [T5Layer(hidden_dim, num_heads, head_dim, intermediate_dim, activation=activation, gated=gated,
                            dropout=dropout, epsilon=layer_norm_epsilon, decodes=stack == "decoder", dtype=dtype,
                            name=f"transformer_{stack}_layer_{i}") for i in range(count)]

        def drop(name: str):
            return keras.layers.Dropout(dropout, name=name, dtype=dtype)

        def norm(stack: str):
            return keras.layers.RMSNormalization(epsilon=layer_norm_epsilon, name=f"{stack}_output_layer_norm", dtype=dtype)

        self.encoder_bias, self.decoder_bias = bias("encoder"), bias("decoder")
        self.encoder_transformer_layers = layers("encoder", num_layers)
        self.decoder_transformer_layers = layers("decoder", num_decoder_layers)
        self.encoder_layer_norm, self.decoder_layer_norm = norm("encoder"), norm("decoder")
        read, seen = drop("encoder_embeddings_dropout")(self.token_embedding(ids)), self.encoder_bias(ids, mask)
        for layer in self.encoder_transformer_layers:
            read = layer(read, seen)
        read = drop("encoder_output_dropout")(self.encoder_layer_norm(read))
        shown = Shown(name="shown")(target)
        x, seen = drop("decoder_embeddings_dropout")(self.token_embedding(shown)), self.decoder_bias(shown)
        padding = HiddenPadding(name="hidden_padding", dtype="float32")(mask)
        for layer in self.decoder_transformer_layers:
            x = layer(x, seen, read, padding)
        x = drop("decoder_output_dropout")(self.decoder_layer_norm(x))
        super().__init__({"token_ids": ids, "padding_mask": mask, "decoder_token_ids": target},
                         {"encoder_sequence_output": read, "decoder_sequence_output": x}, dtype=dtype, **kwargs)
        self._stated = tuple(stated.items())
        self.hidden_dim, self.num_layers, self.num_decoder_layers = hidden_dim, num_layers, num_decoder_layers
        self.num_heads, self.vocabulary_size, self.dropout = num_heads, vocabulary_size, dropout
        self.layer_norm_epsilon, self.scale = layer_norm_epsilon, hidden_dim**-0.5 if scaled else 1.0

    def get_config(self):
        return {**super().get_config(), **dict(self._stated)}
