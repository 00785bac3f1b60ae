"""Answer texts: python -m tfft.predict --workdir=runs/imdb --text='A fine film.' | --input=in.csv --output=out.csv"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of the run.")
TEXT = flags.DEFINE_multi_string("text", [], "A text to answer; may be given several times.")
TEXT_PAIR = flags.DEFINE_multi_string("text_pair", [], "The second text of each --text, for runs on pairs.")
INPUT = flags.DEFINE_string("input", "", "A file or source of rows (csv, tsv, jsonl, json, parquet) with the run's text "
                            "columns; of any size.")
OUTPUT = flags.DEFINE_string("output", "", "Where the answers to --input go: a .csv or .jsonl file.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")
PROBABILITIES = flags.DEFINE_bool("probabilities", False, "Write every label's probability to --output as well.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Texts computed at once.", lower_bound=1)
ON_BROKEN_ROW = flags.DEFINE_enum("on_broken_row", "empty", ["empty", "skip", "error"], "What a row of --input without text "
                                  "does: it gets an empty answer, is left out, or ends the command. A row against its file's "
                                  "format is left out, or ends it.")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")
    if bool(TEXT.value) == bool(INPUT.value):
        raise UserError("Give either --text='...' or --input=FILE with --output=FILE.")
    if INPUT.value and not OUTPUT.value.endswith((".csv", ".jsonl")):
        raise UserError("--input needs --output=FILE.csv or --output=FILE.jsonl for the answers.")

    from tfft.workdir import Workdir

    experiment = Workdir(WORKDIR.value).experiment()
    pairs = bool(experiment.data.text_pair_column)
    if TEXT.value and pairs != bool(TEXT_PAIR.value):
        raise UserError("This run was trained on pairs of texts: give a --text_pair for each --text." if pairs else
                        "This run was trained on single texts: leave --text_pair out.")
    if pairs and TEXT.value and len(TEXT.value) != len(TEXT_PAIR.value):
        raise UserError(f"There are {len(TEXT.value)} --text and {len(TEXT_PAIR.value)} --text_pair; they go together.")
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.prediction import predict_file, predict_texts

    if TEXT.value:
        return predict_texts(WORKDIR.value, WEIGHTS.value, TEXT.value, TEXT_PAIR.value if pairs else None)
    return predict_file(WORKDIR.value, WEIGHTS.value, INPUT.value, OUTPUT.value, probabilities=PROBABILITIES.value,
                        batch_size=BATCH_SIZE.value, on_broken_row=ON_BROKEN_ROW.value)


if __name__ == "__main__":
    command_line.run(main)
