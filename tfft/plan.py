"""Look before training: python -m tfft.plan --config=configs/tickets.py

Rows, labels, lengths, truncation, padding, steps, memory, and the time that a few timed steps promise. Writes nothing but
the token store, which training then reuses.
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.config import MultiTask

TIMED_STEPS = flags.DEFINE_integer("timed_steps", 4, "Training steps to time for the ETA; 0 leaves time and memory out.",
                                   lower_bound=0)
command_line.define_config()


def main() -> int:
    experiment = command_line.experiment_or_tasks()

    from tfft.run.fine_tune import resolve_assets, resolve_assets_of_tasks

    several = isinstance(experiment, MultiTask)
    assets = resolve_assets_of_tasks(experiment) if several else resolve_assets(experiment)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.forecast import forecast, forecast_tasks

    if several:
        return forecast_tasks(experiment, assets, TIMED_STEPS.value)
    return forecast(experiment, *assets, TIMED_STEPS.value)


if __name__ == "__main__":
    command_line.run(main)
