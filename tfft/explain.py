"""Why a run answers so, word by word: python -m tfft.explain --workdir=runs/imdb --text='A dreadful film.'

Or why a word is no entity of a type: python -m tfft.explain --workdir=runs/wnut17 --text='Near Sue' --word=Sue --label=person

Or of a file's first rows, for a browser: python -m tfft.explain --workdir=runs/imdb --data=csv:test.csv --output=why.html
"""

import re
import sys

from absl import flags

from tfft import flags as command_line
from tfft import given
from tfft.errors import UserError

METHODS = ("integrated_gradients", "gradient_x_input", "occlusion", "attention_rollout")
WORKDIR = flags.DEFINE_string("workdir", "", "Work directory of the run.")
ASKED = given.define(("text", "text_pair", "question", "context", "choices"), verb="explain the answer to",
                     pair=", for runs on pairs.")
DATA = flags.DEFINE_string("data", "", "Instead of --text and the like: a source of rows with the run's columns, e.g. "
                           "csv:test.csv.")
ROWS = flags.DEFINE_integer("rows", 20, "How many of them: the first ones.", lower_bound=1)
METHOD = flags.DEFINE_enum("method", METHODS[0], METHODS, "How: slopes of the model on the way from the text without words "
                           "to the text (they sum to the difference), slopes at the text, leaving out one word at a time (of "
                           "entities, answers and choices: hiding it), "
                           "or what attention mixes, which says what was read and not what for.")
LABEL = flags.DEFINE_string("label", "", "What is explained: a label, a type of entities, a candidate (its text, or its "
                            "position from 0); '': what is answered.")
AGAINST = flags.DEFINE_string("against", "", "Another one, against which alone it is held; '': against all others.")
WORD = flags.DEFINE_string("word", "", "Of entities and answers: a part of the text, as it is written there, that is asked "
                           "about, be it answered or not.")
AT = flags.DEFINE_string("at", "", "The same by its place: START:END, characters from 0, the end excluded, as in --at=4:10.")
NEAREST = flags.DEFINE_integer("nearest", 0, "How many of the training rows that the model finds most like each text are named "
                               "besides.", lower_bound=0)
OUTPUT = flags.DEFINE_string("output", "", "Where all of it goes besides: a .html or .json file.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")
    if bool(ASKED) == bool(DATA.value):
        raise UserError("Give either --text='...' (or --question='...' --context='...') or --data=csv:test.csv.")
    if WORD.value and AT.value:
        raise UserError("Give --word or --at, not both.")
    if DATA.value and (WORD.value or AT.value):
        raise UserError(f"--{'word' if WORD.value else 'at'} is of one text: it goes with --text, or with --question and "
                        "--context.")
    if OUTPUT.value and not OUTPUT.value.endswith((".html", ".json")):
        raise UserError(f"--output={OUTPUT.value}: name a .html or a .json file.")
    at = _place(AT.value)

    from tfft.assets import cache_folder
    from tfft.run.workdir import Workdir
    from tfft.tasks.fields import FIELDS

    experiment, rows = Workdir(WORKDIR.value).experiment(), ASKED.rows()
    fields = [field.name for field in FIELDS[experiment.task.name](experiment, cache_folder(experiment.data.cache))
              if field.asked and field.column]
    if rows and set(fields) <= set(ASKED.fields):  # a task that is asked something else will say what it lacks
        given.check_fields(fields, list(rows[0]))
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.explain import explain

    return explain(WORKDIR.value, WEIGHTS.value, rows, DATA.value, ROWS.value, method=METHOD.value,
                   label=LABEL.value, against=AGAINST.value, word=WORD.value, at=at, output=OUTPUT.value, nearest=NEAREST.value)


def _place(value: str) -> tuple[int, int] | None:
    """"4:10" -> (4, 10)"""
    if not value:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", value)
    if not found or int(found[1]) >= int(found[2]):
        raise UserError(f"--at={value}: it is START:END, characters of the text from 0, the end excluded, as in --at=4:10.")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    command_line.run(main)
