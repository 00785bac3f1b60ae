"""The main job: experiment in, trained run in the work directory out. Imports no TensorFlow until assets are there."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from tfft.assets import backbone_limits, cache_folder, resolve_backbone
from tfft.config import Experiment, MultiTask, by_source, check_limits, in_source, in_task, is_all_folds, named_sources
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.files import to_path
from tfft.run.continued import check_start
from tfft.run.tracking import check_tracker
from tfft.run.workdir import MANIFEST, PEFT, Workdir
from tfft.tasks.fields import FIELDS
from tfft.training.cluster import LOST, Cluster, find_cluster


def resolve_assets(experiment: Experiment, begun: bool = False) -> tuple[str, Path]:
    """(preset for KerasHub, cache folder); the experiment is checked against its data's first rows and the backbone, and one
    that has not begun against the run, or the adapter, that it begins with."""
    cache = cache_folder(experiment.data.cache)
    if not begun:
        check_start(experiment)
    fields = FIELDS[experiment.task.name](experiment, cache)
    for name, one in by_source(experiment).items():
        with in_source(name, one.data):
            for spec in named_sources(one.data):
                Source(spec, one.data, FIELDS[one.task.name](one, cache), cache).look()
    for spec in experiment.data.other_sources:
        Source(spec, experiment.data, fields, cache)  # a missing file is told
    start = experiment.adaptation.start
    if start and not begun and not any((to_path(start) / name).exists() for name in (MANIFEST, PEFT)):
        raise UserError(f"config.adaptation.start={start} is no adapter: it has neither {MANIFEST}, as tfft's own "
                        f"have, nor {PEFT}, as PEFT's have.")
    preset = resolve_backbone(experiment.model.backbone, cache)
    max_length, num_layers = backbone_limits(preset)
    check_limits(experiment, max_length=max_length, num_layers=num_layers)
    return preset, cache


def resolve_assets_of_tasks(config: MultiTask) -> dict[str, tuple[str, Path]]:
    """The same for each of several tasks, by name."""
    made = {}
    for name, experiment in config.tasks.items():
        with in_task(name):
            made[name] = resolve_assets(experiment)
    return made


def fine_tune(experiment: Experiment | MultiTask, path: str) -> int:
    """Trains, or resumes; returns the exit code (128 + signal where one stopped it).

    Of several hosts only the chief touches the work directory; what the others write goes to a temporary folder.
    """
    cluster = find_cluster(experiment.distribution)
    if cluster is None or cluster.chief:
        check_tracker(experiment.track)
    several = isinstance(experiment, MultiTask)
    if not several and is_all_folds(experiment):
        raise UserError("config.data.folds.number: a run of each fold is made by tfft train on the command line. Here name one "
                        "with data.folds.held_out.")
    assets = resolve_assets_of_tasks(experiment) if several else resolve_assets(experiment, Workdir(path).started)
    if cluster is None:
        return _train(experiment, Workdir(path), assets)
    with contextlib.nullcontext(path) if cluster.chief else tempfile.TemporaryDirectory(prefix="tfft-worker-") as folder:
        code = _train(experiment, Workdir(folder), assets, cluster)
    if code == LOST:
        sys.stdout.flush()
        os._exit(code)  # at once: threads of TensorFlow that wait for the lost worker would hold a usual exit up
    return code


def _train(experiment: Experiment | MultiTask, workdir: Workdir, assets, cluster: Cluster | None = None) -> int:
    resumed = workdir.begin(experiment)
    chief = cluster is None or cluster.chief
    if chief:
        print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.joint import JointSession
    from tfft.run.session import Session
    from tfft.training.loop import Interrupted
    from tfft.training.multi_worker import WorkerLost, stops_together

    try:
        with stops_together(cluster):
            if isinstance(experiment, MultiTask):
                JointSession(experiment, workdir, assets, resumed, cluster).run()
            else:
                Session(experiment, workdir, *assets, resumed, cluster).run()
    except Interrupted as stop:
        if chief:
            _say(f"stopped by signal {stop.number} at step {stop.step:,}; saved. The same command again continues from there.")
        return 128 + stop.number
    except WorkerLost as lost:
        _say(str(lost))
        return LOST
    finally:
        workdir.release()  # of a notebook, whose process lives on
    return 0


def _say(text: str) -> None:
    print(f"\ntfft: {text}", file=sys.stderr, flush=True)
