"""A language model's next tokens: its layers over a cache of the keys and values of all tokens so far."""

import keras
import keras_hub
import tensorflow as tf

from tfft.models.causal_lm import FAMILIES, logit_cap, output_weights
from tfft.models.decoding import Room
from tfft.models.kernels import replaced
from tfft.models.sampling import shape_at


class CausalDecoder:
    """A language model of KerasHub, whose layers, and what stands in their matrices' places, compute."""

    def __init__(self, backbone):
        self.backbone = backbone
        self._of_gpt2 = isinstance(backbone, keras_hub.models.GPT2Backbone)
        self._of_gemma = isinstance(backbone, keras_hub.models.GemmaBackbone)
        if not isinstance(backbone, FAMILIES):
            raise ValueError(f"the layers of a {type(backbone).__name__} are not known")
        self._cap = logit_cap(backbone)

    def caches(self, rows, places) -> list[tf.Tensor]:
        """f[B,2,N,heads,size] of each layer: nothing yet."""
        one = self.backbone
        heads = one.num_heads if self._of_gpt2 else one.num_key_value_heads
        size = getattr(one, "head_dim", None) or one.hidden_dim // (one.num_heads if self._of_gpt2 else one.num_query_heads)
        dtype = keras.backend.standardize_dtype(one.compute_dtype)
        return [tf.zeros(tf.stack([rows, 2, places, heads, size]) if not all(isinstance(n, int) for n in (rows, places))
                         else [rows, 2, places, heads, size], dtype) for _ in range(one.num_layers)]

    def __call__(self, tokens: tf.Tensor, caches: list[tf.Tensor], at: tf.Tensor, room: Room
                 ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(logits float32[B,V] of what follows, caches) of tokens int32[B,T] at the places from `at` on."""
        x, made = self._embedded(tokens, at, room), []
        with replaced(((keras.ops, "slice_update", _put),)):
            for layer, cache in zip(self.backbone.transformer_layers, caches, strict=True):
                if self._of_gemma:
                    x, cache = layer(x, padding_mask=room.there, cache=cache, cache_update_index=at)
                else:
                    x, cache = layer(x, decoder_attention_mask=room.there[:, tf.newaxis], self_attention_cache=cache,
                                     self_attention_cache_update_index=at, training=False)
                made.append(cache)
        return self._logits(self.backbone.layer_norm(x[:, -1:])), made

    def reordered(self, caches: list[tf.Tensor], parents: tf.Tensor) -> list[tf.Tensor]:
        return [tf.gather(cache, parents) for cache in caches]

    def _embedded(self, tokens: tf.Tensor, at: tf.Tensor, room: Room) -> tf.Tensor:
        one = self.backbone
        x = one.token_embedding(tokens)
        if self._of_gemma:  # as its backbone has it
            return x * tf.cast(float(one.hidden_dim) ** 0.5, x.dtype)
        if self._of_gpt2:
            places = tf.maximum(at + tf.range(shape_at(tokens, 1)) - room.shift[:, tf.newaxis], 0)
            table = tf.cast(tf.convert_to_tensor(one.position_embedding.position_embeddings), x.dtype)
            return one.embeddings_add((x, tf.gather(table, places)))
        return x

    def _logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """float32[B,V] of f[B,1,H]."""
        table = tf.cast(tf.convert_to_tensor(output_weights(self.backbone)), hidden.dtype)
        if self.backbone.token_embedding.tie_weights:  # on a CPU twice as fast as x times the table
            made = tf.transpose(tf.matmul(table, hidden[:, 0], transpose_b=True))
        else:
            made = tf.matmul(hidden[:, 0], table)
        made = tf.cast(made, tf.float32)
        return self._cap * tf.tanh(made / self._cap) if self._cap else made


def _put(cache: tf.Tensor, start: list, new: tf.Tensor) -> tf.Tensor:
    """f[B,N,heads,size] with f[B,T,heads,size] at the places from start[1] on, which is 0 where T is not 1. TensorFlow's own
    operation for it is XLA's: it is compiled for each shape, and not every server has it."""
    if new.shape[1] == 1:
        here = tf.range(shape_at(cache, 1)) == start[1]
        return tf.where(here[tf.newaxis, :, tf.newaxis, tf.newaxis], new, cache)
    return tf.concat([new, cache[:, shape_at(new, 1):]], axis=1)
