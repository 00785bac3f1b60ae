"""What is odd about your rows, before they are trained on: python -m tfft.check_data --config=configs/tickets.py

Leaks between splits, copies, conflicting and doubtful labels, what is rare, cut off or unknown, odd characters, the worst
first, with file and line. With --workdir of a finished run its model is asked too. Writes nothing but the token store, which
training then reuses, and --output.
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.checks.findings import CHECKS, check_names
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", "", "Instead of --config: a finished run, whose rows are checked, and whose model "
                              "says which labels it doubts.")
FAIL_ON = flags.DEFINE_list("fail_on", [], f"End with 1 where one of these found something: all, or {', '.join(CHECKS)}.")
SIMILARITY = flags.DEFINE_float("similarity", 0.8, "From which similarity of their pairs of tokens on two texts are nearly the "
                                "same (Jaccard); 0 does not look for such.", lower_bound=0, upper_bound=1)
OUTPUT = flags.DEFINE_string("output", "", "Where all findings go as JSON, with more examples.")
command_line.define_config()


def main() -> int:
    fail_on = check_names(FAIL_ON.value)
    if WORKDIR.value and flags.FLAGS["config"].present:
        raise UserError("Give --config or --workdir, not both: a run has its own config.")
    asked = {"similarity": SIMILARITY.value, "fail_on": fail_on, "output": OUTPUT.value}
    if not WORKDIR.value:
        experiment = command_line.experiment()

        from tfft.run.fine_tune import resolve_assets

        assets = resolve_assets(experiment)
        print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

        from tfft.run.check_data import check_experiment

        return check_experiment(experiment, *assets, **asked)

    from tfft.run.workdir import Workdir

    Workdir(WORKDIR.value).experiment()  # a wrong folder is told before TensorFlow is loaded
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.check_data import check_run

    return check_run(WORKDIR.value, **asked)


if __name__ == "__main__":
    command_line.run(main)
