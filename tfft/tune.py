"""Hyperparameter search: python -m tfft.tune --config=configs/tickets.py --workdir=studies/tickets --trials=20

The config file's get_space() says which settings are searched (docs/tuning.md). Every trial is an ordinary work directory,
WORKDIR/trials/0007. The same command again goes on after any interruption; run beside itself, here or on other hosts that see
the same folder, it shares the study. WORKDIR/best.py is the best trial's config, study.html shows them all.
"""

import os
from pathlib import Path

from absl import flags

from tfft import flags as command_line
from tfft.config.space_checks import check_space, check_space_limits, of_file, parse, usual_space
from tfft.errors import UserError
from tfft.files import local_path

SPACE = flags.DEFINE_multi_string("space", [], "A setting to search beside those of get_space(), or in their place, e.g. "
                                  "'train.peak_learning_rate=log(1e-5,1e-3)', 'model.pooling=choice(cls,mean)', "
                                  "'model.frozen_layers=whole(0,4)'; NAME= searches it no more. As often as you like.")
WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the study; '' is studies/<config.name>.")
TRIALS = flags.DEFINE_integer("trials", 0, "Trials in all, earlier ones and those of other processes included; 0: as many as "
                              "--minutes or --steps allow, and 20 where neither is given (grid: all).", lower_bound=0)
MINUTES = flags.DEFINE_float("minutes", 0, "No trial begins after so many minutes; 0 is without this limit.", lower_bound=0)
STEPS = flags.DEFINE_integer("steps", 0, "No trial begins after so many steps of all trials; 0 is without this limit.",
                             lower_bound=0)
METHOD = flags.DEFINE_enum("method", "tpe", ["tpe", "gp", "random", "grid"], "What is tried next: by a tree-structured Parzen "
                           "estimator, a Gaussian process, at random, or all combinations.")
PRUNER = flags.DEFINE_enum("pruner", "asha", ["asha", "median", "none"], "Which trials are stopped after an evaluation: all "
                           "but the best third of those that came as far (asha), those below the median, or none.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the search; a trial's own is config.train.seed.", lower_bound=0)
STORAGE = flags.DEFINE_string("storage", "", "A database in the place of WORKDIR/study.journal, as SQLAlchemy names it, e.g. "
                              "sqlite:///study.db.")
KEEP = flags.DEFINE_integer("keep", 3, "How many of the best trials keep their weights.", lower_bound=1)
FAILURES = flags.DEFINE_integer("failures", 3, "After so many failed trials in a row it ends.", lower_bound=1)
command_line.define_config()


def main() -> int:
    experiment, values = command_line.experiment(), command_line.values()
    space = of_file(command_line.config_file())
    given = parse(SPACE.value)
    if space is None:
        space = {} if given else usual_space(experiment)
    space = check_space({name: kind for name, kind in {**space, **given}.items() if kind is not None}, experiment)
    if not experiment.data.specs("validation"):
        raise UserError("Trials are compared on validation rows, and config.data.validation names none.")
    if "TF_CONFIG" in os.environ:
        raise UserError("tfft tune trains each trial on one host, and TF_CONFIG names several. Run the same command on each of "
                        "them without it: they share the study.")
    folder = local_path(WORKDIR.value, "--workdir") if WORKDIR.value else Path("studies") / experiment.name
    try:
        import optuna
    except ImportError as error:
        raise UserError('tfft tune needs Optuna: pip install "tfft[tune]"') from error

    from tfft.assets import backbone_limits
    from tfft.run.fine_tune import resolve_assets
    from tfft.tuning.search import Budget, Search
    from tfft.tuning.study import Study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    preset, _ = resolve_assets(experiment)  # what every trial would be refused for
    max_length, num_layers = backbone_limits(preset)
    check_space_limits(space, experiment, max_length=max_length, num_layers=num_layers)
    trials = TRIALS.value or (0 if MINUTES.value or STEPS.value or METHOD.value == "grid" else 20)
    study = Study(folder, experiment, space, storage=STORAGE.value, method=METHOD.value, pruner=PRUNER.value, seed=SEED.value)
    _say(f"{folder}: {len(space)} settings by {METHOD.value}, {'lowest' if study.lower else 'highest'} {study.metric}")
    for name, kind in space.items():
        _say(f"  {name}: {kind}")
    if study.outside:
        _say(f"The config itself is no trial: {study.outside} is not in its space.")
    return Search(study, values, Budget(trials, MINUTES.value, STEPS.value), KEEP.value, FAILURES.value, _say).run()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    command_line.run(main)
