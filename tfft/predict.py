"""Answer texts: python -m tfft.predict --workdir=runs/imdb --text='A fine film.' | --input=in.csv --output=out.csv

Or ask a server: python -m tfft.predict --server=grpc://localhost:8500/imdb --text='A fine film.'
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft import given
from tfft.errors import UserError

WORKDIR = flags.DEFINE_multi_string("workdir", None, "Work directory of a run or a cross-validation. Given several times: "
                                    "of runs that answer together, by their mean.")
SERVER = flags.DEFINE_string("server", "", "Instead of --workdir, a served model: grpc://host:8500/imdb or "
                             "http://host:8501/imdb, also with /versions/3 or /labels/stable.")
INPUT = flags.DEFINE_string("input", "", "A file or source of rows (csv, tsv, jsonl, json, parquet) with the run's text "
                            "columns; of any size.")
TEXT_COLUMN = flags.DEFINE_string("text_column", "text", "With --server: the column of --input that holds the text.")
TEXT_PAIR_COLUMN = flags.DEFINE_string("text_pair_column", "", "With --server: the column of the second text.")
READING = command_line.define_reading("input")
OUTPUT = flags.DEFINE_string("output", "", "Where the answers to --input go: a .csv or .jsonl file.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")
PROBABILITIES = flags.DEFINE_bool("probabilities", False, "Write every label's probability to --output as well.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 0, "Texts computed at once, or in one request; 0 is 64, or 32 in a request.",
                                  lower_bound=0)
ON_BROKEN_ROW = flags.DEFINE_enum("on_broken_row", "empty", ["empty", "skip", "error"], "What a row of --input that cannot "
                                  "be answered does (it has no text, or is against its file's format): it has an empty answer, "
                                  "is left out, or ends the command.")

ASKED = given.define(("text", "text_pair", "predicate", "question", "context", "choices", "prompt"),
                     pair=". Embeddings: how alike the two are, or alone a passage.")
PREDICATE_COLUMN = flags.DEFINE_string("predicate_column", "", "With --server: the column of the same.")
QUESTION_COLUMN = flags.DEFINE_string("question_column", "", "With --server: the column of the question.")
CONTEXT_COLUMN = flags.DEFINE_string("context_column", "", "With --server: the column of the context.")
CHOICES_COLUMN = flags.DEFINE_string("choices_column", "", "With --server: the column of the candidates, a list each.")
SET = flags.DEFINE_multi_string("set", [], "A setting of config.task to answer with, as in --set=temperature=0.7; may be given "
                                "several times. Of language models.")
PROMPT_COLUMN = flags.DEFINE_string("prompt_column", "", "With --server: the column of the prompt.")
# the columns in --input of the asked fields of any task, with --server
COLUMNS = {"text": TEXT_COLUMN, "text_pair": TEXT_PAIR_COLUMN, "predicate": PREDICATE_COLUMN, "question": QUESTION_COLUMN,
           "context": CONTEXT_COLUMN, "choices": CHOICES_COLUMN, "prompt": PROMPT_COLUMN}


def main() -> int:
    if bool(WORKDIR.value) == bool(SERVER.value):
        raise UserError("Name the run, --workdir=runs/imdb, or a served model, --server=grpc://localhost:8500/imdb")
    if bool(ASKED) == bool(INPUT.value):
        raise UserError("Give either --text='...' (or --prompt='...', or --question='...' --context='...') or "
                        "--input=FILE with --output=FILE.")
    if INPUT.value and not OUTPUT.value.endswith((".csv", ".jsonl")):
        raise UserError("--input needs --output=FILE.csv or --output=FILE.jsonl for the answers.")
    reading = READING()
    return _by_server(reading) if SERVER.value else _by_run(reading)


def _by_run(reading: dict[str, str]) -> int:
    for flag in COLUMNS.values():
        if flag.value != flag.default:
            raise UserError(f"--{flag.name} goes with --server: a run reads the columns that it was trained with.")

    from tfft.assets import cache_folder
    from tfft.config import answering
    from tfft.run.workdir import Workdir
    from tfft.tasks.fields import ALSO, FIELDS

    path, *others = WORKDIR.value
    experiment = answering(Workdir(path).experiment(), SET.value)
    rows = ASKED.rows()
    if rows:
        fields = FIELDS[experiment.task.name](experiment, cache_folder(experiment.data.cache))
        if set(rows[0]) not in ALSO.get(experiment.task.name, ()):
            given.check_fields([field.name for field in fields if field.asked and field.column], list(rows[0]))
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    if _streamed(experiment.task, rows):
        from tfft.serving.chat import tell

        return tell(path, WEIGHTS.value, [row["prompt"] for row in rows], SET.value)

    from tfft.serving.prediction import predict_file, predict_texts

    if rows:
        return predict_texts(path, WEIGHTS.value, rows, SET.value, others)
    return predict_file(path, WEIGHTS.value, INPUT.value, OUTPUT.value, probabilities=PROBABILITIES.value,
                        batch_size=BATCH_SIZE.value or 64, on_broken_row=ON_BROKEN_ROW.value, reading=reading, chosen=SET.value,
                        others=others)


def _streamed(task, rows: list[dict[str, str]]) -> bool:
    """Whether answers are written as they are made: those of a language model, for a reader. Of several beams which one it is
    is known at the end."""
    return bool(rows) and task.name == "causal_lm" and task.beams == 1 and sys.stdout.isatty()


def _by_server(reading: dict[str, str]) -> int:
    if SET.value:
        raise UserError("--set goes with --workdir: a server's signature generate takes such settings.")
    if WEIGHTS.value:
        raise UserError("--weights goes with --workdir: a server has the weights that were exported.")
    rows = ASKED.rows()

    from tfft.serving.client import Address

    Address.parse(SERVER.value)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.remote_prediction import predict_file_remotely, predict_texts_remotely

    if rows:
        return predict_texts_remotely(SERVER.value, rows)
    columns = {name: flag.value for name, flag in COLUMNS.items()}
    if (columns["question"] or columns["prompt"]) and TEXT_COLUMN.value == TEXT_COLUMN.default:
        columns["text"] = ""
    return predict_file_remotely(SERVER.value, INPUT.value, OUTPUT.value, columns=columns, probabilities=PROBABILITIES.value,
                                 batch_size=BATCH_SIZE.value or 32, on_broken_row=ON_BROKEN_ROW.value, reading=reading)


if __name__ == "__main__":
    command_line.run(main)
