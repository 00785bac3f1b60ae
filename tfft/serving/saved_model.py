"""The SavedModel: raw text in, what the task responds out."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tfft.assets import cache_folder
from tfft.data.pipeline import given_by_targets
from tfft.data.tokenize import features
from tfft.models.inference import Arranged
from tfft.run.workdir import Run
from tfft.tasks.base import Context

MULTIPLE = 8      # of which the longest text's tokens are made one
LITTLE = 20       # where only one position in so many is padding, or only the rest of MULTIPLE, it is computed like the others
AT_ONCE = 32      # examples computed at once, where rows can be many of them
METHODS = {"classify": tf.saved_model.CLASSIFY_METHOD_NAME, "regress": tf.saved_model.REGRESS_METHOD_NAME}


class ServedModel(tf.Module):
    """A run's model with its encoder, what it has learnt and what was tuned in one graph; the task says what its signatures
    take and answer (tasks/<task>/serving.py).

    dtype: what weights of two or more axes are kept in; all is computed in float32. beside: another served model over the same
    frozen weights, which the two then have in common.
    """

    def __init__(self, run: Run, dtype: str = "float32", calibration: Any = None, beside: "ServedModel | None" = None):
        super().__init__(name="tfft")
        self._task, self._context = run.task, Context(run.tuned, calibration, run.task.constants(run.model))
        self.encoder = run.reading(cache_folder(run.experiment.data.cache)).encoder
        self._tokenizer = run.tokenizer
        self.fields, self.inputs = self.encoder.fields, inputs_asked(run)
        self.weights = Weights(run.model, dtype, beside.weights if beside else None)
        self.others: dict[str, ServedModel] = {}
        # one function, which all signatures call: it is traced, saved and loaded once
        self.units = tf.function(self._units, input_signature=[
            {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in self.inputs}, dict(run.task.extra_specs)],
            autograph=False)
        made = self._task.signatures(self)
        self._made = lambda: made  # a module keeps what its attributes hold, under names that a SavedModel has for itself

    @property
    def defaults(self) -> dict[str, dict[str, np.ndarray]]:
        """What stands for inputs that may be left out, by signature and name."""
        return self._task.defaults()

    @property
    def signatures(self) -> dict:
        """Each signature's concrete function, by name; those that have another model's answers are named as it is."""
        return {**self._made(), **{name: other.signatures["serving_default"] for name, other in self.others.items()}}

    def of_texts(self, **texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """The response to asked fields, string[B] each."""
        return self.of_examples(*self.encoder.asked(**texts))

    def of_examples(self, examples: dict, rows: dict) -> dict[str, tf.Tensor]:
        """The response to encoded rows."""
        counts = self._task.counts(examples)
        units = self._units_of(examples)[:, 0] if counts is None else self._in_parts(examples, counts)
        return self._task.respond(examples, rows, units, self._context)

    def _units_of(self, examples: dict) -> tf.Tensor:
        """float32[N,U,D]"""
        return self.units(features(examples, self.encoder.pad_id, self.inputs, MULTIPLE), self._task.extras(examples))

    def _in_parts(self, examples: dict, counts: tf.Tensor) -> tf.Tensor:
        """float32[u,D]: the units of all examples, so many of them at once as memory is bounded, however long the texts."""
        total = tf.size(counts)
        columns = {name: column for name, column in examples.items() if name in self._task.needed}

        def part(begin: tf.Tensor, made: tf.TensorArray):
            end = tf.minimum(begin + AT_ONCE, total)
            units = self._units_of({name: column[begin:end] for name, column in columns.items()})
            own = tf.sequence_mask(counts[begin:end], tf.shape(units)[1])
            return end, made.write(begin // AT_ONCE, tf.boolean_mask(units, own))

        parts = tf.TensorArray(tf.float32, size=-(-total // AT_ONCE), infer_shape=False,
                               element_shape=[None, self._task.answer_width])
        _, parts = tf.while_loop(lambda begin, _: begin < total, part, [0, parts], parallel_iterations=1)
        return parts.concat()

    def of_inputs(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The response to the backbone's inputs, of a task whose rows are one example each and say nothing more."""
        return self._task.respond({}, {}, self.units(inputs, {})[:, 0], self._context)

    def _units(self, inputs, extras) -> tf.Tensor:
        def compute(model):
            return self._task.compute(model, inputs, extras)

        if not self.weights.joined:
            return self.weights.call(compute, compact=False)
        mask = inputs["padding_mask"]
        padding = tf.size(mask) - tf.reduce_sum(mask)
        return tf.cond(padding <= tf.maximum(MULTIPLE - 1, tf.size(mask) // LITTLE),
                       lambda: self.weights.call(compute, compact=False), lambda: self.weights.call(compute, compact=True))

    def save(self, folder: Path) -> None:
        """Writes the SavedModel; TensorFlow's own errors, a full disk's among them, become OSErrors."""
        try:
            tf.saved_model.save(self, str(folder), signatures=self.signatures)
            updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
            for name in METHODS.keys() & self.signatures.keys():
                updater.replace_method_name(signature_key=name, method_name=METHODS[name], tags="serve")
            updater.save()
            _write_defaults(folder / "saved_model.pb", self.defaults)
        except tf.errors.OpError as error:
            raise OSError(error.message.split("\n")[0]) from error


def inputs_asked(run: Run) -> tuple[str, ...]:
    """The inputs of a run's model that are made of what is asked."""
    given = given_by_targets(tuple(run.model.input), run.task.target_specs)
    return tuple(name for name in run.model.input if name not in given)


def _write_defaults(path: Path, defaults: dict[str, dict[str, np.ndarray]]) -> None:
    """What servers take for inputs that a request leaves out: they read it in the signature, which is where TensorFlow itself
    writes the defaults of a function's named arguments."""
    saved = SavedModel.FromString(path.read_bytes())
    for name, inputs in defaults.items():
        for key, value in inputs.items():
            saved.meta_graphs[0].signature_def[name].defaults[key].CopyFrom(tf.make_tensor_proto(value))
    if defaults:
        path.write_bytes(saved.SerializeToString())


class Weights(tf.Module):
    """A model's variables as an export keeps them: in float32, or its matrices in a dtype of half the size."""

    def __init__(self, model: keras.Model, dtype: str, beside: "Weights | None" = None):
        super().__init__(name="weights")
        there = beside.frozen if beside else {}
        self._dtype, self._arranged = dtype, Arranged(model)
        self._untracked = lambda: model  # a module saves what its attributes hold, and that would be every weight again
        replaced = {id(v) for v in self._arranged.replaces}
        self._tables = {id(v) for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)
                        for v in layer.weights}
        self.kept = {str(number): there[v.path] if v.path in there and not v.trainable else self._keep(v)
                     for number, v in enumerate(model.variables) if id(v) not in replaced and "seed_generator" not in v.path}
        self.joined = {str(number): [tf.Variable(self._narrow(kernel), trainable=False), tf.Variable(bias, trainable=False)]
                       for number, (kernel, bias) in enumerate(self._arranged.joined.values())}

    @property
    def frozen(self) -> dict[str, tf.Variable]:
        """What is kept of the weights that training has left as they were, by their paths."""
        variables = self._untracked().variables
        return {variables[int(number)].path: kept for number, kept in self.kept.items() if not variables[int(number)].trainable}

    def _narrow(self, value):
        return tf.cast(value, self._dtype) if len(value.shape) > 1 else value

    def _keep(self, variable) -> tf.Variable:
        small = self._dtype == "float32" or variable.dtype != "float32" or len(variable.shape) < 2
        return variable.value if small else tf.Variable(self._narrow(variable.value), trainable=False)

    def call(self, compute: Callable[[keras.Model], tf.Tensor], compact: bool) -> tf.Tensor:
        """What is computed with the model, in float32; see tfft.models.inference."""
        model = self._untracked()
        joined = {key: functools.partial(_wide, *pair) for key, pair in zip(self._arranged.joined, self.joined.values(),
                                                                           strict=True)}
        with keras.StatelessScope() as scope, self._arranged(joined, compact):
            for number, kept in self.kept.items():
                variable = model.variables[int(number)]
                if kept is not variable.value:  # the layer of a table takes its rows and casts these alone
                    table = id(variable) in self._tables
                    scope.add_update((variable, tf.convert_to_tensor(kept) if table else tf.cast(kept, variable.dtype)))
            return compute(model)


def _wide(kernel: tf.Variable, bias: tf.Variable) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(kernel, tf.float32), tf.convert_to_tensor(bias)
