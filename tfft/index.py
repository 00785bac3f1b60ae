"""Embed a corpus for search: python -m tfft.index --workdir=runs/search --corpus=corpus.jsonl --output=indexes/x"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", "", "Work directory of a run of the task embedding.")
CORPUS = flags.DEFINE_string("corpus", "", "The documents: a file or source of rows (csv, tsv, jsonl, json, parquet), or a "
                             "collection, beir:FOLDER or trec:FOLDER.")
OUTPUT = flags.DEFINE_string("output", "", "Folder of the index. One that is there is replaced when the new one is whole.")
TEXT_COLUMN = flags.DEFINE_string("text_column", "text", "The column of --corpus that holds the text.")
ID_COLUMN = flags.DEFINE_string("id_column", "", "The column of a document's id; '' is _id or id, where there is one, or the "
                                "row's number from 1.")
READING = command_line.define_reading("corpus")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")
DIMENSIONS = flags.DEFINE_integer("dimensions", 0, "Cut vectors to so many values, of those in config.task.matryoshka; 0 is "
                                  "all.", lower_bound=0)
APPROXIMATE = flags.DEFINE_integer("approximate_from", 100_000, "So many documents have an approximate index as well; fewer "
                                   "are searched exactly.", lower_bound=1)
RECALL = flags.DEFINE_float("recall", 0.95, "The approximate index looks into so many lists that it finds this share of the "
                            "ten results of exact search.", 0.0, 1.0)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Texts computed at once.", lower_bound=1)


def main() -> int:
    if not (WORKDIR.value and CORPUS.value and OUTPUT.value):
        raise UserError("Name the run, the documents and the index: --workdir=runs/search --corpus=corpus.jsonl "
                        "--output=indexes/x")
    reading = READING()

    from tfft.assets import cache_folder
    from tfft.run.workdir import Workdir
    from tfft.serving.search.checks import check_embeds
    from tfft.serving.search.corpus import Corpus
    from tfft.training.summaries import Console

    experiment = Workdir(WORKDIR.value).experiment()
    check_embeds(experiment, WORKDIR.value, DIMENSIONS.value)
    corpus = Corpus(CORPUS.value, experiment.data, cache_folder(experiment.data.cache), id_column=ID_COLUMN.value,
                    text_column=TEXT_COLUMN.value, reading=reading, say=Console().say)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.search.build import build_index

    return build_index(WORKDIR.value, corpus, OUTPUT.value, weights=WEIGHTS.value, dimensions=DIMENSIONS.value,
                       approximate_from=APPROXIMATE.value, recall=RECALL.value, batch_size=BATCH_SIZE.value)


if __name__ == "__main__":
    command_line.run(main)
