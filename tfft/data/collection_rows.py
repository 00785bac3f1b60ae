"""Rows of a collection: each query with the documents that answer it, or each document."""

from collections.abc import Iterator

from tfft.data.collection_parts import Told
from tfft.data.collections import open_collection
from tfft.data.records import Note, Record


def read(spec: str, encoding: str, documents: bool, columns: dict[str, str]) -> Iterator[Record | Note]:
    """Records with id and text; of queries also text_pair, objects of text and grade, and what was judged as not relevant in
    the first negative_0, negative_1, ... that `columns` has: what these are called, each by its own name where it does not say.
    In memory are the texts of judged documents. Raises: UserError."""
    collection = open_collection(spec, encoding)
    told = Told([])
    name, text, pair = (columns.get(own, own) for own in ("id", "text", "text_pair"))
    negatives = [column for own, column in columns.items() if own.startswith("negative_")]
    if documents:
        for one in collection.placed_documents():
            yield Record({name: one.id, text: one.text}, one.file, one.line)
    else:
        queries, judged = collection.placed_queries(), collection.judgements()
        wanted = {doc for graded in judged.values() for doc, grade in graded.items() if grade > 0 or negatives}
        texts = {doc: one for doc, one in collection.documents() if doc in wanted}
        for query, one in queries.items():
            graded = {doc: grade for doc, grade in judged[query].items() if doc in texts}
            pairs = [{"text": texts[doc], "grade": grade} for doc, grade in graded.items() if grade > 0]
            if not pairs:
                told.count("queries without a relevant document that has a text, left out", query)
                continue
            values = {name: query, text: one.text, pair: pairs, **{column: [] for column in negatives}}
            values |= {column: [texts[doc] for doc, grade in graded.items() if grade <= 0] for column in negatives[:1]}
            yield Record(values, one.file, one.line)
    for line in collection.remarks + told.lines():
        yield Note(spec, line)
