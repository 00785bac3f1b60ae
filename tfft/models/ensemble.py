"""Several models as one, whose outputs are the mean of theirs."""

import math
from collections.abc import Callable

import keras
import tensorflow as tf


class Ensemble(keras.Model):
    """Models of the same inputs, each with all its layers; combine: their outputs in a list -> outputs as one of them has."""

    def __init__(self, models: list[keras.Model], combine: Callable[[list], object]):
        super().__init__(name="ensemble")
        self.models, self._combine = models, combine
        self.built = True

    @property
    def input(self):
        return self.models[0].input

    def call(self, inputs, training=False):
        return self._combine([model(inputs, training=training) for model in self.models])


def mean_of_classes(logits: list[tf.Tensor]) -> tf.Tensor:
    """float32[...,L] each -> the logarithm of the mean of their softmax, whose softmax is that mean."""
    return tf.reduce_logsumexp(tf.nn.log_softmax(tf.stack(logits)), axis=0) - math.log(len(logits))


def mean_of_each(logits: list[tf.Tensor]) -> tf.Tensor:
    """float32[...,L] each -> the log odds of the mean of their sigmoid, whose sigmoid is that mean."""
    logits = tf.stack(logits)
    return tf.reduce_logsumexp(tf.math.log_sigmoid(logits), axis=0) - tf.reduce_logsumexp(tf.math.log_sigmoid(-logits), axis=0)


def mean(outputs: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(outputs) / len(outputs)
