"""The process of one trial: python -m tfft.tuning.trial FOLDER

FOLDER/trial.json says what to train; FOLDER is then the work directory of an ordinary run. A process of its own, so that
TensorFlow begins anew in each trial, and a crash is the end of one trial alone.
"""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tfft.config import Experiment, from_json
from tfft.errors import exit_code
from tfft.files import write_text

DESCRIPTION = "trial.json"
SECONDS = 0.2  # between two looks for the parent


def describe(folder: Path, experiment_json: str, values: dict[str, Any]) -> None:
    """Writes what a trial is: its experiment, and the values in it that are searched."""
    write_text(folder / DESCRIPTION, json.dumps({"values": values, "experiment": json.loads(experiment_json)}, indent=1) + "\n")


def described(folder: Path) -> Experiment:
    known = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    return from_json(json.dumps(known["experiment"]), str(folder / DESCRIPTION))


def ends_with_its_parent() -> None:
    """When the process that began this one is killed, this one gets SIGTERM, once: it saves, and leaves. Linux's own
    PR_SET_PDEATHSIG comes again for each thread that the other had, and a second SIGTERM ends a training at once."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def run(folder: Path) -> int:
    """Trains, or goes on."""
    experiment = described(folder)
    quiet = dataclasses.replace(experiment.eval, report=False)  # of many pages few are read

    from tfft.run.fine_tune import fine_tune

    return fine_tune(dataclasses.replace(experiment, eval=quiet), str(folder))


if __name__ == "__main__":
    ends_with_its_parent()
    ended = exit_code(lambda: run(Path(sys.argv[1])))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended)  # all is written; to let go of TensorFlow piece by piece would take seconds
