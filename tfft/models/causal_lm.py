"""A backbone that predicts the next token: its products with the token embeddings, and the loss of them in parts, so that
logits of all tokens are never in memory at once."""

from typing import NamedTuple

import keras
import keras_hub
import tensorflow as tf

from tfft.errors import UserError
from tfft.models.backbone import sequence_output
from tfft.models.packed import ROTARY, packed_decoder
from tfft.models.prompts import own_backbone

OUTPUT = "next_token"
FAMILIES = (*ROTARY, keras_hub.models.GPT2Backbone, keras_hub.models.GemmaBackbone)
AT_ONCE = 1 << 25  # logits in memory at once: 128 MB


@keras.saving.register_keras_serializable("tfft")
class NextToken(keras.layers.Layer):
    """f[B,S,H] -> "hidden" f[B,S,H] and "table" f[V,H], whose products are the logits: the token embeddings, or what the
    checkpoint has beside them. `backbone()` is the backbone that the model was built on."""

    def __init__(self, backbone, **kwargs):
        super().__init__(**kwargs)
        self.backbone = lambda: backbone  # whose weights the model has already: here it is no layer
        self.cap = logit_cap(backbone)

    @property
    def trained(self) -> bool:
        """Whether the table is."""
        return bool(output_weights(self.backbone()).trainable)

    def call(self, hidden):
        return {"hidden": hidden, "table": keras.ops.cast(self._table(), self.compute_dtype)}

    def _table(self):
        weights = output_weights(self.backbone())
        return weights if self.backbone().token_embedding.tie_weights else keras.ops.transpose(weights)


def output_weights(backbone):
    """The variable whose products are the logits: the token embeddings [V,H], or where these are not tied one [H,V]."""
    embedding = backbone.token_embedding
    return embedding.embeddings if embedding.tie_weights else embedding.reverse_embeddings


def logit_cap(backbone) -> float:
    """What logits are held below by a tanh (Gemma 2); 0: nothing."""
    return float(getattr(backbone, "final_logit_soft_cap", None) or 0.0)


def next_logits(backbone, hidden: tf.Tensor) -> tf.Tensor:
    """float32[B,V] of f[B,H], the last hidden values of a text each: how probable each token is to come next."""
    table = tf.cast(tf.convert_to_tensor(output_weights(backbone)), hidden.dtype)
    if backbone.token_embedding.tie_weights:  # on a CPU twice as fast as the hidden values times the table
        made = tf.transpose(tf.matmul(table, hidden, transpose_b=True))
    else:
        made = tf.matmul(hidden, table)
    made, cap = tf.cast(made, tf.float32), logit_cap(backbone)
    return cap * tf.tanh(made / cap) if cap else made


def causal_lm(backbone) -> keras.Model:
    """{inputs int32[B,S]} -> what NextToken makes. Raises: UserError where the backbone is no language model."""
    check_causal(backbone)
    layer = NextToken(backbone, name=OUTPUT, dtype=backbone.dtype_policy)
    return keras.Model(backbone.input, layer(sequence_output(backbone)), name="causal_lm")


def packed_causal_lm(model: keras.Model, backbone) -> keras.Model:
    """The same model, of the same weights, of rows that several texts share. Raises: UserError; see packed_decoder."""
    inputs, x = packed_decoder(backbone)
    return keras.Model(inputs, model.get_layer(OUTPUT)(x), name="causal_lm")


def check_causal(backbone) -> None:
    """Raises: UserError where it is none of FAMILIES."""
    if not isinstance(own_backbone(backbone), FAMILIES):
        raise UserError(f"config.model.backbone: a {type(own_backbone(backbone)).__name__} is no language model that tfft can "
                        "continue texts with. Choose a SmolLM2, Llama, Qwen 2 or 3, Mistral, Gemma or GPT-2.")


class Loss(NamedTuple):
    """How the loss of a token is made of its logits z: -log softmax(z)[id], with a share of all other tokens'
    (Szegedy et al. 2016, section 7), and z_loss * logsumexp(z)^2 (Chowdhery et al. 2022, section 5).
    cap: z = cap tanh(z / cap)."""

    smoothing: float = 0.0
    z_loss: float = 0.0
    cap: float = 0.0


def token_losses(hidden: tf.Tensor, table: tf.Tensor, ids: tf.Tensor, loss: Loss, trained: bool = True) -> tf.Tensor:
    """float32[N] of hidden f[N,H], table f[V,H] and ids int32[N], the logits of a part of the tokens in memory at a time.

    trained: whether the table is. Its gradient needs the logits again; that of `hidden` alone is kept when they are there.
    """
    count, parts, size = _parts(hidden, table)

    def of_part(i: tf.Tensor, also: tuple = ()) -> tuple:
        return tuple(tf.gather(t, _rows(i, count, size)) for t in (hidden, ids, *also))

    def slopes(h: tf.Tensor, own: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(losses float32[n], their slopes with respect to the logits float32[n,V])."""
        raw = tf.cast(tf.matmul(h, table, transpose_b=True), tf.float32)
        logits = loss.cap * tf.tanh(raw / loss.cap) if loss.cap else raw
        log_sum = tf.reduce_logsumexp(logits, axis=1)
        right = tf.gather(logits, own, axis=1, batch_dims=1)
        made = log_sum - (1 - loss.smoothing) * right + loss.z_loss * tf.square(log_sum)
        if loss.smoothing:
            made -= loss.smoothing * tf.reduce_mean(logits, axis=1)
        slope = tf.exp(logits - log_sum[:, tf.newaxis]) * (1 + 2 * loss.z_loss * log_sum)[:, tf.newaxis]
        places = tf.stack([tf.range(tf.shape(h)[0]), own], axis=1)
        slope = tf.tensor_scatter_nd_sub(slope, places, tf.fill(tf.shape(own), 1 - loss.smoothing))
        if loss.smoothing:
            slope -= loss.smoothing / table.shape[0]
        return made, slope * (1 - tf.square(logits / loss.cap)) if loss.cap else slope

    @tf.custom_gradient
    def compute(hidden_in: tf.Tensor, table_in: tf.Tensor):
        def forward(i):
            h, own = of_part(i)
            made, slope = slopes(h, own)
            return (made,) if trained else (made, tf.matmul(tf.cast(slope, table.dtype), table))

        made = _over_parts(parts, size, forward, [tf.float32] if trained else [tf.float32, table.dtype],
                           [[]] if trained else [[], [table.shape[1]]])

        def back(upstream: tf.Tensor):
            if not trained:
                return tf.cast(upstream[:, tf.newaxis], table.dtype) * made[1], None

            def backward(i, of_table):
                h, own, above = of_part(i, (upstream,))
                slope = tf.cast(slopes(h, own)[1] * above[:, tf.newaxis], table.dtype)
                return tf.matmul(slope, table), of_table + tf.cast(tf.matmul(slope, h, transpose_a=True), tf.float32)

            of_hidden, of_table = _summing_over_parts(parts, size, backward, table)
            return of_hidden, tf.cast(of_table, table.dtype)

        return made[0], back

    return compute(hidden, table)


def guesses(hidden: tf.Tensor, table: tf.Tensor, ids: tf.Tensor, cap: float = 0.0) -> tuple[tf.Tensor, tf.Tensor]:
    """(losses float32[N], best tokens int32[N]), without gradients."""
    count, parts, size = _parts(hidden, table)

    def of_part(i):
        rows = _rows(i, count, size)
        logits = tf.cast(tf.matmul(tf.gather(hidden, rows), table, transpose_b=True), tf.float32)
        logits = cap * tf.tanh(logits / cap) if cap else logits
        return (tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(ids, rows), logits),
                tf.argmax(logits, axis=1, output_type=tf.int32))

    losses, best = _over_parts(parts, size, of_part, [tf.float32, tf.int32], [[], []])
    return losses, best


def _parts(hidden: tf.Tensor, table: tf.Tensor) -> tuple:
    """(tokens, in how many parts they are computed, tokens of a part): all numbers where shapes are static, and then parts of
    one size; parts None: in one."""
    most = max(1, AT_ONCE // int(table.shape[0]))
    count = hidden.shape[0]
    if count is None:
        count = tf.shape(hidden)[0]
        parts = tf.maximum(1, -(-count // most))
        return count, parts, tf.maximum(1, -(-count // parts))
    parts = next(n for n in range(max(1, -(-count // most)), count + 1) if count % n == 0) if count else 1
    return count, (None if parts == 1 else parts), count // parts


def _rows(i: tf.Tensor, count, size) -> tf.Tensor:
    """The tokens of part i; as many in each where shapes are static."""
    return i * size + tf.range(size if isinstance(count, int) else tf.minimum(size, count - i * size))


def _over_parts(parts, size, of_part, dtypes: list, shapes: list) -> list[tf.Tensor]:
    """What of_part(i) gives, one part after another."""
    if parts is None:
        return list(of_part(tf.constant(0)))
    rows = size if isinstance(size, int) else None
    arrays = [tf.TensorArray(dtype, size=parts, infer_shape=False, element_shape=[rows, *shape])
              for dtype, shape in zip(dtypes, shapes, strict=True)]

    def body(i, *arrays):
        return i + 1, *(array.write(i, value) for array, value in zip(arrays, of_part(i), strict=True))

    _, *made = tf.while_loop(lambda i, *_: i < parts, body, [tf.constant(0), *arrays], parallel_iterations=1)
    return [array.concat() for array in made]


def _summing_over_parts(parts, size, of_part, table: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(the same of its first value, the sum float32[V,H] that of_part(i, sum) adds to)."""
    nothing = tf.zeros(table.shape, tf.float32)
    if parts is None:
        return of_part(tf.constant(0), nothing)
    array = tf.TensorArray(table.dtype, size=parts, infer_shape=False,
                           element_shape=[size if isinstance(size, int) else None, table.shape[1]])

    def body(i, array, total):
        value, total = of_part(i, total)
        return i + 1, array.write(i, value), total

    _, array, total = tf.while_loop(lambda i, *_: i < parts, body, [tf.constant(0), array, nothing], parallel_iterations=1)
    return array.concat(), total
