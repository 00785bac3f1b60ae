"""Hard negatives for training pairs: python -m tfft.mine --index=indexes/x --data=pairs.jsonl --output=mined.jsonl"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

INDEX = flags.DEFINE_string("index", "", "Folder of the index: of the texts among which negatives are looked for.")
DATA = flags.DEFINE_string("data", "", "The pairs: a file or source of rows in the columns of the run that the index is of.")
READING = command_line.define_reading("data")
OUTPUT = flags.DEFINE_string("output", "", "Where the rows go with their negatives: a .jsonl file of text, text_pair and "
                             "negative.")
NEGATIVES = flags.DEFINE_integer("negatives", 5, "Negatives of each row, at most.", lower_bound=1)
FIRST = flags.DEFINE_integer("first_rank", 1, "Results before this one, which may be right answers, are no negatives.", 1)
LAST = flags.DEFINE_integer("last_rank", 100, "Nor those after this one.", 1)
SHARE = flags.DEFINE_float("share", 0.95, "A negative's score is at most this share of that of the text that belongs to the "
                           "query, the least of several; 0: whatever it is.", 0.0, 1.0)
DUPLICATE = flags.DEFINE_float("duplicate", 0.95, "A text whose cosine with one that belongs to the query is this or more is "
                               "nearly the same, and no negative.", 0.0)
PICK = flags.DEFINE_enum("pick", "nearest", ["nearest", "random"], "Which of those left are taken.")
SEED = flags.DEFINE_integer("seed", 0, "Of --pick=random.")
EXACT = flags.DEFINE_bool("exact", False, "Look at every document, also where the index has an approximate one.")
WORKDIR = flags.DEFINE_string("workdir", "", "Where the run of the index is, if not where it was.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Texts computed at once.", lower_bound=1)


def main() -> int:
    if OUTPUT.value and not OUTPUT.value.endswith(".jsonl"):
        raise UserError(f"--output={OUTPUT.value}: mined rows are written as JSON lines. Name it .jsonl")
    if not (INDEX.value and DATA.value and OUTPUT.value):
        raise UserError("Name the index, the pairs and what to write: --index=indexes/x --data=pairs.jsonl "
                        "--output=mined.jsonl")
    if FIRST.value > LAST.value:
        raise UserError(f"--first_rank={FIRST.value} is after --last_rank={LAST.value}.")
    reading = READING()

    from tfft.files import local_path
    from tfft.run.workdir import Workdir
    from tfft.serving.search.checks import check_mines, workdir_of
    from tfft.vectors.folder import read_manifest

    folder = local_path(INDEX.value, "--index")
    workdir = workdir_of(read_manifest(folder), folder, WORKDIR.value)
    check_mines(Workdir(workdir).experiment(), workdir)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.judge import check_writable
    from tfft.serving.search.find import open_index
    from tfft.serving.search.mining import Mining, mine

    target = local_path(OUTPUT.value, "--output")
    check_writable(target)
    index, embedder, run = open_index(folder, WORKDIR.value, EXACT.value, BATCH_SIZE.value)
    return mine(run, index, embedder, DATA.value, target, Mining(
        NEGATIVES.value, FIRST.value, LAST.value, SHARE.value, DUPLICATE.value, PICK.value == "random", SEED.value), reading)


if __name__ == "__main__":
    command_line.run(main)
