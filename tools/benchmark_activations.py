"""What keeping the activations of frozen layers saves: the same run without it and with it, taking turns.

    python tools/benchmark_activations.py --train=train.csv --rounds=2

The file is csv with the columns text and label. Each run prints real tokens a second of training steps (without the first ones,
which are traced), the seconds of a training epoch that follow from it, those of the whole command, which has three epochs with
an evaluation after each, and the accuracy of the last. A run with a cache finds it empty, and computes it first.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

from benchmark_entities import ROOT, command, rate_of, train_lines

EPOCHS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, type=os.path.abspath)
    parser.add_argument("--frozen", default="3,-1", help="values of config.model.frozen_layers")
    parser.add_argument("--kinds", default="none,float32,bfloat16", help="values of config.train.activation_cache")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    for turn in range(arguments.rounds):
        for frozen in arguments.frozen.split(","):
            for kind in arguments.kinds.split(","):
                with tempfile.TemporaryDirectory() as folder:
                    run, began = pathlib.Path(folder) / "run", time.monotonic()
                    settings = {"data.train": f"csv:{arguments.train}", "data.max_length": arguments.length,
                                "data.cache": "", "train.epochs": EPOCHS, "model.frozen_layers": frozen,
                                "train.activation_cache": kind, "eval.baseline": False, "train.checkpoint_minutes": 0.0}
                    before = _kept()  # activations of other runs
                    command(["tfft.train", f"--config={ROOT / 'configs' / 'my_csv.py'}", f"--workdir={run}",
                             *(f"--config.{name}={value}" for name, value in settings.items())])
                    seconds, made = time.monotonic() - began, train_lines(run)
                    rate = rate_of(made, "tokens")
                    tokens = sum(line["tokens"] for line in made) / len(made) * (len(made) + 1) / EPOCHS
                    last = [json.loads(line) for line in open(run / "metrics.jsonl", encoding="utf-8")][-1]
                    print(json.dumps({"round": turn, "frozen_layers": int(frozen), "activation_cache": kind,
                                      "tokens_per_second": round(rate), "epoch_seconds": round(tokens / rate, 2),
                                      "command_seconds": round(seconds, 1), "accuracy": last["accuracy"]}), flush=True)
                    for name in _kept() - before:
                        _remove(name)


def _kept() -> set[pathlib.Path]:
    from tfft.assets import cache_folder

    return set((cache_folder() / "activations").glob("*"))


def _remove(path: pathlib.Path) -> None:
    from tfft.files import remove_tree

    remove_tree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
