"""Make token stores ahead of training, in shards: python -m tfft.prepare --config=configs/imdb.py --shards=8

Reads, tokenises and keeps what `tfft train` of the same config would, so that this does not. Killed, it goes on where it was
when the same command runs again. With --runner it runs on Apache Beam, in several processes or on many machines.
"""

import shlex
import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

SHARDS = flags.DEFINE_integer("shards", 0, "Shards of the training rows; those of other rows are about as long. 0: one for "
                              "every 256 MB of files.", lower_bound=0, upper_bound=2000)  # a process can map so many files
RUNNER = flags.DEFINE_string("runner", "", "Who makes the shards: '' is this process; of Apache Beam DirectRunner (processes "
                             "of this machine), DataflowRunner, FlinkRunner or SparkRunner.")
BEAM_OPTIONS = flags.DEFINE_string("beam_options", "", "Beam's own options of the runner, in one text: "
                                   "\"--direct_running_mode=multi_processing --direct_num_workers=2\".")
STORES = flags.DEFINE_string("stores", "", "Folder of the stores, gs://bucket/stores perhaps; '' is stores/ in the cache.")
FETCH = flags.DEFINE_bool("fetch", False, "Copy the stores from --stores to the cache, where training looks for them.")
SHARED_FILES = flags.DEFINE_bool("shared_files", False, "Data and cache are on a file system that all of the runner's machines "
                                 "have mounted at the same place.")
command_line.define_config()


def main() -> int:
    experiment = command_line.experiment()

    from tfft.run.fine_tune import resolve_assets

    run = None
    if RUNNER.value or BEAM_OPTIONS.value:
        from tfft.run.beam import OnBeam

        if not RUNNER.value:
            raise UserError("--beam_options go with --runner.")
        run = OnBeam(RUNNER.value, shlex.split(BEAM_OPTIONS.value))
        for data in experiment.data.by_source().values():
            run.check_paths(data, STORES.value, SHARED_FILES.value)
    if FETCH.value and not STORES.value:
        raise UserError("--fetch copies from the folder that --stores names.")
    _, cache = resolve_assets(experiment)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.prepare import here, prepare_stores

    return prepare_stores(experiment, cache, SHARDS.value, run or here, STORES.value, FETCH.value)


if __name__ == "__main__":
    command_line.run(main)
