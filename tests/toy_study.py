"""A study whose trials take a moment: their processes are real, but write what a formula says where others train.

    python toy_study.py FOLDER TRIALS [ROLE]        searches as tfft tune does
    python toy_study.py trial FOLDER                such a process

TOY_HOLD names a trial, or the rate below which trials are meant: after its first evaluation it waits until it is told to stop.
TOY_TOGETHER: how many searches wait for each other before they begin. So no test hangs on how fast a machine is.
"""

import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

EVALUATIONS, STEPS = 3, 10  # of a trial; steps from one evaluation to the next
PARENT = os.getppid()
PATIENCE = 200  # seconds, after which something that is waited for will not come


def formula(values: dict, evaluation: int) -> float:
    """Highest at a rate of 1e-3, and with the best pooling."""
    off = abs(math.log10(values["train.peak_learning_rate"]) + 3)
    return 0.9 - 0.2 * off - 0.05 * (values.get("model.pooling", "mean") != "max") + 0.01 * evaluation


def trial(folder: Path) -> int:
    """What a training process does to its work directory. Rates above 0.01 diverge; those above 0.1 run out of memory."""
    known = json.loads((folder / "trial.json").read_text())
    values, told = known["values"], []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    signal.signal(signal.SIGINT, lambda *_: told.append(2))
    lock = open(folder / ".lock", "a")  # noqa: SIM115 - as a run's work directory is held
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "environment.json").write_text(json.dumps({"total_steps": EVALUATIONS * STEPS}))
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "best").mkdir(exist_ok=True)
    with open(folder / "begun", "a") as file:
        file.write(".")
    done = (folder / "metrics.jsonl").read_text().count("\n") if (folder / "metrics.jsonl").exists() else 0
    for number in range(done + 1, EVALUATIONS + 1):
        time.sleep(float(os.environ.get("TOY_SECONDS", "0.02")))
        if told:
            (folder / "told").write_text(str(len(told)))
            return 128 + (15 if told[0] == 1 else 2)
        if values["train.peak_learning_rate"] > 0.1 or (os.environ.get("TOY_KILL") == str(number) and done == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if values["train.peak_learning_rate"] > 0.01:
            print("tfft: error: The loss or its gradient is not a finite number\n  at step 3.", file=sys.stderr)
            return 2
        with open(folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": number * STEPS, "kind": "validation", "accuracy": formula(values, number)}) + "\n")
        if number == 1 and held(folder, values):
            wait_until_told(told)
    return 0


def held(folder: Path, values: dict) -> bool:
    hold = os.environ.get("TOY_HOLD", "")
    return folder.name == hold or ("e-" in hold and values["train.peak_learning_rate"] < float(hold))


def wait_until_told(told: list) -> None:
    """By a signal, or as tfft.tuning.trial is where its parent has gone."""
    wait_for(lambda: told or os.getppid() != PARENT)
    told += [] if told else [1]


def wait_for(happened) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def use(patch) -> None:
    """Trials are such processes; patch: pytest's."""
    patch.setattr("tfft.tuning.follow.START", lambda command, **given: subprocess.Popen(
        [sys.executable, "-S", __file__, "trial", command[-1]], **given))
    patch.setattr("tfft.tuning.follow.SECONDS", 0.01)


def config() -> dict:
    return {"name": "toy", "data": {"train": "csv:a.csv"}, "train": {"peak_learning_rate": 1e-4}}


def make(folder: Path, space: dict | None = None, budget: dict | None = None, values: dict | None = None, keep: int = 3,
         say=print, **given):
    """The search of a study."""
    from tfft.config import resolve
    from tfft.config.space import choice, log
    from tfft.config.space_checks import check_space
    from tfft.tuning.search import Budget, Search
    from tfft.tuning.study import Study

    values = values or config()
    experiment = resolve(values)
    space = check_space(space or {"train.peak_learning_rate": log(1e-5, 1e-2), "model.pooling": choice("mean", "cls", "max")},
                        experiment)
    study = Study(folder, experiment, space, **{"pruner": "none", **given})
    return study, Search(study, values, Budget(**(budget or {"trials": 6})), keep=keep, say=say)


def main() -> int:
    if sys.argv[1] == "trial":
        return trial(Path(sys.argv[2]))

    class Patch:
        def setattr(self, name, value):
            import tfft.tuning.follow as follow

            vars(follow)[name.rpartition(".")[2]] = value

    use(Patch())
    folder, together = Path(sys.argv[1]), int(os.environ.get("TOY_TOGETHER", "1"))
    _, search = make(folder, budget={"trials": int(sys.argv[2])}, say=lambda text: print(text, flush=True))
    (folder / f"ready{os.getpid()}").touch()
    wait_for(lambda: len([*folder.glob("ready*")]) >= together)
    return search.run()


if __name__ == "__main__":
    sys.exit(main())
