"""The SavedModel: raw text in; label names and float32 probabilities out."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import TextTokenizer, features
from tfft.errors import UserError
from tfft.evaluation.evaluator import resolve_thresholds
from tfft.files import copy_tree, is_remote, remove_tree, store_errors, to_path
from tfft.serving.prediction import Predictor
from tfft.workdir import Run, open_run

# what must not differ between the trained model and what is served
NASTY = ["", " ", "plain words", "two\nlines\ttab", "emoji \U0001f600 and \U0001f468\u200d\U0001f469\u200d\U0001f467",
         "control \x00\x01\x1f\x7f characters", "long " * 5000, "x" * 20000, "caf\u00e9 cafe\u0301", "\u05e9\u05dc\u05d5\u05dd",
         "\u4e2d\u6587\u5b57", "[CLS] [SEP] <s> </s> [MASK]", "\ufeff\u200b\u2028\u0085"]
TOLERANCE = 1e-4  # float32, other batch shapes


class ServedModel(tf.Module):
    """serving_default: text string[B] (and text_pair string[B]) -> named outputs.

    Single label: label string[B], probabilities float32[B,L], label_names string[B,L]. Several labels: the same with
    selected int32[B,L] (1 where the probability reaches the label's threshold) and label, the selected names joined by
    ",". Regression: value float32[B].
    """

    def __init__(self, run: Run):
        super().__init__(name="tfft")
        self._task, self._model = run.task, run.model
        self.text_tokenizer = TextTokenizer.of(run.tokenizer, run.experiment.data)
        self.weights = [v.value for v in run.model.variables]  # tracked, so that they are saved
        self._tokenizer = run.tokenizer
        self._names = tf.constant(run.task.labels.names, tf.string) if run.task.labels.names else None
        if run.task.problem == "multi_label":
            self._thresholds = tf.constant(resolve_thresholds(run.task, run.thresholds))
        text = tf.TensorSpec([None], tf.string, name="text")
        pair = tf.TensorSpec([None], tf.string, name="text_pair")
        if self.text_tokenizer.pairs:
            self.serve = tf.function(lambda text, text_pair: self._answer(text, text_pair), input_signature=[text, pair])
        else:
            self.serve = tf.function(lambda text: self._answer(text, None), input_signature=[text])

    def _answer(self, text, second) -> dict[str, tf.Tensor]:
        inputs = features(self.text_tokenizer(text, second), self.text_tokenizer.pad_id, tuple(self._model.input), multiple=8)
        probabilities = tf.cast(self._task.probabilities(self._model(inputs, training=False)), tf.float32)
        if self._task.problem == "regression":
            return {"value": probabilities[:, 0]}
        names = tf.tile(self._names[tf.newaxis], [tf.shape(probabilities)[0], 1])
        made = {"probabilities": probabilities, "label_names": names}
        if self._task.problem == "multi_label":
            selected = probabilities >= self._thresholds
            joined = tf.strings.reduce_join(tf.ragged.boolean_mask(names, selected), axis=1, separator=",")
            return {**made, "selected": tf.cast(selected, tf.int32), "label": joined}
        return {**made, "label": tf.gather(self._names, tf.argmax(probabilities, axis=1))}


def export(path: str, output: str, weights: str) -> int:
    """Writes the next integer version folder, whole or not at all, and proves it in a process of its own.

    Computes on the CPU: a GPU's memory would not do for two processes, nor its products for the comparison.
    Raises: UserError where it cannot be written, or answers otherwise than the trained model.
    """
    with contextlib.suppress(RuntimeError):  # the devices of this process are in use already
        tf.config.set_visible_devices([], "GPU")
    run = open_run(path, weights)
    folder = to_path(output) if output else run.workdir.export
    made = Path(tempfile.mkdtemp()) if is_remote(folder) else folder / ".making"
    try:
        with store_errors():
            folder.mkdir(parents=True, exist_ok=True)
        remove_tree(made)
        served = ServedModel(run)
        _save(served, made)
        _prove(run, made)
        with store_errors():
            version = max((int(p.name) for p in folder.iterdir() if p.name.isdigit()), default=0) + 1
        if is_remote(folder):
            copy_tree(made, folder / str(version), last="saved_model.pb")  # without it a server takes the folder for none
        else:
            made.rename(folder / str(version))
    except OSError as error:
        raise UserError(f"Cannot write the export in {folder}: {error}.") from error
    finally:
        remove_tree(made)
    print(f"exported the weights of step {run.step:,} to {folder / str(version)}")
    for name, spec in served.serve.get_concrete_function().structured_outputs.items():
        print(f"  {name}: {spec.dtype.name}{spec.shape}")
    return 0


def _save(served: ServedModel, folder: Path) -> None:
    """Writes the SavedModel; TensorFlow's own errors, a full disk's among them, become OSErrors."""
    try:
        tf.saved_model.save(served, str(folder), signatures={"serving_default": served.serve})
    except tf.errors.OpError as error:
        raise OSError(error.message.split("\n")[0]) from error


def _prove(run: Run, folder: Path) -> None:
    """Compares the export, loaded by a process that has only tensorflow and tensorflow-text, with the trained model."""
    pairs = bool(run.experiment.data.text_pair_column)
    second = list(reversed(NASTY)) if pairs else None
    expected = Predictor(run)(NASTY, second)
    question = {"folder": str(folder), "text": NASTY, "text_pair": second,
                "output": "value" if run.task.problem == "regression" else "probabilities"}
    # -P: what lies beside the script is not imported
    answer = subprocess.run([sys.executable, "-P", str(Path(__file__).with_name("check_export.py"))],
                            input=json.dumps(question), capture_output=True, text=True,
                            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})
    if answer.returncode:
        last = (answer.stderr.strip() or "no message").splitlines()[-1]
        raise UserError(f"The export does not load on its own: {last}. Nothing was published.")
    answers = json.loads(answer.stdout.strip().splitlines()[-1])
    for kind in ("together", "alone"):  # in one batch, and each in its own
        got = np.asarray(answers[kind], np.float32).reshape(expected.shape)
        difference = np.abs(got - expected).max(axis=1)
        worst = int(difference.argmax())
        if not difference[worst] <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise UserError(f"The export answers otherwise than the trained model (by {difference[worst]:.2g}) on "
                            f"{NASTY[worst][:60]!r}, {kind}. Nothing was published.")
