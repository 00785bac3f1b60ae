"""Answer texts: python -m tfft.predict --workdir=runs/imdb --text='A fine film.' | --input=in.csv --output=out.csv

Or ask a server: python -m tfft.predict --server=grpc://localhost:8500/imdb --text='A fine film.'
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of the run.")
SERVER = flags.DEFINE_string("server", "", "Instead of --workdir, a served model: grpc://host:8500/imdb or "
                             "http://host:8501/imdb, also with /versions/3 or /labels/stable.")
TEXT = flags.DEFINE_multi_string("text", [], "A text to answer; may be given several times.")
TEXT_PAIR = flags.DEFINE_multi_string("text_pair", [], "The second text of each --text, for runs on pairs.")
INPUT = flags.DEFINE_string("input", "", "A file or source of rows (csv, tsv, jsonl, json, parquet) with the run's text "
                            "columns; of any size.")
TEXT_COLUMN = flags.DEFINE_string("text_column", "text", "With --server: the column of --input that holds the text.")
TEXT_PAIR_COLUMN = flags.DEFINE_string("text_pair_column", "", "With --server: the column of the second text.")
OUTPUT = flags.DEFINE_string("output", "", "Where the answers to --input go: a .csv or .jsonl file.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")
PROBABILITIES = flags.DEFINE_bool("probabilities", False, "Write every label's probability to --output as well.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 0, "Texts computed at once, or in one request; 0 is 64, or 32 in a request.",
                                  lower_bound=0)
ON_BROKEN_ROW = flags.DEFINE_enum("on_broken_row", "empty", ["empty", "skip", "error"], "What a row of --input without text "
                                  "does: it gets an empty answer, is left out, or ends the command. A row against its file's "
                                  "format is left out, or ends it.")


def main() -> int:
    if bool(WORKDIR.value) == bool(SERVER.value):
        raise UserError("Name the run, --workdir=runs/imdb, or a served model, --server=grpc://localhost:8500/imdb")
    if bool(TEXT.value) == bool(INPUT.value):
        raise UserError("Give either --text='...' or --input=FILE with --output=FILE.")
    if INPUT.value and not OUTPUT.value.endswith((".csv", ".jsonl")):
        raise UserError("--input needs --output=FILE.csv or --output=FILE.jsonl for the answers.")
    return _by_server() if SERVER.value else _by_run()


def _by_run() -> int:
    for flag, default in ((TEXT_COLUMN, "text"), (TEXT_PAIR_COLUMN, "")):
        if flag.value != default:
            raise UserError(f"--{flag.name} goes with --server: a run reads the columns that it was trained with.")

    from tfft.workdir import Workdir

    experiment = Workdir(WORKDIR.value).experiment()
    pairs = bool(experiment.data.text_pair_column)
    if TEXT.value and pairs != bool(TEXT_PAIR.value):
        raise UserError("This run was trained on pairs of texts: give a --text_pair for each --text." if pairs else
                        "This run was trained on single texts: leave --text_pair out.")
    _check_count()
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.prediction import predict_file, predict_texts

    if TEXT.value:
        return predict_texts(WORKDIR.value, WEIGHTS.value, TEXT.value, TEXT_PAIR.value if pairs else None)
    return predict_file(WORKDIR.value, WEIGHTS.value, INPUT.value, OUTPUT.value, probabilities=PROBABILITIES.value,
                        batch_size=BATCH_SIZE.value or 64, on_broken_row=ON_BROKEN_ROW.value)


def _by_server() -> int:
    if WEIGHTS.value:
        raise UserError("--weights goes with --workdir: a server has the weights that were exported.")
    _check_count()

    from tfft.serving.client import Address

    Address.parse(SERVER.value)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.remote_prediction import predict_file_remotely, predict_texts_remotely

    if TEXT.value:
        return predict_texts_remotely(SERVER.value, TEXT.value, TEXT_PAIR.value or None)
    return predict_file_remotely(SERVER.value, INPUT.value, OUTPUT.value, text_column=TEXT_COLUMN.value,
                                 text_pair_column=TEXT_PAIR_COLUMN.value, probabilities=PROBABILITIES.value,
                                 batch_size=BATCH_SIZE.value or 32, on_broken_row=ON_BROKEN_ROW.value)


def _check_count() -> None:
    if TEXT_PAIR.value and len(TEXT.value) != len(TEXT_PAIR.value):
        raise UserError(f"There are {len(TEXT.value)} --text and {len(TEXT_PAIR.value)} --text_pair; they go together.")


if __name__ == "__main__":
    command_line.run(main)
