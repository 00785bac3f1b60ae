"""What an evaluation of a classifier found."""

import dataclasses

import numpy as np

from tfft.tasks.base import Report, Table

LABELS_SHOWN = 40  # of more labels only the worst are printed
WORST_SHOWN = 15
HEADER = ("label", "precision", "recall", "f1", "rows")


def resolve_thresholds(task, tuned: dict[str, list] | None) -> np.ndarray | None:
    """float32[L], what a label's probability must reach: the tuned thresholds, or 0.5. None unless several labels may hold."""
    if task.problem != "multi_label":
        return None
    return np.asarray(tuned["thresholds"], np.float32) if tuned else np.full(task.outputs, 0.5, np.float32)


@dataclasses.dataclass
class LabelReport(Report):
    """thresholds: float32[L] where several labels may hold, else None. rows int64[n] of the store, targets, probabilities and
    logits float32[n,outputs] are in the same order and may lie on disk; regression: targets and probabilities are values in
    the data's own unit."""

    per_label: list[dict] = dataclasses.field(default_factory=list)
    thresholds: np.ndarray | None = None
    rows: np.ndarray | None = None
    targets: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    logits: np.ndarray | None = None

    def __post_init__(self):
        thresholds = None if self.thresholds is None else [float(t) for t in self.thresholds]
        self.details = {"per_label": self.per_label, "thresholds": thresholds}
        if thresholds is not None:
            self.tuned = {"thresholds": thresholds}
        if self.per_label:
            self.tables = [label_table(self.per_label)]


def label_table(per_label: list[dict]) -> Table:
    """Precision, recall and F1 of each label; of more than LABELS_SHOWN labels a terminal shows the worst that occur."""
    lines = [tuple(line.values()) for line in per_label]
    if len(lines) <= LABELS_SHOWN:
        return Table("labels", HEADER, lines)
    shown = sorted((line for line in lines if line[-1]), key=lambda line: line[3])[:WORST_SHOWN]
    return Table("labels", HEADER, lines, shown,
                 f"the {len(shown)} of {len(lines)} labels with the lowest f1; the report has all of them:")
