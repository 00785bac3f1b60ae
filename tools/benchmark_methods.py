"""Any config with each method of config.adaptation, beside all weights and the highest layers alone, in several seeds.

    python tools/benchmark_methods.py --config=code:conala-train.json --set=train.steps=30 --set=task.sample_rows=0 --rounds=3

Each run trains in a process of its own and gives what its last evaluation says of the rows held out, real tokens a second, the
weights that it trains and its peak memory. Learning rates are those of the config: a method multiplies them as it usually does
(config.adaptation.rate), and --full_rate is that of all weights and of the highest layers.
"""

import argparse
import functools
import json
import pathlib

from benchmark_adapters import METHODS, figures
from benchmark_entities import command, flags, take_turns


def trained(arguments: argparse.Namespace, method: str) -> dict:
    run = pathlib.Path(arguments.folder) / "run"
    settings = ["train.checkpoint_minutes=0.0", f"train.seed={arguments.seed}", "eval.baseline=False", *arguments.set]
    if method in METHODS:
        settings.append(f"adaptation.method={method}")
    else:
        settings += ["adaptation.method=none", f"train.peak_learning_rate={arguments.full_rate}"]
        if method == "highest":
            settings.append(f"model.frozen_layers={arguments.frozen_layers}")
    command(["tfft.train", f"--config={arguments.config}", f"--workdir={run}", *(f"--config.{entry}" for entry in settings)])
    lines = [json.loads(line) for line in open(run / "metrics.jsonl", encoding="utf-8")]
    judged = [line for line in lines if line["kind"] == "validation"][-1]
    return figures(run) | {name: value for name, value in judged.items() if isinstance(value, float)}


def main() -> None:
    parser = flags(__doc__, files=())
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[], help="of every run: --set=train.steps=30")
    parser.add_argument("--full_rate", type=float, default=1e-4, help="train.peak_learning_rate of full and highest")
    parser.add_argument("--frozen_layers", type=int, default=0, help="of highest: config.model.frozen_layers")
    systems = {name: functools.partial(trained, method=name) for name in ("full", "highest", *METHODS)}
    take_turns(parser, __file__, systems, ours=tuple(systems))


if __name__ == "__main__":
    main()
