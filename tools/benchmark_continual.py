"""Labels that arrive in steps: what a run that goes on from the one before forgets, and what prevents it.

    python tools/benchmark_continual.py --data=clinc150/data_full.json --systems=plain,out+ewc0.03,replay,replay+ewc0.03
    python tools/benchmark_continual.py --data=goemotions --steps=4 ...

CLINC150's 150 intents in five steps of 30, by name, or GoEmotions' 28 emotions (rows with one label) in four of 7. "plain":
each step's run goes on from the one before (config.model.start) and sees the rows of its own intents; "replay": with a tenth
of all rows before, drawn anew at each step; "ewc0.03": with config.train.ewc=0.03; "out": with
config.task.absent_labels=left_out, which does nothing where old rows are replayed; "together": a run on the rows of all
steps, which nothing forgets. After each step test rows of the intents so far are judged, by all labels so far, and printed
by the step that their intents came with. --rows and --tests take fewer rows of each intent than there are.
"""

import argparse
import collections
import contextlib
import csv
import json
import os
import pathlib
import random
import sys
import tempfile

from benchmark_entities import ROOT

OLD = 0.1


def read(path: pathlib.Path) -> dict[str, list]:
    """{"train": [[text, label], ...], "test": ...}"""
    if path.is_file():
        return json.loads(path.read_text("utf-8"))
    labels, made = (path / "labels.txt").read_text("utf-8").split(), {}
    for split in ("train", "test"):
        fields = [line.split("\t") for line in (path / f"{split}.tsv").read_text("utf-8").splitlines()]
        made[split] = [[text, labels[int(label)]] for text, label, _ in fields if "," not in label]
    return made


def write(path: pathlib.Path, rows: list) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(rows)


def judged(run, tests: list[list]) -> list[float]:
    """The accuracy on the test rows of each step."""
    made = []
    for rows in tests:
        answers = run.predict([text for text, _ in rows])
        made.append(sum(answer["predicted_label"] == label for answer, (_, label) in zip(answers, rows, strict=True))
                    / len(rows))
    return made


def train(folder: pathlib.Path, rows: list, start: pathlib.Path | None, system: str, arguments: argparse.Namespace):
    import tfft

    write(folder.with_suffix(".csv"), rows)
    config = tfft.load_config(f"my_csv:{folder.with_suffix('.csv')}")
    config.data.validation, config.data.max_length, config.eval.baseline = "", 48, False
    config.train.epochs, config.train.peak_learning_rate, config.train.seed = arguments.epochs, arguments.rate, arguments.seed
    config.train.checkpoint_minutes = 0.0
    if arguments.backbone:
        config.model.backbone = arguments.backbone
    if start:
        config.model.start = str(start)
        config.train.ewc = float(system.partition("ewc")[2] or 0)
        config.task.absent_labels = "left_out" if "out" in system.split("+") else "wrong"
    with contextlib.redirect_stdout(sys.stderr):  # what commands say
        return tfft.fine_tune(config, str(folder))


def few(rows: list, number: int) -> list:
    """So many rows of each label, the first ones; all where the number is 0."""
    seen, made = collections.Counter(), []
    for row in rows:
        seen[row[1]] += 1
        if not number or seen[row[1]] <= number:
            made.append(row)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="CLINC150's file or GoEmotions' folder")
    parser.add_argument("--systems", default="plain,replay,together")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0, help="training rows of each intent; 0: all")
    parser.add_argument("--tests", type=int, default=0, help="test rows of each intent; 0: all")
    parser.add_argument("--backbone", default="", help="'' is my_csv's")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(ROOT))
    rows, steps = read(arguments.data), arguments.steps
    names = sorted({label for _, label in rows["train"]})
    step_of = {name: i * steps // len(names) for i, name in enumerate(names)}
    parts, tests = ([few([row for row in rows[split] if step_of[row[1]] == step], number) for step in range(steps)]
                    for split, number in (("train", arguments.rows), ("test", arguments.tests)))
    for system in arguments.systems.split(","):
        draw, before = random.Random(arguments.seed), None
        with tempfile.TemporaryDirectory() as folder:
            for step in range(steps) if system != "together" else [steps - 1]:
                run, old = pathlib.Path(folder) / f"step{step}", [row for part in parts[:step] for row in part]
                kept = draw.sample(old, int(OLD * len(old))) if "replay" in system else old if system == "together" else []
                made = train(run, [*parts[step], *kept], before, system, arguments)
                with contextlib.redirect_stdout(sys.stderr):
                    found = judged(made, tests[:step + 1])
                print(json.dumps({"system": system, "seed": arguments.seed, "step": step + 1, "all": sum(found) / len(found),
                                  "by_step": [round(value, 4) for value in found]}), flush=True)
                before = run


if __name__ == "__main__":
    main()
