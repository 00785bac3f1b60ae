"""How good search is on a collection whose answers are known: retrieval, and retrieval with re-ranking as one."""

import json
from pathlib import Path

from tfft.data.collections import Collection
from tfft.data.retrieval import retrieval_scores
from tfft.errors import UserError
from tfft.files import write_text
from tfft.serving.search.find import Searcher
from tfft.training.summaries import Console, table

DEPTH = 100   # results of each query that are looked at
AT_ONCE = 64  # queries


def judge_search(searcher: Searcher, collection: Collection, output: Path | None) -> int:
    """Prints the figures of a collection's queries, before and after re-ranking and by both orders, and writes them as JSON.

    Raises: UserError where the index has none of the judged documents.
    """
    console, spec = Console(), collection.spec
    queries, judgements = collection.queries(), collection.judgements()
    for line in [*collection.remarks, *_missing(searcher, spec, judgements)]:
        console.say(line)
    ranked: dict[str, dict[str, list[str]]] = {"retrieved": {}}
    asked, depth = list(queries.items()), max(DEPTH, searcher.candidates if searcher.reranker else 0)
    console.start("queries", len(asked))
    for begin in range(0, len(asked), AT_ONCE):
        ids, texts = zip(*asked[begin:begin + AT_ONCE], strict=True)
        found = searcher.found(list(texts), depth)
        orders = {"retrieved": found}
        if searcher.reranker:
            orders["re-ranked"] = searcher.reranked(list(texts), found)
            orders["fused"] = searcher.fused(found, orders["re-ranked"])
        for name, several in orders.items():
            made = [[searcher.index.id(hit.place) for hit in hits] for hits in several]
            ranked.setdefault(name, {}).update(zip(ids, made, strict=True))
        console.advance(begin + len(ids), "")
    console.stop()
    report = {name: retrieval_scores(rankings, judgements) for name, rankings in ranked.items()}
    print(f"{spec}: {len(asked):,} queries, {len(searcher.index):,} documents"
          + (f", the first {searcher.candidates} re-ranked" if searcher.reranker else ""))
    print(table([(metric, *(scores[metric] for scores in report.values())) for metric in report["retrieved"]], ("", *report)))
    if output:
        write_text(output, json.dumps({"collection": spec, "queries": len(asked), "documents": len(searcher.index),
                                       "metrics": report}, indent=1) + "\n")
        print(f"report: {output}")
    return 0


def _missing(searcher: Searcher, spec: str, judgements: dict[str, dict[str, int]]) -> list[str]:
    """A word on judged documents that the index lacks."""
    wanted = {document for several in judgements.values() for document in several}
    missing = wanted.difference(searcher.index.id(place) for place in range(len(searcher.index)))
    if missing == wanted:
        raise UserError(f"The index {searcher.index.folder} has none of the {len(wanted):,} documents that {spec} judges, such "
                        f"as {min(wanted)!r}; it has e.g. {searcher.index.id(0)!r}. Make it of the same collection: tfft index "
                        f"--corpus={spec.partition('#')[0]}")
    return [f"{len(missing):,} of {len(wanted):,} judged documents are not in the index, e.g. {min(missing)!r}; they "
            "count as not found"] if missing else []
