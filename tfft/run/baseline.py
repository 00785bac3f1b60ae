"""Whether a run is better than simple methods on the same rows, in one sentence; remembered in <workdir>/baseline.json."""

import hashlib
import json

import numpy as np

from tfft.config import TASKS
from tfft.data.prepare import Split
from tfft.files import write_text
from tfft.run.workdir import Workdir

JUDGED = 50_000  # rows; more would take minutes


def compared(workdir: Workdir, experiment, task, train: Split, judged: Split, metrics: dict[str, float]) -> str:
    """"accuracy 0.9183 is better than that of a constant answer (0.5029), but worse than that of a linear model of TF-IDF
    features (0.9246)"; '' for a task without simple methods, and where there are too many rows."""
    rows = task.can_judge(judged.store, judged.rows)
    usual = TASKS[experiment.task.name].metrics(experiment.task)[0]
    metric = experiment.eval.metric if experiment.eval.metric != "loss" else usual
    if not len(rows) or len(rows) > JUDGED or metric not in metrics:
        return ""
    found = _remembered(workdir, task, (train.store, train.rows), (judged.store, rows))
    others = {name: values[metric] for name, values in found.items() if metric in values}
    if not others:
        return ""
    sign = -1 if metric in TASKS[experiment.task.name].lower_is_better else 1
    ours, parts = metrics[metric], []
    for order, word in ((1, "better than"), (0, "as good as"), (-1, "worse than")):
        names = [f"of {name} ({value:.4f})" for name, value in others.items() if np.sign(ours - value) == sign * order]
        parts += [f"{word} that {' and '.join(names)}"] if names else []
    both = ", but " if "worse" in parts[-1] else ", and "
    return f"{metric} {ours:.4f} is {both.join(parts)}"


def _remembered(workdir: Workdir, task, train: tuple, judged: tuple) -> dict[str, dict[str, float]]:
    """What Task.baselines finds, computed once for the same rows."""
    digest = hashlib.blake2b(str(task.baselines_version).encode(), digest_size=8)
    for store, rows in (train, judged):
        digest.update(store.folder.name.encode() + np.asarray(rows, np.int64).tobytes())
    file = workdir.path / "baseline.json"
    try:
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    if digest.hexdigest() not in known:
        found = task.baselines(train, judged)
        if not found:
            return {}
        known[digest.hexdigest()] = found
        try:
            write_text(file, json.dumps(known, indent=1) + "\n")
        except OSError:  # a workdir that can only be read
            pass
    return known[digest.hexdigest()]
