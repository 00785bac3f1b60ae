"""Write a SavedModel that takes raw text: python -m tfft.export --workdir=runs/imdb [--output=models/imdb]"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of the run.")
OUTPUT = flags.DEFINE_string("output", "", "Folder for the version folders; '' is <workdir>/export.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")

    from tfft.workdir import Workdir

    Workdir(WORKDIR.value).experiment()
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.saved_model import export

    return export(WORKDIR.value, OUTPUT.value, WEIGHTS.value)


if __name__ == "__main__":
    command_line.run(main)
