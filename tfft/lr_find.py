"""A learning-rate range test: python -m tfft.lr_find --config=configs/tickets.py

Trains some steps at rates that rise from one to the next, and shows how the loss takes it. Writes nothing but the token store
and, with --output, the figures. config.train.peak_learning_rate is then yours to set.
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

STEPS = flags.DEFINE_integer("steps", 100, "Training steps, at most: it ends where the loss grows beyond bounds.",
                             lower_bound=10)
LOWEST = flags.DEFINE_float("lowest", 1e-6, "Learning rate of the first step.", lower_bound=1e-12)
HIGHEST = flags.DEFINE_float("highest", 1e-2, "Learning rate of the last one.", upper_bound=1e3)
OUTPUT = flags.DEFINE_string("output", "", "A .json or .csv file for the rates and losses, or an .svg file for the plot.")
command_line.define_config()


def main() -> int:
    if LOWEST.value >= HIGHEST.value:
        raise UserError(f"--lowest={LOWEST.value:g} must be below --highest={HIGHEST.value:g}.")
    if OUTPUT.value and not OUTPUT.value.endswith((".json", ".csv", ".svg")):
        raise UserError(f"--output={OUTPUT.value} must end in .json, .csv or .svg.")
    experiment = command_line.experiment()

    from tfft.files import local_path
    from tfft.run.fine_tune import resolve_assets

    target = local_path(OUTPUT.value, "--output") if OUTPUT.value else None
    preset, cache = resolve_assets(experiment)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.judge import check_writable
    from tfft.run.rate_range import find_rates

    if target:
        check_writable(target)
    return find_rates(experiment, preset, cache, STEPS.value, LOWEST.value, HIGHEST.value, target)


if __name__ == "__main__":
    command_line.run(main)
