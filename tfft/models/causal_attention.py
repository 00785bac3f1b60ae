"""What the attention of a language model of KerasHub is made of, for attention of our own."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import keras_hub
from keras_hub.src.models.gemma.gemma_attention import CachedGemmaAttention
from keras_hub.src.models.llama.llama_attention import LlamaAttention
from keras_hub.src.models.mistral.mistral_attention import CachedMistralAttention
from keras_hub.src.models.qwen.qwen_attention import QwenAttention
from keras_hub.src.models.qwen3.qwen3_attention import Qwen3Attention

ROTARY = (LlamaAttention, CachedMistralAttention, QwenAttention, Qwen3Attention, CachedGemmaAttention)


class Attention(NamedTuple):
    """What an attention layer is made of. drop: its dropout; normalise: of queries and keys, where they are normalised; turn:
    its rotary layer, where it has one; window: how many tokens each sees, 0: all; cap: what scores are held below by a tanh,
    0: nothing."""

    query: keras.layers.Layer
    key: keras.layers.Layer
    value: keras.layers.Layer
    output: keras.layers.Layer
    scale: float
    drop: keras.layers.Layer
    normalise: tuple[Callable, Callable] | None = None
    turn: keras.layers.Layer | None = None
    window: int = 0
    cap: float = 0.0


def parts(own) -> Attention:
    """Of an attention layer: one of ROTARY, or GPT-2's."""
    if isinstance(own, CachedGemmaAttention):
        width = own.head_dim if own.query_head_dim_normalize else own.hidden_dim // own.num_query_heads
        return Attention(own.query_dense, own.key_dense, own.value_dense, own.output_dense, width ** -0.5, own.dropout_layer,
                         None, own.rope_layer, own.sliding_window_size if own.use_sliding_window_attention else 0,
                         own.logit_soft_cap or 0.0)
    matrices = own._query_dense, own._key_dense, own._value_dense, own._output_dense
    if isinstance(own, keras_hub.layers.CachedMultiHeadAttention):
        return Attention(*matrices, own._key_dim ** -0.5, own._dropout_layer)
    normalise = (own._query_dense_layer_norm, own._key_dense_layer_norm) if isinstance(own, Qwen3Attention) else None
    return Attention(*matrices, own._inv_norm_factor, own._dropout_layer, normalise, own.rotary_embedding_layer, _window(own))


def _window(own) -> int:
    """Llama, Mistral, Qwen 2 and 3 differ in whether and where they keep one."""
    if isinstance(own, CachedMistralAttention):
        return own._sliding_window or 0
    if isinstance(own, QwenAttention):
        return own.sliding_window_size if own.use_sliding_window_attention else 0
    return (own.sliding_window_size or 0) if isinstance(own, Qwen3Attention) else 0
