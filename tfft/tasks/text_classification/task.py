"""Text classification: one label, several labels, or a number, for a text or a pair of texts."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfft import config
from tfft.assets import resolve_backbone
from tfft.data.alike import check_same, same_names, same_range
from tfft.data.scratch import let_go, parts, scratch
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.models.backbone import load_tokenizer
from tfft.models.ensemble import mean, mean_of_classes, mean_of_each
from tfft.models.heads import pooled_classifier
from tfft.models.masked_lm import DENSE, NORM, OUTPUT, head_weights, load_head, put_head, word_classifier
from tfft.tasks import base
from tfft.tasks.text_classification import baseline, losses, metrics, serving
from tfft.tasks.text_classification.advice import advice
from tfft.tasks.text_classification.calibration import Calibration, calibrate
from tfft.tasks.text_classification.evidence import evidence
from tfft.tasks.text_classification.explained import explained
from tfft.tasks.text_classification.labels import (
    LabelColumn,
    Labels,
    check_scaled,
    extended,
    infer_labels,
    infer_scale,
    scaled,
    spelling_hint,
)
from tfft.tasks.text_classification.mistakes import worst
from tfft.tasks.text_classification.pattern import with_words
from tfft.tasks.text_classification.reading import make_reading
from tfft.tasks.text_classification.remarks import of_table, remarks
from tfft.tasks.text_classification.report import LabelReport, resolve_thresholds
from tfft.tasks.text_classification.rows import given_labels
from tfft.tasks.text_classification.truth import truth


class TextClassificationTask(base.Task):
    """What is computed for one problem: targets from rows, a model, a loss, and probabilities from logits. A unit is a row's
    logits float32[L]."""

    asked = ("text", "text_pair")
    page = "labels"

    def __init__(self, settings: config.TextClassification, labels: Labels):
        super().__init__(settings, labels)
        self.labels = labels
        self.problem, self.separator = settings.problem, labels.separator
        self.outputs = self.width = 1 if settings.problem == "regression" else len(labels.names)
        shape = [None, self.outputs] if settings.problem == "multi_label" else [None]
        self.target_specs = tf.TensorSpec(shape, tf.int32 if settings.problem == "single_label" else tf.float32)
        self.tokens = labels.tokens() if settings.pattern else ()

    reading = staticmethod(make_reading)
    load = staticmethod(Labels.load)

    @staticmethod
    def infer(experiment: config.Experiment, store: TokenStore, rows: np.ndarray, cache: Path) -> Labels:
        """The label table of the training rows."""
        if experiment.task.problem == "regression":
            return infer_scale(store, rows, experiment.task.standardize)
        labels = infer_labels(store, rows, given_labels(experiment, cache), experiment.data,
                              several=experiment.task.problem == "multi_label", fewest=1 if experiment.model.start else 2)
        if not experiment.task.pattern:
            return labels
        return with_words(labels, experiment.task, load_tokenizer(resolve_backbone(experiment.model.backbone, cache)))

    extend = staticmethod(extended)

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        if self.settings.pattern:
            return word_classifier(backbone, self.labels.mask, self.tokens, seed)
        return pooled_classifier(backbone, model, self.outputs, seed, self._bias())

    def adopt(self, model: keras.Model, preset: str) -> str:
        if not self.settings.pattern:
            return ""
        return "its head for masked words is the checkpoint's" if load_head(model, preset) else (
            "warning: its head for masked words is new, as the checkpoint has none, and guesses no words yet: train the task "
            "masked_lm first and go on from that run (config.model.start), or do without config.task.pattern")

    def take(self, model: keras.Model, head: dict[str, np.ndarray]) -> bool:
        return bool(self.settings.pattern) and put_head(model, head)

    def pass_on(self, model: keras.Model) -> dict[str, np.ndarray]:
        return head_weights(model) if self.settings.pattern else {}

    def learning_rate_multiplier(self, path: str) -> float | None:
        """The head that guesses words is no new layer."""
        return 1.0 if self.settings.pattern and path.split("/")[0] in (DENSE, NORM, OUTPUT) else None

    def _bias(self) -> np.ndarray | None:
        """float64[L]: the head begins by saying each label as often as it is there, where several may hold: most are rare, and
        learning that alone takes hundreds of steps (Lin et al. 2017, section 3.3)."""
        if self.problem != "multi_label" or self.settings.class_weights == "balanced":
            return None
        counts, rows = np.asarray(self.labels.counts, np.float64), max(self.labels.rows, 1)
        return np.log((counts + 1) / np.maximum(rows - counts + 1, 1))

    # ---- rows -> targets

    def unknown_labels(self, store: TokenStore, rows: np.ndarray) -> dict[str, int]:
        """Labels among `rows` that the table lacks, with their numbers of rows."""
        return {} if self.problem == "regression" else LabelColumn(store, self.labels).unknown(rows)

    def strangers(self, store: TokenStore, rows: np.ndarray) -> str:
        found = self.unknown_labels(store, rows)
        if not found:
            return ""
        shown = ", ".join(f"{label!r} ({count:,} rows)" for label, count in list(found.items())[:5])
        hint = next(filter(None, (spelling_hint(label, self.labels) for label in found)), "")
        return (f"unknown labels: {shown}{' ...' if len(found) > 5 else ''}; no training row had them, and they are left out "
                f"of the metrics{'.' if hint else ''}{hint}")

    def remarks(self, name: str, store: TokenStore, rows: np.ndarray) -> list[str]:
        return remarks(self.problem, self.labels, store, rows, training=name == "train")

    def unlike(self, experiment: config.Experiment, store: TokenStore, sources: dict[str, np.ndarray]) -> list[str]:
        if self.problem == "regression":
            return same_range("values", {name: store.column("value")[rows] for name, rows in sources.items()})
        column, names = LabelColumn(store, self.labels), np.array(self.labels.names)
        found = {name: set(names[column.counts(rows) > 0].tolist()) for name, rows in sources.items()}
        data = experiment.data
        return same_names("labels", found, "labels", bool(data.labels or data.labels_file or data.label_columns))

    def advice(self, experiment: config.Experiment) -> list[str]:
        return advice(experiment, self.labels)

    def can_judge(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` that can be judged: single-label rows of a label that the table has; all of other problems, but none
        where several labels may hold and the table has none of those that do."""
        if self.problem == "regression" or not len(rows):
            return rows
        column = LabelColumn(store, self.labels)
        if self.problem == "multi_label":
            return rows[:0] if column.unknown(rows) and not column.counts(rows).any() else rows
        return rows[column.single(rows) >= 0]

    def nothing_to_judge(self) -> str:
        return f"has a label that the model knows ({', '.join(self.labels.names[:10])})"

    def describe(self) -> str:
        names = self.labels.names
        if not names:
            return ""
        shown = ", ".join(f"{n} ({c:,})" for n, c in zip(names[:8], self.labels.counts, strict=False))
        return f"labels: {shown}{f' ... {len(names)} in all' if len(names) > 8 else ''}"

    def describe_rows(self, rows: int) -> base.Table | str:
        labels = self.labels
        if not labels.names:
            return f"values: mean {labels.mean:.4f}, standard deviation {labels.deviation:.4f}"
        order = sorted(range(len(labels.names)), key=lambda i: -labels.counts[i])
        lines = [(labels.names[i], labels.counts[i], f"{labels.counts[i] / rows:.1%}") for i in order]
        shown = [*lines[:20], ("...", "", f"{len(lines) - 40} more"), *lines[-20:]] if len(lines) > 40 else None
        return base.Table("labels", ("label", "training rows", "share"), lines, shown)

    def targets(self, store: TokenStore, *, weighted: bool):
        """Weights are 1, or balanced class weights where `weighted`."""
        if self.problem == "regression":
            return self._scaled(store)
        column = LabelColumn(store, self.labels)
        if self.problem == "multi_label":
            return lambda rows, length=0: (column.several(rows), np.ones(len(rows), np.float32))
        by_label = np.ones(self.outputs, np.float32)
        if weighted and self.settings.class_weights == "balanced":
            by_label = self._balanced()

        def single(rows, length=0):
            ids = column.single(rows)
            return ids, by_label[ids]

        return single

    def _scaled(self, store: TokenStore):
        """Values are scaled before they are float32, which has 7 digits: dates and amounts keep their differences."""
        check_scaled(store, np.arange(len(store)), self.labels)
        values = store.column("value")
        return lambda rows, length=0: (scaled(values[rows], self.labels).astype(np.float32), np.ones(len(rows), np.float32))

    def _balanced(self) -> np.ndarray:
        """float32[L] n / (L x rows of the label): each label's rows weigh the same in all. L counts no label that is left out
        for want of rows."""
        counts = np.asarray(self.labels.counts, np.float64)
        there = counts > 0
        if not there.all() and self.settings.absent_labels != "left_out":
            absent = self.labels.names[int(np.argmin(counts))]
            raise UserError(f"config.task.class_weights=balanced, but no training row has the label {absent!r}. Add rows of it "
                            "(a tenth of the old ones, where config.model.start's run knew it), leave such labels out "
                            "(config.task.absent_labels=left_out), or set class_weights to none.")
        return np.where(there, counts.sum() / (there.sum() * np.maximum(counts, 1)), 1).astype(np.float32)

    # ---- loss

    def loss(self, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Loss float32[B] of each row, unweighted. logits float32[B,L]; targets int32[B], float32[B,L] or float32[B]."""
        if self.problem == "regression":
            return tf.square(logits[:, 0] - targets)
        if self.problem == "multi_label":
            return losses.several(targets, logits, self.settings, self.labels)
        return losses.single(targets, logits, self.settings, self.labels)

    def averaged(self, tasks: list) -> Callable[[list], tf.Tensor]:
        """Probabilities, or values in the data's own unit, whatever scale each has learnt."""
        if len({task.problem for task in tasks}) > 1:
            raise UserError(f"config.task.problem is {' and '.join(sorted({task.problem for task in tasks}))}.")
        check_same("label", [task.labels.names for task in tasks])
        if self.problem != "regression":
            return mean_of_classes if self.problem == "single_label" else mean_of_each
        rates = [task.labels.deviation / self.labels.deviation for task in tasks]
        shift = np.mean([(task.labels.mean - self.labels.mean) / self.labels.deviation for task in tasks])
        return lambda outputs: mean([rate * values for rate, values in zip(rates, outputs, strict=True)]) + float(shift)

    # ---- evaluation

    def emit(self, outputs: tf.Tensor, extras=None) -> tf.Tensor:
        return outputs[:, tf.newaxis]

    @property
    def tunes(self) -> bool:
        return self.problem == "multi_label" and self.settings.tune_thresholds

    def judge(self, judged: base.Judged, tuned: dict[str, list] | None, tune: bool) -> LabelReport:
        """Rows x labels lie in scratch arrays, of which parts or single columns are in memory."""
        rows, logits = judged.rows, judged.units
        read, truth = self.targets(judged.store, weighted=False), scratch((len(rows), self.outputs))
        several, values = self.problem == "multi_label", self.problem == "regression"
        found = scratch((len(rows), self.outputs), np.float64 if values else np.float32)
        targets = truth if several else np.zeros(len(rows), self.target_specs.dtype.as_numpy_dtype)
        for part in parts(len(rows), self.outputs):
            targets[part] = read(rows[part])[0]
            found[part] = self.probabilities(tf.constant(logits[part])).numpy()
            let_go(logits, found, truth)
        if values:
            targets = np.asarray(judged.store.column("value")[rows], np.float64)
        thresholds = resolve_thresholds(self, tuned)
        if tune and several:
            thresholds = metrics.tune_thresholds(targets, found)
        made, per_label = metrics.compute(self.problem, targets, found, self.labels.names, thresholds)
        report = LabelReport(made, len(rows), per_label=per_label, thresholds=thresholds, rows=rows, targets=targets,
                             probabilities=found, logits=logits)
        report.mistakes = worst(self.problem, self.labels.names, judged.store, report, base.MISTAKES)
        report.evidence = evidence(self.problem, self.labels.names, report)
        return report

    baselines_version = baseline.VERSION

    def baselines(self, train: tuple[TokenStore, np.ndarray], judged: tuple[TokenStore, np.ndarray]) -> dict[str, dict]:
        return baseline.baselines(self, train, judged)

    def truth(self, store: TokenStore, rows: np.ndarray) -> base.Truth:
        return truth(self.problem, self.labels, store, rows)

    def oddities(self, name: str, store: TokenStore, rows: np.ndarray) -> list[str]:
        return of_table(self.problem, self.labels, store, rows) if name == "train" else []

    def beliefs(self, report: LabelReport) -> tuple[np.ndarray, np.ndarray]:
        return report.rows, report.probabilities

    def explained(self, encoder, wanted: base.Wanted) -> base.Explained:
        return explained(self, encoder, wanted)

    # ---- logits -> answers

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """float32[B,L] probabilities; float64[B,1] values in the data's own unit for regression."""
        if self.problem == "regression":
            return tf.cast(logits, tf.float64) * self.labels.deviation + self.labels.mean
        return tf.nn.softmax(logits) if self.problem == "single_label" else tf.nn.sigmoid(logits)

    def respond(self, examples: dict, rows: dict, units: tf.Tensor, context: base.Context) -> dict[str, tf.Tensor]:
        return serving.respond(self, units, context.tuned, context.calibration)

    recognises = staticmethod(serving.recognises)
    answers = staticmethod(serving.answers)

    def signatures(self, served: base.Served) -> dict:
        return serving.signatures(self, served)

    def difference(self, expected: dict, got: dict, rows: list[int]) -> np.ndarray:
        """Of scores or values alone: labels follow from them, and may be either where two are as good."""
        output = "value" if self.problem == "regression" else "scores"
        values = got.get(output, got.get("outputs"))
        apart = np.abs(np.asarray(values, np.float64) - expected[output][rows])
        if "outputs" in got:  # of regress, which are float32: a last digit of theirs is no difference
            apart = np.maximum(apart - np.spacing(np.abs(expected[output][rows]).astype(np.float32)), 0)
        apart = apart.reshape(len(rows), -1).max(axis=1)
        return np.where(np.isfinite(apart), apart, np.inf)

    def scale(self, expected: dict[str, np.ndarray]) -> float:
        """Of values their deviation: beside that, and not beside how large they are, a difference is small."""
        if self.problem != "regression":
            return super().scale(expected)
        return self.labels.deviation * super().scale({"value": (expected["value"] - self.labels.mean) / self.labels.deviation})

    # ---- the model card, calibration

    def card(self, tuned: dict[str, list] | None) -> list[str]:
        names = self.labels.names
        what = {"single_label": "texts with one of {} labels", "multi_label": "texts with any of {} labels",
                "regression": "texts with a number"}
        made = [what[self.problem].format(len(names))]
        if names:
            made.append(f"Labels: {', '.join(f'`{n}`' for n in names[:50])}{' and more' if len(names) > 50 else ''}.")
        if self.settings.pattern:
            words = ", ".join(f"`{label}={word}`" for label, word in self.settings.word_of().items())
            made.append(f"A text is read in the pattern `{self.settings.pattern}`, whose mask is one of the words {words}.")
        if tuned:
            shown = ", ".join(f"{n} {t:.3f}" for n, t in zip(names[:50], tuned["thresholds"], strict=False))
            made.append(f"Thresholds, tuned on validation: {shown}.")
        return made

    def card_of_length(self, data: config.TextClassificationData) -> str:
        return f"Texts are cut to {data.max_length} tokens ({data.truncation})."

    def limits(self, data: config.TextClassificationData) -> list[str]:
        return [f"- Of a text, what is beyond {data.max_length} tokens is not read."]

    def calibrate(self, report: LabelReport, step: int, precision: float) -> Calibration:
        return calibrate(self.problem, report.logits, report.targets, step, precision)

    read_calibration = staticmethod(Calibration.from_json)

    def card_of_calibration(self, calibration: Calibration | None) -> str:
        return calibration.card() if calibration else "Scores are the model's own; they were not calibrated."
