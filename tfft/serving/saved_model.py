"""The SavedModel: raw text, token ids or tf.Examples in; label names and float32 scores out."""

import functools
from pathlib import Path

import keras
import tensorflow as tf

from tfft.data.tokenize import TextTokenizer, features
from tfft.evaluation.calibration import Calibration
from tfft.evaluation.evaluator import resolve_thresholds
from tfft.models.inference import Arranged
from tfft.workdir import Run

MULTIPLE = 8      # of which the longest text's tokens are made one
LITTLE = 20       # where only one position in so many is padding, or only the rest of MULTIPLE, it is computed like the others
METHODS = {"classify": tf.saved_model.CLASSIFY_METHOD_NAME, "regress": tf.saved_model.REGRESS_METHOD_NAME}


class ServedModel(tf.Module):
    """A run's model with its tokenizer, label names, thresholds, temperature and abstain threshold in one graph.

    serving_default takes text string[B] (and text_pair string[B]), tokens the backbone's inputs int32[B,S]. Both answer
    - single label: label string[B], scores float32[B,L], label_names string[B,L]; with an abstain threshold also abstained
      int32[B], and label is "" where it is 1
    - several labels: the same without abstained; selected int32[B,L] is 1 where a score reaches its label's threshold, and
      label the selected names joined by ","
    - regression: value float32[B]
    classify and regress take inputs string[B], serialised tf.Examples with the features text and text_pair, and answer as
    TensorFlow Serving's APIs of these names want it: classes string[B,L] and scores, or outputs float32[B].

    dtype: what weights of two or more axes are kept in; all is computed in float32.
    """

    def __init__(self, run: Run, dtype: str = "float32", calibration: Calibration | None = None):
        super().__init__(name="tfft")
        self._task, self._input_names = run.task, tuple(run.model.input)
        self._temperature = calibration.temperature if calibration else 1.0
        self._abstain = calibration.abstain_threshold if calibration else None
        self.text_tokenizer = TextTokenizer.of(run.tokenizer, run.experiment.data)
        self._tokenizer = run.tokenizer
        self.weights = Weights(run.model, dtype)
        self._names = tf.constant(run.task.labels.names, tf.string) if run.task.labels.names else None
        if run.task.problem == "multi_label":
            self._thresholds = tf.constant(scaled_thresholds(resolve_thresholds(run.task, run.thresholds), self._temperature))
        # one function, which all signatures call: it is traced, saved and loaded once
        self.scores = tf.function(self._scores, input_signature=[
            {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in self._input_names}])
        texts = ("text", "text_pair") if self.text_tokenizer.pairs else ("text",)
        self.serve = tf.function(lambda **texts: self._answer(self._inputs(**texts))).get_concrete_function(
            **{name: tf.TensorSpec([None], tf.string, name=name) for name in texts})
        self.tokens = tf.function(lambda **inputs: self._answer(inputs)).get_concrete_function(
            **{name: tf.TensorSpec([None, None], tf.int32, name=name) for name in self._input_names})
        # a feature that an example lacks is an error, not an empty text
        spec = {name: tf.io.FixedLenFeature([], tf.string) for name in texts}
        self.examples = tf.function(lambda inputs: self._of_examples(tf.io.parse_example(inputs, spec))).get_concrete_function(
            inputs=tf.TensorSpec([None], tf.string, name="inputs"))

    @property
    def signatures(self) -> dict:
        """Each signature's concrete function, by name."""
        method = "regress" if self._task.problem == "regression" else "classify"
        return {"serving_default": self.serve, "tokens": self.tokens, method: self.examples}

    def _inputs(self, text, text_pair=None) -> dict[str, tf.Tensor]:
        return features(self.text_tokenizer(text, text_pair), self.text_tokenizer.pad_id, self._input_names, MULTIPLE)

    def _scores(self, inputs) -> tf.Tensor:
        mask = inputs["padding_mask"]
        padding = tf.size(mask) - tf.reduce_sum(mask)
        logits = tf.cond(padding <= tf.maximum(MULTIPLE - 1, tf.size(mask) // LITTLE),
                         lambda: self.weights.call(inputs, compact=False), lambda: self.weights.call(inputs, compact=True))
        if self._task.problem != "regression" and self._temperature != 1:
            logits /= self._temperature
        return tf.cast(self._task.probabilities(logits), tf.float32)

    def _answer(self, inputs) -> dict[str, tf.Tensor]:
        scores = self.scores(inputs)
        if self._task.problem == "regression":
            return {"value": scores[:, 0]}
        names = self._all_names(scores)
        made = {"scores": scores, "label_names": names}
        if self._task.problem == "multi_label":
            selected = scores >= self._thresholds
            joined = tf.strings.reduce_join(tf.ragged.boolean_mask(names, selected), axis=1, separator=",")
            return {**made, "selected": tf.cast(selected, tf.int32), "label": joined}
        label = tf.gather(self._names, tf.argmax(scores, axis=1))
        if self._abstain is None:
            return {**made, "label": label}
        abstained = tf.reduce_max(scores, axis=1) < self._abstain
        return {**made, "label": tf.where(abstained, "", label), "abstained": tf.cast(abstained, tf.int32)}

    def _of_examples(self, texts) -> dict[str, tf.Tensor]:
        scores = self.scores(self._inputs(**texts))
        if self._task.problem == "regression":
            return {"outputs": scores[:, 0]}
        return {"classes": self._all_names(scores), "scores": scores}

    def _all_names(self, scores) -> tf.Tensor:
        """string[B,L]"""
        return tf.tile(self._names[tf.newaxis], [tf.shape(scores)[0], 1])

    def save(self, folder: Path) -> None:
        """Writes the SavedModel; TensorFlow's own errors, a full disk's among them, become OSErrors."""
        try:
            tf.saved_model.save(self, str(folder), signatures=self.signatures)
            updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
            for name in METHODS.keys() & self.signatures.keys():
                updater.replace_method_name(signature_key=name, method_name=METHODS[name], tags="serve")
            updater.save()
        except tf.errors.OpError as error:
            raise OSError(error.message.split("\n")[0]) from error


class Weights(tf.Module):
    """A model's variables as an export keeps them: in float32, or its matrices in a dtype of half the size."""

    def __init__(self, model: keras.Model, dtype: str):
        super().__init__(name="weights")
        self._dtype, self._arranged = dtype, Arranged(model)
        self._untracked = lambda: model  # a module saves what its attributes hold, and that would be every weight again
        replaced = {id(v) for v in self._arranged.replaces}
        self._tables = {id(v) for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)
                        for v in layer.weights}
        self.kept = {str(number): self._keep(v) for number, v in enumerate(model.variables)
                     if id(v) not in replaced and "seed_generator" not in v.path}
        self.joined = {str(number): [tf.Variable(self._narrow(kernel), trainable=False), tf.Variable(bias, trainable=False)]
                       for number, (kernel, bias) in enumerate(self._arranged.joined.values())}

    def _narrow(self, value):
        return tf.cast(value, self._dtype) if len(value.shape) > 1 else value

    def _keep(self, variable) -> tf.Variable:
        small = self._dtype == "float32" or variable.dtype != "float32" or len(variable.shape) < 2
        return variable.value if small else tf.Variable(self._narrow(variable.value), trainable=False)

    def call(self, inputs: dict[str, tf.Tensor], compact: bool) -> tf.Tensor:
        """The model's answer, computed in float32; see tfft.models.inference."""
        model = self._untracked()
        joined = {key: functools.partial(_wide, *pair) for key, pair in zip(self._arranged.joined, self.joined.values(),
                                                                           strict=True)}
        with keras.StatelessScope() as scope, self._arranged(joined, compact):
            for number, kept in self.kept.items():
                variable = model.variables[int(number)]
                if kept.dtype != variable.dtype:  # the layer of a table takes its rows and casts these alone
                    table = id(variable) in self._tables
                    scope.add_update((variable, tf.convert_to_tensor(kept) if table else tf.cast(kept, variable.dtype)))
            return model(inputs, training=False)


def _wide(kernel: tf.Variable, bias: tf.Variable) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(kernel, tf.float32), tf.convert_to_tensor(bias)


def scaled_thresholds(thresholds, temperature: float):
    """float32[L]: where a probability p must reach a threshold t, what sigmoid(logit(p) / temperature) must reach."""
    if temperature == 1:
        return thresholds
    odds = tf.math.log(tf.constant(thresholds, tf.float64)) - tf.math.log1p(-tf.constant(thresholds, tf.float64))
    return tf.cast(tf.sigmoid(odds / temperature), tf.float32).numpy()
