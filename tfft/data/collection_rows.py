"""Rows of a collection: each query with the documents that answer it, or each document."""

from collections.abc import Iterator

from tfft.data.collection_parts import Told
from tfft.data.collections import open_collection
from tfft.data.records import Note, Record


def read(spec: str, encoding: str, *, documents: bool, negatives: bool) -> Iterator[Record | Note]:
    """Records with the columns id and text; of queries also text_pair, objects of text and grade, and with `negatives` the
    documents that were judged as not relevant. In memory are the texts of judged documents. Raises: UserError."""
    collection = open_collection(spec, encoding)
    told = Told([])
    if documents:
        for one in collection.placed_documents():
            yield Record({"id": one.id, "text": one.text}, one.file, one.line)
    else:
        queries, judged = collection.placed_queries(), collection.judgements()
        wanted = {doc for graded in judged.values() for doc, grade in graded.items() if grade > 0 or negatives}
        texts = {doc: text for doc, text in collection.documents() if doc in wanted}
        for query, (_, text, file, line) in queries.items():
            graded = {doc: grade for doc, grade in judged[query].items() if doc in texts}
            pairs = [{"text": texts[doc], "grade": grade} for doc, grade in graded.items() if grade > 0]
            if not pairs:
                told.count("queries without a relevant document that has a text, left out", query)
                continue
            values = {"id": query, "text": text, "text_pair": pairs}
            if negatives:
                values["negative"] = [texts[doc] for doc, grade in graded.items() if grade <= 0]
            yield Record(values, file, line)
    for line in collection.remarks + told.lines():
        yield Note(spec, line)
