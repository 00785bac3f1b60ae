"""Check a TPU run before renting the TPU: python -m tfft.preflight --config=configs/imdb.py --tpu=v5e-8

Compiles the run's training step for every batch length with the real TPU compiler, which needs no TPU: does it compile, does
it fit, how fast can it be at best. Trains nothing. --config.model.backbone=shape:PATH/config.json asks
for a language model of an architecture alone, without weights and rows. docs/preflight.md says what is a bound and what is the
compiler's word.
"""

import os
import sys

from absl import flags

from tfft import flags as command_line
from tfft.config import MultiTask
from tfft.tpu.chips import parse_tpu

TPU = flags.DEFINE_string("tpu", "v5e-8", "Generation and size as Google Cloud names them: v5e-8, v6e-4, or v4-8 and v5p-8, "
                          "which count TensorCores, two a chip.")
JSON = flags.DEFINE_string("json", "", "Write the report to this file too.")
MAX_LENGTHS = flags.DEFINE_integer("max_lengths", 6, "Compile at most so many batch lengths: the longest, and others spread "
                                   "over an epoch's steps; 0 is all.", lower_bound=0)
LENGTHS = flags.DEFINE_multi_integer("lengths", [], "Compile this batch length only; may be repeated.")
LARGEST_BATCH = flags.DEFINE_bool("largest_batch", True, "Find the largest batch that fits, by up to three more compiles.")
LAYERS = flags.DEFINE_multi_integer("layers", [2, 4], "With backbone=shape:PATH: compile with so many layers, twice "
                                    "given, and say by a straight line what all need; 0 is all.", lower_bound=0)
COMPILER_PYTHON = flags.DEFINE_string("compiler_python", "", "A Python that has jax and libtpu; '' is TFFT_COMPILER_PYTHON, or "
                                      "this one.")
command_line.define_config()


def main() -> int:
    tpu = parse_tpu(TPU.value)
    experiment = command_line.experiment_or_tasks()

    from tfft.run.fine_tune import resolve_assets, resolve_assets_of_tasks

    several = isinstance(experiment, MultiTask)
    of_shape = not several and experiment.model.backbone.startswith("shape:")
    assets = resolve_assets_of_tasks(experiment) if several else () if of_shape else resolve_assets(experiment)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.shape_check import check_shape
    from tfft.run.tpu_check import Options, check
    from tfft.run.tpu_check_tasks import check_tasks

    python = COMPILER_PYTHON.value or os.environ.get("TFFT_COMPILER_PYTHON") or sys.executable
    options = Options(tpu, python, JSON.value, MAX_LENGTHS.value, tuple(LENGTHS.value), LARGEST_BATCH.value,
                      tuple(LAYERS.value))
    if of_shape:
        return check_shape(experiment, options)
    return check_tasks(experiment, assets, options) if several else check(experiment, *assets, options)


if __name__ == "__main__":
    command_line.run(main)
