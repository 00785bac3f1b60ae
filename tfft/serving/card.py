"""model_card.md: what a served model is, what it was trained and judged on, and where not to trust it."""

import json
from pathlib import Path
from typing import Any

from tfft import __version__
from tfft.config import is_all_folds, to_json
from tfft.data.prepare import describe_data
from tfft.run.workdir import PACKAGES, Run
from tfft.serving.prove import Proof

WORST_LABELS = 20


def write_card(folder: Path, run: Run, name: str, dtype: str, calibration: Any, proof: Proof) -> None:
    """Made of what lies in the work directory; figures of other weights than the exported ones are left out."""
    parts = [f"# {name}\n", _summary(run, dtype), _data(run), _metrics(run), _reports(run),
             _calibration(run, calibration), _proof(proof), _limits(run), _versions(run),
             "## Config\n\n```json\n" + to_json(run.experiment).strip() + "\n```\n"]
    (folder / "model_card.md").write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _summary(run: Run, dtype: str) -> str:
    e = run.experiment
    what, *more = run.task.card(run.tuned)
    made = f"answers by the mean of {len(run.members)} runs" if run.members else f"of training step {run.step:,}"
    summary = f"Answers {what}. Backbone: `{e.model.backbone}`, {run.model.count_params():,} weights kept in {dtype}, {made}."
    more += [f"Runs: {', '.join(f'`{one.workdir.path}` (step {one.step:,})' for one in run.members)}."] if run.members else []
    return "\n\n".join([summary, *more]) + "\n"


def _data(run: Run) -> str:
    data = run.experiment.data
    return f"## Data\n\n{describe_data(data)}\n\n{run.task.card_of_length(data)}\n"


def _metrics(run: Run) -> str:
    """The validation figures that training recorded for these weights."""
    if run.members:
        return ""
    found = [line for line in run.workdir.points() if line.get("kind") == "validation" and line.get("step") == run.step]
    return "## Validation, while training\n\n" + _figures(found[-1]) if found else ""


def _reports(run: Run) -> str:
    """The evaluations of these weights: figures, parts by length, labels."""
    parts = []
    if run.members and not is_all_folds(run.experiment):  # the folder is one member's
        return ""
    for path in sorted(run.workdir.path.glob("evaluation-*.json")):
        try:
            report = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if report.get("step") != run.step:
            continue
        parts.append(f"## Evaluation: {report['data']}, {report['rows']:,} rows\n\n" + _figures(report["metrics"]))
        metric = run.experiment.eval.metric.rpartition("/")[2]
        if report.get("slices"):
            parts.append(_table(("length", "rows", metric), [
                (part["slice"], f"{part['rows']:,}", f"{part['metrics'][metric]:.4f}") for part in report["slices"]]))
        labels = sorted((x for x in report.get("per_label", ()) if x["rows"]), key=lambda x: x["f1"])[:WORST_LABELS]
        if labels:
            parts.append(_table(("label, lowest f1 first", "precision", "recall", "f1", "rows"), [
                (x["label"], *(f"{x[key]:.3f}" for key in ("precision", "recall", "f1")), f"{x['rows']:,}") for x in labels]))
    return "\n".join(parts) or "No evaluation of these weights was recorded: run `python -m tfft.evaluate`, and export again.\n"


def _calibration(run: Run, found: Any) -> str:
    told = run.task.card_of_calibration(found)
    return f"## Calibration\n\n{told}\n" if told else ""


def _proof(proof: Proof) -> str:
    return (f"## Proof\n\nLoaded by a process with only tensorflow and tensorflow-text, {proof.rows:,} held-out and nasty "
            f"texts in {proof.batches:,} batches of 1, 2, 7 and 32 rows were answered as by the trained model: largest "
            f"difference {proof.largest:.2g}, allowed {proof.tolerance:.2g}. Ops beyond TensorFlow's own: "
            f"{', '.join(proof.text_ops) or 'none'}.\n")


def _limits(run: Run) -> str:
    data = run.experiment.data
    lines = [*run.task.limits(data),
             "- Figures hold for texts like those of the evaluation; other languages, topics and times can be much worse.",
             "- Every text is answered, also one that is empty or fits nothing it was trained for."]
    return "## Limits\n\n" + "\n".join(lines) + "\n"


def _versions(run: Run) -> str:
    try:
        environment = json.loads((run.workdir.path / "environment.json").read_text())
    except (OSError, ValueError):
        environment = {}
    packages = {name: environment.get("packages", {}).get(name) for name in PACKAGES}
    rows = [("tfft", environment.get("tfft") or __version__), ("commit", environment.get("git_commit")), *packages.items()]
    return "## Versions, of the training\n\n" + _table(("", "version"), [(name, value) for name, value in rows if value])


def _figures(values: dict) -> str:
    return _table(("metric", "value"), [(name, f"{value:.4f}") for name, value in values.items() if isinstance(value, float)])


def _table(header: tuple, rows: list[tuple]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
