"""Talk with a language model on the terminal: python -m tfft.chat --workdir=runs/talks [--set=temperature=0.7]"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of the run.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")
SET = flags.DEFINE_multi_string("set", [], "A setting of config.task to answer with, as in --set=temperature=0.7; may be given "
                                "several times.")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/talks")

    from tfft.config import answering
    from tfft.run.workdir import Workdir

    experiment = answering(Workdir(WORKDIR.value).experiment(), SET.value)
    if experiment.task.name != "causal_lm":
        raise UserError(f"{WORKDIR.value} is a run of {experiment.task.name}, which does not talk: ask it with tfft predict.")
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.chat import talk

    return talk(WORKDIR.value, WEIGHTS.value, SET.value)


if __name__ == "__main__":
    command_line.run(main)
