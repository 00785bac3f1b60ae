"""Labels that arrive in steps: what a run that goes on from the one before forgets, and what a few old rows are worth.

    python tools/benchmark_continual.py --data=clinc150/data_full.json --systems=plain,replay,together

CLINC150's 150 intents in five steps of 30, by name. "plain": each step's run goes on from the one before (config.model.start)
and sees its own 3,000 rows; "replay": with a tenth of all rows before, drawn anew at each step; "together": a run on the rows
of all steps, which nothing forgets. After each step all test rows of the intents so far are judged, by all labels so far, and
printed by the step that their intents came with.
"""

import argparse
import csv
import json
import os
import pathlib
import random
import sys
import tempfile

from benchmark_entities import ROOT, command

STEPS, OLD = 5, 0.1


def write(path: pathlib.Path, rows: list) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(rows)


def judged(run: pathlib.Path, tests: list[list]) -> list[float]:
    """The accuracy on the test rows of each step."""
    sys.path.insert(0, str(ROOT))
    from tfft.run.workdir import open_run
    from tfft.serving.prediction import Predictor

    predictor, made = Predictor(open_run(run)), []
    for rows in tests:
        answers = predictor.answers([{"text": text} for text, _ in rows])
        made.append(sum(answer["predicted_label"] == label for (answer, _), (_, label) in zip(answers, rows, strict=True))
                    / len(rows))
    return made


def train(run: pathlib.Path, rows: list, start: pathlib.Path | None, arguments: argparse.Namespace) -> None:
    write(run.with_suffix(".csv"), rows)
    settings = {"data.train": f"csv:{run.with_suffix('.csv')}", "data.validation": "", "data.max_length": 48,
                "train.epochs": arguments.epochs, "train.peak_learning_rate": arguments.rate, "train.seed": arguments.seed,
                "train.checkpoint_minutes": 0.0, "eval.baseline": False, **({"model.start": start} if start else {})}
    command(["tfft.train", f"--config={ROOT / 'configs' / 'my_csv.py'}", f"--workdir={run}",
             *(f"--config.{name}={value}" for name, value in settings.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=os.path.abspath)
    parser.add_argument("--systems", default="plain,replay,together")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = json.loads(pathlib.Path(arguments.data).read_text("utf-8"))
    names = sorted({label for _, label in rows["train"]})
    step_of = {name: i * STEPS // len(names) for i, name in enumerate(names)}
    parts, tests = ([[row for row in rows[split] if step_of[row[1]] == step] for step in range(STEPS)]
                    for split in ("train", "test"))
    for system in arguments.systems.split(","):
        draw, before = random.Random(arguments.seed), None
        with tempfile.TemporaryDirectory() as folder:
            for step in range(STEPS) if system != "together" else [STEPS - 1]:
                run, old = pathlib.Path(folder) / f"step{step}", [row for part in parts[:step] for row in part]
                kept = {"plain": [], "replay": draw.sample(old, int(OLD * len(old))), "together": old}[system]
                train(run, [*parts[step], *kept], before, arguments)
                found = judged(run, tests[:step + 1])
                print(json.dumps({"system": system, "seed": arguments.seed, "step": step + 1, "all": sum(found) / len(found),
                                  "by_step": [round(value, 4) for value in found]}), flush=True)
                before = run


if __name__ == "__main__":
    main()
