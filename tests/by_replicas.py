"""A test's own file, run as a script on one, two and four logical CPUs: SCRIPT FOLDER PRESET COUNT [COUNT]"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from forked import Forked


def found_by(script: str, folder: Path, preset: str) -> dict:
    """What a script prints, as one JSON object a process, of one, two and four replicas."""
    found = {}
    # TensorFlow joins devices to groups once in a process: two and four replicas are two processes
    runs = [Forked([script, folder, preset, *counts]) for counts in (("1", "2"), ("4",))]
    try:
        for process in runs:
            found |= json.loads(process.output().splitlines()[-1])
    finally:
        for process in runs:
            process.kill()
    return found


def main(find: Callable[[dict, Path, str], dict]) -> None:
    """Of the script: prints find({count: strategy}, a folder of this process's own, preset)."""
    folder, preset, counts = Path(sys.argv[1]), sys.argv[2], [int(count) for count in sys.argv[3:]]
    from tfft.config import Distribution, Train
    from tfft.training.strategy import make_strategy, set_up

    # one strategy for all that so many replicas do: two of a size would mix up their all-reduces
    mirrored = make_strategy(Distribution(cpu_replicas=max(counts)))
    set_up(Train())
    import tensorflow as tf

    folder /= f"{max(counts)}"
    folder.mkdir()
    strategies = {count: mirrored if count == max(counts) else tf.distribute.get_strategy() for count in counts}
    print(json.dumps(find(strategies, folder, preset)))
