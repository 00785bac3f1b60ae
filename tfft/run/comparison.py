"""What a comparison of runs found, for a terminal and as JSON; its verdict in plain words."""

import dataclasses
import json
import textwrap
from typing import Any

from tfft.evaluation.pairs import ALPHA, rows_needed
from tfft.evaluation.resampling import FEW
from tfft.run.candidate import Candidate
from tfft.training.summaries import duration, table

WIDTH = 120
LABELS = 8      # labels in a terminal's table, those that differ most
SHOWN = 3       # rows that one run alone answers rightly
SMALL = 30      # rows of a slice that are few
WORDS = {"better": "is better than", "worse": "is worse than"}


@dataclasses.dataclass(frozen=True)
class Slice:
    """kind: length, label, or a column. before, after: the metric there; between: 95% of its resampled differences."""

    kind: str
    title: str
    rows: int
    metric: str
    before: float | None
    after: float | None
    between: tuple[float, float]

    @property
    def difference(self) -> float | None:
        return None if self.before is None else self.after - self.before

    @property
    def clear(self) -> bool:
        return self.between[0] > 0 or self.between[1] < 0

    def to_dict(self) -> dict[str, Any]:
        return {"by": self.kind, "slice": self.title, "rows": self.rows, "metric": self.metric, "before": self.before,
                "after": self.after, "difference": self.difference, "interval": _finite(self.between)}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Run b against run a. test, test_p: on the scores of single rows; p: what the verdict goes by, of that test where the
    metric is the mean of the scores (mean), else by the bootstrap; deviation: of one row's difference."""

    a: str
    b: str
    metric: str
    lower: bool
    difference: float
    between: tuple[float, float]
    test: str
    test_p: float
    p: float
    mean: bool
    deviation: float
    rows: int
    rows_better: int
    rows_worse: int
    slices: list[Slice]
    config: list[str]
    data: list[str]
    changed: dict[str, list[dict]]
    corrected: float = 1.0
    comparisons: int = 1

    def judged(self, corrected: float, comparisons: int) -> "Pair":
        return dataclasses.replace(self, corrected=corrected, comparisons=comparisons)

    @property
    def verdict(self) -> str:
        """better, worse or cannot tell: the interval leaves 0 out, and p by Holm's correction is below alpha."""
        if self.corrected >= ALPHA or self.between[0] <= 0 <= self.between[1]:
            return "cannot tell"
        return "better" if (self.difference > 0) != self.lower else "worse"

    @property
    def test_told(self) -> str:
        return (f"better on {self.rows_better:,} rows, worse on {self.rows_worse:,}; {self.test} "
                f"p = {told_p(self.test_p)}")

    @property
    def needed(self) -> int | None:
        """Rows that would tell; None where it is told already, nothing differs, or nobody can know."""
        if self.verdict != "cannot tell" or not self.deviation:
            return None
        made = rows_needed(self.difference, self.deviation, self.comparisons)
        return made and max(made, self.rows + 1)

    def told_verdict(self) -> str:
        by = f" by Holm's correction for {self.comparisons} comparisons" if self.comparisons > 1 else ""
        sure = (f"{self.metric} {self.difference:+.4f}, 95% of resamples {self.between[0]:+.4f} to {self.between[1]:+.4f}, "
                f"p = {told_p(self.corrected)}{by}")
        if self.verdict != "cannot tell":
            return f"{self.b} {WORDS[self.verdict]} {self.a}: {sure}."
        told = f"cannot tell whether {self.b} is better or worse than {self.a}: {sure}."
        if _finite(self.between) is None:
            return (f"{told} Some resamples of so few rows have no {self.metric}, as where all of a label are missing: judge "
                    "more rows.")
        if self.needed is None:
            return f"{told} No difference was seen that more such rows could make clear."
        together = " of all comparisons" if self.comparisons > 1 else ""
        return (f"{told} About {_round(self.needed)} rows would be needed to tell, instead of {self.rows:,}, if the true "
                f"difference is the one seen here and rows vary as these do (power 80%, alpha 5%{together}).")

    def to_dict(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b, "verdict": self.verdict, "difference": self.difference,
                "interval": _finite(self.between), "p": self.p, "p_holm": self.corrected, "test": self.test,
                "test_p": self.test_p,
                "decided_by": self.test if self.mean else "bootstrap", "rows_needed": self.needed,
                "rows_better": self.rows_better, "rows_worse": self.rows_worse,
                "slices": [one.to_dict() for one in self.slices], "config": self.config, "data": self.data,
                "changed": self.changed}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """rows: how many all were judged on; said: what to know of them; figures: the metrics of each run there."""

    name: str
    metric: str
    lower: bool
    rows: int
    said: list[str]
    runs: list[Candidate]
    figures: list[dict[str, float]]
    pairs: list[Pair]

    def to_json(self) -> str:
        runs = [{"run": run.path, "metrics": figures, **run.facts}
                for run, figures in zip(self.runs, self.figures, strict=True)]
        return json.dumps({"data": self.name, "rows": self.rows, "metric": self.metric, "lower_is_better": self.lower,
                           "said": self.said, "runs": runs, "comparisons": [pair.to_dict() for pair in self.pairs]}, indent=1,
                          ensure_ascii=False)

    @property
    def title(self) -> str:
        return f"{self.name}: {self.rows:,} rows, judged by {len(self.runs)} runs"

    def lines(self) -> list[tuple]:
        """A metric, and what it is of each run; of those that all have."""
        names = [name for name in self.figures[0] if all(name in figures for figures in self.figures)]
        return [(name, *(figures[name] for figures in self.figures)) for name in names]

    def told(self) -> str:
        """Figures of all runs, then of each against the first, then the verdicts."""
        header = ("", *(run.path for run in self.runs))
        parts = [self.title, *(_wrapped(said) for said in self.said), table(self.lines(), header),
                 table(facts(self.runs), header)]
        if self.rows < FEW:
            parts.append(f"fewer than {FEW} rows: intervals are too narrow")
        for pair in self.pairs:
            parts += _told(pair)
        return "\n\n".join(parts + [_wrapped(pair.told_verdict()) for pair in self.pairs])


def _told(pair: Pair) -> list[str]:
    """Tests, slices, rows and settings of a pair."""
    parts = [f"{pair.b} against {pair.a}: {pair.test_told}"]
    labels = [one for one in pair.slices if one.kind == "label" and one.difference is not None]
    shown = sorted(labels, key=lambda one: -abs(one.difference))[:LABELS]
    lines = [one for one in pair.slices if one.kind != "label" and one.difference is not None] + shown
    if lines:
        parts.append(table([_line(one) for one in lines],
                           ("by", "slice", "rows", "metric", "before", "after", "difference", "95% of resamples", "")))
        notes = ["* leaves 0 out: of 20 slices one does by chance"] if any(one.clear for one in lines) else []
        notes += [f"few: fewer than {SMALL} rows"] if any(one.rows < SMALL for one in lines) else []
        notes += [f"{LABELS} of {len(labels)} labels, those that differ most"] if len(shown) < len(labels) else []
        parts += ["  " + "; ".join(notes)] if notes else []
    for name, rows in pair.changed.items():
        if rows:
            parts.append("\n".join([f"{name}, such as", *(_wrapped(_row(row), "  ") for row in rows[:SHOWN])]))
    if pair.config or pair.data:
        parts.append("\n".join(["what differs", *(_wrapped(line, "  ") for line in (*pair.config, *pair.data))]))
    return parts


def _row(row: dict[str, str]) -> str:
    right, before, after = (row[name] or "(none)" for name in ("right", "before", "after"))
    return f"{row['place'].rpartition('/')[2]}  right {right}, before {before}, after {after}: {row['text'][:60]!r}"


def _line(one: Slice) -> tuple:
    few = "few" if one.rows < SMALL else ""
    return (one.kind, one.title[:30], one.rows, one.metric, one.before, one.after, f"{one.difference:+.4f}",
            f"{one.between[0]:+.4f} to {one.between[1]:+.4f}", " ".join(filter(None, ["*" if one.clear else "", few])))


def facts(runs: list[Candidate]) -> list[tuple]:
    """Speed and size; lines that no run knows are left out."""
    shown = {"seconds": ("judged in, with the start", duration),
             "rows_per_second": ("rows a second of that", lambda v: f"{v:,.1f}"),
             "training_seconds": ("trained in", duration),
             "tokens_per_second": ("tokens a second in training", lambda v: f"{v:,.0f}"),
             "train_rows": ("training rows", lambda v: f"{v:,}"), "weights": ("weights", lambda v: f"{v:,}"),
             "trained_weights": ("of these trained", lambda v: f"{v:,}"), "weights_bytes": ("file of the weights", _megabytes),
             "export_bytes": ("export", _megabytes)}
    return [(title, *("-" if run.facts[name] is None else told(run.facts[name]) for run in runs))
            for name, (title, told) in shown.items() if any(run.facts[name] is not None for run in runs)]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def told_p(value: float) -> str:
    return f"{value:.1e}" if value < 0.0005 else f"{value:.3f}"


def _round(number: int) -> str:
    """Two digits are all that such an estimate has: 3,140 -> 3,100."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return f"{round(number / unit) * unit:,}"


def _finite(between: tuple[float, float]) -> list[float] | None:
    return list(between) if all(abs(end) != float("inf") for end in between) else None


def _wrapped(text: str, indent: str = "") -> str:
    return "\n".join(textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False,
                                   break_on_hyphens=False))
