"""Search an index: python -m tfft.search --index=indexes/x --query='How do I reset it?' | --input=in.csv --output=out.jsonl"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

INDEX = flags.DEFINE_string("index", "", "Folder of the index.")
QUERY = flags.DEFINE_multi_string("query", [], "What is looked for; may be given several times.")
INPUT = flags.DEFINE_string("input", "", "A file or source of queries (csv, tsv, jsonl, json, parquet), in the column of the "
                            "run's text; of any size.")
READING = command_line.define_reading("input")
OUTPUT = flags.DEFINE_string("output", "", "Where the results of --input go: a .csv or .jsonl file.")
RESULTS = flags.DEFINE_integer("results", 10, "Results of each query.", lower_bound=1)
JUDGED = flags.DEFINE_string("judged", "", "A collection with judgements, beir:FOLDER#test or trec:FOLDER: how good the "
                             "results of its queries are; with --output=FILE.json also in a file.")
EXACT = flags.DEFINE_bool("exact", False, "Look at every document, also where the index has an approximate one.")
WORKDIR = flags.DEFINE_string("workdir", "", "Where the run of the index is, if not where it was.")
RERANK = flags.DEFINE_string("rerank", "", "Work directory of a text_classification run on pairs, which scores the first "
                             "--candidates anew.")
CANDIDATES = flags.DEFINE_integer("candidates", 100, "Documents of each query that are re-ranked.", lower_bound=1)
FUSE = flags.DEFINE_bool("fuse", False, "With --rerank: results are ordered by their places in both orders, that of the index "
                         "and that of the run, not in the latter alone.")
POSITIVE = flags.DEFINE_string("positive_label", "", "With --rerank: the label that means that a text answers the query; '' is "
                               "1, true, yes, relevant, positive or pos.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Texts computed at once.", lower_bound=1)
ON_BROKEN_ROW = flags.DEFINE_enum("on_broken_row", "empty", ["empty", "skip", "error"], "What a row of --input without a query "
                                  "does: it has no results, is left out, or ends the command.")


def main() -> int:
    if not INDEX.value:
        raise UserError("Name the index: --index=indexes/x")
    if [bool(QUERY.value), bool(INPUT.value), bool(JUDGED.value)].count(True) != 1:
        raise UserError("Give --query='...', or --input=FILE with --output=FILE, or --judged=beir:FOLDER#test.")
    if INPUT.value and not OUTPUT.value.endswith((".csv", ".jsonl")):
        raise UserError("--input needs --output=FILE.csv or --output=FILE.jsonl for the results.")
    if RERANK.value and CANDIDATES.value < RESULTS.value:
        raise UserError(f"--candidates={CANDIDATES.value} are fewer than --results={RESULTS.value}.")
    if FUSE.value and not RERANK.value:
        raise UserError("--fuse joins two orders: name the run that makes the second one, --rerank=WORKDIR.")
    reading = READING()

    from tfft.data.collections import open_collection
    from tfft.files import local_path
    from tfft.serving.search.checks import check_reranks, workdir_of
    from tfft.vectors.folder import read_manifest

    folder = local_path(INDEX.value, "--index")
    workdir_of(read_manifest(folder), folder, WORKDIR.value)
    if RERANK.value:
        check_reranks(RERANK.value)
    collection = open_collection(JUDGED.value) if JUDGED.value else None
    if collection:
        collection.judgements()  # a mistake in its files is told before TensorFlow is loaded
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.judge import check_writable
    from tfft.run.workdir import open_run
    from tfft.serving.prediction import answer_file, print_answers
    from tfft.serving.search.find import Reranker, Searcher, open_index
    from tfft.serving.search.judged import judge_search

    index, embedder, run = open_index(folder, WORKDIR.value, EXACT.value, BATCH_SIZE.value)
    reranker = Reranker(open_run(RERANK.value), POSITIVE.value, BATCH_SIZE.value) if RERANK.value else None
    searcher = Searcher(index, embedder, RESULTS.value, reranker, CANDIDATES.value, FUSE.value)
    if QUERY.value:
        return print_answers(searcher, [{"text": query} for query in QUERY.value])
    target = local_path(OUTPUT.value, "--output") if OUTPUT.value else None
    if target:
        check_writable(target)
    if collection:
        return judge_search(searcher, collection, target)
    return answer_file(run, searcher, INPUT.value, target, False, ON_BROKEN_ROW.value, reading)


if __name__ == "__main__":
    command_line.run(main)
