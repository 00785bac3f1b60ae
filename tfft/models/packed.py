"""A backbone for single texts -> one for several in a row, of the same layers: attention and positions stay inside each."""

import keras
import keras_hub
from keras import ops

from tfft.errors import UserError

DOCUMENT = "document"  # the input int32[B,S]: the number of each token's text in its row, from 1; 0 is padding


@keras.saving.register_keras_serializable("tfft")
class Inside(keras.layers.Layer):
    """document int32[B,S] -> (mask int32[B,S,S], 1 where two tokens are of one text; positions int32[B,S] within it).

    [1 1 2 0] -> [[1 1 0 0] [1 1 0 0] [0 0 1 0] [0 0 0 1]], [0 1 0 0]
    """

    def call(self, document):
        same = ops.cast(ops.equal(document[:, :, None], document[:, None, :]), "int32")
        return same, ops.sum(ops.tril(same, k=-1), axis=-1)


@keras.saving.register_keras_serializable("tfft")
class PositionsAt(keras.layers.Layer):
    """positions int32[B,S] -> f[B,S,H], of a PositionEmbedding that the backbone has."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding  # whose weights the model has through this layer

    def call(self, positions):
        table = ops.cast(ops.convert_to_tensor(self.embedding.position_embeddings), self.compute_dtype)
        return ops.take(table, positions, axis=0)


def packed_encoder(backbone) -> tuple[dict, keras.KerasTensor]:
    """(inputs, sequence output f[B,S,H]) of the backbone's own layers, where `document` says which text a token is of.

    Raises: UserError where the backbone is no BERT.
    """
    if type(backbone) is not keras_hub.models.BertBackbone:
        raise UserError(f"config.task.pack=True knows the layers of a BERT; this backbone is a {type(backbone).__name__}. "
                        "Set it to False: batches of like length have little padding as well.")
    inputs = {**backbone.input, DOCUMENT: keras.Input((None,), dtype="int32", name=DOCUMENT)}
    same, positions = Inside(name="inside")(inputs[DOCUMENT])
    tokens = backbone.token_embedding(inputs["token_ids"])
    places = PositionsAt(backbone.position_embedding, name="positions_at", dtype=tokens.dtype)(positions)
    x = backbone.embeddings_add((tokens, places, backbone.segment_embedding(inputs["segment_ids"])))
    x = backbone.embeddings_dropout(backbone.embeddings_layer_norm(x))
    for layer in backbone.transformer_layers:
        x = layer(x, attention_mask=same)
    return inputs, x


ROTARY = (keras_hub.models.LlamaBackbone, keras_hub.models.MistralBackbone, keras_hub.models.QwenBackbone,
          keras_hub.models.Qwen3Backbone)  # and what is made of these: where a text begins does not matter to them


def packed_decoder(backbone) -> tuple[dict, keras.KerasTensor]:
    """The same of a language model, whose tokens see those before them alone.

    Raises: UserError where its layers take no mask, or are not known.
    """
    of_gpt2 = isinstance(backbone, keras_hub.models.GPT2Backbone)
    if not of_gpt2 and not isinstance(backbone, ROTARY):
        raise UserError(f"config.task.pack=True knows the layers of Llama (SmolLM2), Qwen, Mistral and GPT-2; this backbone is "
                        f"a {type(backbone).__name__}. Set it to False: batches of like length have little padding as well.")
    inputs = {**backbone.input, DOCUMENT: keras.Input((None,), dtype="int32", name=DOCUMENT)}
    same, positions = Inside(name="inside")(inputs[DOCUMENT])
    x = backbone.token_embedding(inputs["token_ids"])
    if of_gpt2:
        places = PositionsAt(backbone.position_embedding, name="positions_at", dtype=x.dtype)(positions)
        x = backbone.embeddings_dropout(backbone.embeddings_add((x, places)))
    for layer in backbone.transformer_layers:
        x = layer(x, decoder_attention_mask=same)
    return inputs, backbone.layer_norm(x)
