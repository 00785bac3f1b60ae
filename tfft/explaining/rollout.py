"""Attention rollout (Abnar & Zuidema 2020): how much of each token reaches what the head is given, if tokens are mixed as
attention says and nothing else happens to them.

A layer passes on half of a token itself, by its residual, and half by attention, the mean of its heads: A = (P + I) / 2. Over
all layers that is the product of their A. It says what was read, not what for: it is never negative, and the same for every
label.
"""

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfft.errors import UserError
from tfft.models.adaptation import sections

FIRST = ("cls", "pooled")  # poolings of the first token


class Watched(keras.layers.Layer):
    """KerasHub's encoder layer, the very one, which tells its attention float[B,N,S,S] besides what it gives."""

    def __init__(self, layer):
        super().__init__(name=f"watched_{layer.name}", dtype=layer.dtype_policy)
        self._layer = layer

    def call(self, *given, **more):
        return self._layer(*given, **more, training=False, return_attention_scores=True)


class Rollout:
    """The attention of a run's encoder. Raises: UserError where its layers do not tell it."""

    def __init__(self, run):
        encoder = sections(run.backbone)[1]
        usual = encoder and all(isinstance(layer, keras_hub.layers.TransformerEncoder) for layer in encoder)
        if not usual or run.experiment.adaptation.method == "prompt":
            raise UserError("--method=attention_rollout follows attention from layer to layer, as BERT, RoBERTa, DistilBERT "
                            f"and ALBERT have them, and in this run's model ({run.experiment.model.backbone}, "
                            f"adaptation.method={run.experiment.adaptation.method}) that cannot be done. Use "
                            "--method=occlusion, which asks nothing but the model's answers.")
        self._first = run.experiment.model.pooling in FIRST
        watched, scores = {id(layer): Watched(layer) for layer in encoder}, []  # ALBERT calls one many times

        def call(layer, *given, **more):
            if id(layer) not in watched:
                return layer(*given, **more)
            given, found = watched[id(layer)](*given, **{name: value for name, value in more.items() if name != "training"})
            scores.append(found)
            return given

        made = keras.models.clone_model(keras.Model(run.backbone.input, run.backbone.output),
                                        clone_function=lambda layer: layer, call_function=call)
        self.model = keras.Model(made.input, {"output": made.output, "scores": scores})
        self._run = tf.function(self._rolled, autograph=False, reduce_retracing=True)

    def _rolled(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """int32[1,S] -> float32[S,S]: how much of each token (column) is in each one (row) at the end."""
        size = tf.shape(inputs["token_ids"])[1]
        made = tf.eye(size)
        for scores in self.model({name: inputs[name] for name in self.model.input}, training=False)["scores"]:
            made = (tf.reduce_mean(tf.cast(scores[0], tf.float32), axis=0) + tf.eye(size)) / 2 @ made
        return made

    def __call__(self, inputs: dict[str, tf.Tensor], token: int = -1) -> np.ndarray:
        """int32[1,S] -> float64[S] of each token: of the end of a token, or without one, by the run's pooling, of the first
        token's, or of the mean of all."""
        rolled = self._run(inputs).numpy().astype(np.float64)
        if token >= 0:
            return rolled[token]
        real = inputs["padding_mask"].numpy()[0] > 0
        return rolled[0] if self._first else rolled[real].mean(axis=0)
