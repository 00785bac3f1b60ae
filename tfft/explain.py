"""Why a run answers so, word by word: python -m tfft.explain --workdir=runs/imdb --text='A dreadful film.'

Or of a file's first rows, for a browser: python -m tfft.explain --workdir=runs/imdb --data=csv:test.csv --output=why.html
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

METHODS = ("integrated_gradients", "gradient_x_input", "occlusion", "attention_rollout")
WORKDIR = flags.DEFINE_string("workdir", "", "Work directory of the run.")
TEXT = flags.DEFINE_multi_string("text", [], "A text whose answer is explained; may be given several times.")
TEXT_PAIR = flags.DEFINE_multi_string("text_pair", [], "The second text of each --text, for runs on pairs.")
DATA = flags.DEFINE_string("data", "", "Instead of --text: a source of rows with the run's text columns, e.g. csv:test.csv.")
ROWS = flags.DEFINE_integer("rows", 20, "How many of them: the first ones.", lower_bound=1)
METHOD = flags.DEFINE_enum("method", METHODS[0], METHODS, "How: slopes of the model on the way from the text without words "
                           "to the text (they sum to the difference), slopes at the text, leaving out one word at a time, "
                           "or what attention mixes, which says what was read and not what for.")
LABEL = flags.DEFINE_string("label", "", "The label that is explained; '': each that is answered.")
NEAREST = flags.DEFINE_integer("nearest", 0, "How many of the training rows that the model finds most like each text are named "
                               "besides.", lower_bound=0)
OUTPUT = flags.DEFINE_string("output", "", "Where all of it goes besides: a .html or .json file.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")
    if bool(TEXT.value) == bool(DATA.value):
        raise UserError("Give either --text='...' or --data=csv:test.csv.")
    if OUTPUT.value and not OUTPUT.value.endswith((".html", ".json")):
        raise UserError(f"--output={OUTPUT.value}: name a .html or a .json file.")

    from tfft.assets import cache_folder
    from tfft.run.workdir import Workdir
    from tfft.tasks.fields import FIELDS

    experiment = Workdir(WORKDIR.value).experiment()
    rows = [] if DATA.value else _given(
        {field.name for field in FIELDS[experiment.task.name](experiment, cache_folder(experiment.data.cache))
         if field.asked and field.column})
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.explain import explain

    return explain(WORKDIR.value, WEIGHTS.value, rows, DATA.value, ROWS.value, method=METHOD.value, label=LABEL.value,
                   output=OUTPUT.value, nearest=NEAREST.value)


def _given(fields: set[str]) -> list[dict[str, str]]:
    """The rows of the command line. fields: what the run is asked."""
    if not fields <= {"text", "text_pair"}:
        return [{"text": text} for text in TEXT.value]  # of a task that will say what it lacks
    if "text_pair" not in fields:
        if TEXT_PAIR.value:
            raise UserError("This run was trained on single texts: leave --text_pair out.")
        return [{"text": text} for text in TEXT.value]
    if len(TEXT_PAIR.value) != len(TEXT.value):
        raise UserError("This run was trained on pairs of texts: give a --text_pair for each --text.")
    return [{"text": text, "text_pair": pair} for text, pair in zip(TEXT.value, TEXT_PAIR.value, strict=True)]


if __name__ == "__main__":
    command_line.run(main)
