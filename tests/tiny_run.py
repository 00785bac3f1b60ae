"""A run as open_run gives it, made in this process on the tiny backbone: nothing of it is trained."""

import json

import numpy as np

from tfft.config import resolve, to_json
from tfft.models.backbone import load_backbone, load_tokenizer
from tfft.run.workdir import Run, Workdir
from tfft.tasks.table import TASKS
from tfft.tasks.text_classification.labels import Labels

LABELS = {"single_label": Labels(("neg", "pos"), (5, 5), rows=10), "multi_label": Labels(("x", "y"), (4, 3), rows=7),
          "regression": Labels(mean=2.0, deviation=0.5)}


def make_run(preset: str, path, problem: str = "single_label", tuned=None, **data) -> Run:
    """A run with the config file and environment.json of a work directory; texts of other words get other answers."""
    settings = {"train": "csv:train.csv", "max_length": 16, "cache": str(path.parent / "cache"), **data}
    experiment = resolve({"task": {"problem": problem}, "data": settings, "model": {"backbone": preset}})
    task = TASKS[experiment.task.name](experiment.task, LABELS[problem])
    backbone = load_backbone(preset, precision="float32", dropout=-1)
    model = task.build_model(backbone, experiment.model, seed=0)
    kernel = model.get_layer("head").kernel
    kernel.assign(np.random.default_rng(0).normal(0, 3, kernel.shape))
    path.mkdir()
    (path / "config.json").write_text(to_json(experiment))
    (path / "environment.json").write_text(json.dumps({"stores": {}}))
    return Run(Workdir(path), experiment, task, model, load_tokenizer(preset), 7, tuned, backbone=backbone)
