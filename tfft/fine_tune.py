"""The main job: experiment in, trained run in the work directory out. Imports no TensorFlow until assets are there."""

import sys
from pathlib import Path

from tfft.assets import backbone_limits, cache_folder, resolve_backbone
from tfft.config import Experiment, check_limits, split_share
from tfft.data.sources import Source
from tfft.workdir import Workdir


def resolve_assets(experiment: Experiment) -> tuple[str, Path]:
    """(preset for KerasHub, cache folder); the experiment is checked against its data's first rows and the backbone."""
    cache = cache_folder(experiment.data.cache)
    for spec in (experiment.data.train, experiment.data.validation, experiment.data.test):
        if spec and split_share(spec) is None:
            Source(spec, experiment.data, experiment.task.problem, cache).look()
    preset = resolve_backbone(experiment.model.backbone, cache)
    max_length, num_layers = backbone_limits(preset)
    check_limits(experiment, max_length=max_length, num_layers=num_layers)
    return preset, cache


def fine_tune(experiment: Experiment, path: str) -> int:
    """Trains, or resumes; returns the exit code (128 + signal where one stopped it)."""
    preset, cache = resolve_assets(experiment)
    workdir = Workdir(path)
    resumed = workdir.begin(experiment)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.session import Session
    from tfft.training.loop import Interrupted

    try:
        Session(experiment, workdir, preset, cache, resumed).run()
    except Interrupted as stop:
        print(f"\ntfft: stopped by signal {stop.number} at step {stop.step:,}; saved. The same command again continues "
              "from there.", file=sys.stderr, flush=True)
        return 128 + stop.number
    return 0
