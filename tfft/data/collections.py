"""Collections to search in: documents, queries and judgements of which document answers which query, and how well.

    collection = open_collection("beir:scifact#test")    # or trec:FOLDER#dev, or trec:DOCUMENTS,QUERIES,JUDGEMENTS
    for doc_id, text in collection.documents(): ...
    collection.queries() -> {"1": "what ...?"}; collection.judgements() -> {"1": {"184": 2}}; collection.remarks -> ["..."]

Documents are streamed; what is kept are queries, judgements and ids.
"""

import os
from collections.abc import Iterator

from tfft.data import beir, trec
from tfft.data.collection_parts import Parts, Text, Told, named
from tfft.data.judgements import of_ordinals, read_judgements
from tfft.errors import UserError, unknown

SCHEMES = {"beir": beir.find, "trec": trec.find}


def open_collection(spec: str, encoding: str = "utf-8") -> "Collection":
    """The collection that a spec names. Its files are found at once, and read when they are asked for.

    beir:FOLDER[#SPLIT]                      corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv
    trec:FOLDER[#SPLIT]                      what its files are shows in their lines and names
    trec:DOCUMENTS,QUERIES[,JUDGEMENTS]      glob patterns

    Raises: UserError where the spec is wrong or a file is missing; later for a line that cannot be read, with its place.
    """
    scheme, _, body = spec.strip().partition(":")
    if scheme not in SCHEMES:
        raise UserError(f"{spec!r} names no collection of documents, queries and judgements. Write beir:FOLDER, trec:FOLDER or "
                        "trec:DOCUMENTS,QUERIES,JUDGEMENTS.")
    path, split = body, ""
    if "#" in body and not os.path.exists(os.path.expanduser(body)):
        path, _, split = body.rpartition("#")
    if not path:
        raise UserError(f"{spec!r} names no folder. Write e.g. {scheme}:FOLDER.")
    return Collection(spec, SCHEMES[scheme](os.path.expanduser(path), spec), split, encoding)


class Collection:
    """Documents, queries and judgements, whatever format they are in."""

    def __init__(self, spec: str, parts: Parts, split: str, encoding: str):
        self.spec, self.parts, self.split, self.encoding = spec, parts, split, encoding
        if split and split not in self.splits:
            raise UserError(f"{spec}: {unknown('split', split, self.splits)}")
        self._told = Told(list(parts.remarks))
        self._ids: set[str] | None = None  # of all documents, once they have been read
        self._judged: dict[str, dict[str, dict[str, int]]] = {}
        self._queries: dict[str, list[tuple[int, Text]]] = {}  # by file, with their places
        self._numbered = False  # the judgements number the queries in their order

    @property
    def splits(self) -> list[str]:
        """The names of its sets of judgements."""
        return list(self.parts.judgements)

    @property
    def files(self) -> list[str]:
        """All that are read: documents, the queries and judgements of the split."""
        split = self._chosen("")
        judgements = [self.parts.judgements[split]] if split else []
        return [*self.parts.documents, self.parts.queries_of(split), *judgements]

    def documents(self) -> Iterator[tuple[str, str]]:
        """(id, title and text) of each document that has a text, in the order of the files; of an id the first."""
        return ((one.id, one.text) for one in self.placed_documents())

    def placed_documents(self) -> Iterator[Text]:
        """The same with the file and line of each."""
        seen: set[str] = set()
        told = Told([])
        for path in self.parts.documents:
            for one in self.parts.read_documents(path, self.encoding, told):
                if one.id in seen:
                    told.count("documents whose id another one had before, left out", f"{one.id} at {one.place}")
                    continue
                seen.add(one.id)
                if one.text:
                    yield one
                else:
                    told.count("documents without a text, left out", f"{one.id} at {one.place}")
        if self._ids is None:
            self._told.add(told)
            self._ids = seen

    def queries(self, split: str = "") -> dict[str, str]:
        """The judged queries of a split by their ids; all where nothing is judged.

        Raises: UserError where there are several splits, and neither this nor the spec names one.
        """
        return {one: query.text for one, query in self.placed_queries(split).items()}

    def placed_queries(self, split: str = "") -> dict[str, Text]:
        """The same with the file and line of each."""
        split = self._chosen(split)
        judged = self.judgements(split) if split else None  # which may number them
        return {one: query for one, query in self._all_queries(split).items() if judged is None or one in judged}

    def judgements(self, split: str = "") -> dict[str, dict[str, int]]:
        """{query id: {document id: grade}} of a split, for queries that there are. A higher grade is better, 0 is not relevant.

        Raises: UserError as `queries` does, and where nothing is judged.
        """
        split = self._chosen(split)
        if not split:
            raise UserError(f"{self.spec} has no judgements: {self.parts.no_judgements}")
        if split not in self._judged:
            path = self.parts.judgements[split]
            made = read_judgements(path, self.encoding, self._told, self.parts.kind)
            known = self._all_queries(split)
            if self._numbered or self.parts.kind == "smart" and of_ordinals(made, known):
                known = self._number(split, path)
            if missing := [one for one in made if one not in known]:
                self._told.say(f"{os.path.basename(path)}: {named('query', 'queries', missing)} judged but not among the "
                               "queries, and left out")
            self._judged[split] = {one: made[one] for one in made if one in known}
            if not self._judged[split]:
                raise UserError(f"{path} judges none of the {len(known):,} queries of {self.parts.queries_of(split)}: it has "
                                f"e.g. {next(iter(made), 'no line')!r}, they have e.g. {next(iter(known), 'no id')!r}. Name "
                                "files that belong together.")
        return self._judged[split]

    @property
    def remarks(self) -> list[str]:
        """What was odd about what has been read so far, a line each."""
        made = self._told.lines()
        for split, judged in self._judged.items():
            if self._ids is not None:
                missing = dict.fromkeys(doc for docs in judged.values() for doc in docs if doc not in self._ids)
                name = os.path.basename(self.parts.judgements[split])
                made += [f"{name}: {named('document', 'documents', list(missing))} judged but not among the documents"
                         ] if missing else []
        return made

    def _all_queries(self, split: str) -> dict[str, Text]:
        """By their ids, or by their places where the judgements number them."""
        path = self.parts.queries_of(split)
        if path not in self._queries:
            self._queries[path] = list(self._read_queries(path))
        return {str(place) if self._numbered else one.id: one for place, one in self._queries[path]}

    def _read_queries(self, path: str) -> Iterator[tuple[int, Text]]:
        seen: set[str] = set()
        for place, one in enumerate(self.parts.read_queries(path, self.encoding, self._told), 1):
            if one.id in seen:
                self._told.count("queries whose id another one had before, left out", f"{one.id} at {one.place}")
            elif one.text:
                yield place, one
            else:
                self._told.count("queries without a text, left out", f"{one.id} at {one.place}")
            seen.add(one.id)

    def _number(self, split: str, path: str) -> dict[str, Text]:
        """The queries by their places, 1 for the first."""
        if not self._numbered:
            self._numbered = True
            queries = self.parts.queries_of(split)
            ids = [one.id for _, one in self._queries[queries]]
            self._told.say(f"{os.path.basename(path)} numbers the queries 1 to {len(ids):,} in their order, whatever ids "
                           f"{os.path.basename(queries)} gives them ({', '.join(ids[:4])}, ... {ids[-1]}); these numbers are "
                           "their ids here")
        return self._all_queries(split)

    def _chosen(self, split: str) -> str:
        """The split that is meant; '' where nothing is judged."""
        split = split or self.split
        if split and split not in self.splits:
            raise UserError(f"{self.spec}: {unknown('split', split, self.splits)}")
        if split or len(self.splits) < 2:
            return split or next(iter(self.splits), "")
        made = [read_judgements(path, self.encoding, Told([]), self.parts.kind) for path in self.parts.judgements.values()]
        if any(one != made[0] for one in made):
            raise UserError(f"{self.spec} has several sets of judgements: {', '.join(self.splits)}. Name one, e.g. "
                            f"{self.spec}#{self.splits[0]}.")
        self.split = self.splits[0]
        names = map(os.path.basename, self.parts.judgements.values())
        self._told.say(f"{' and '.join(names)} judge alike; the first is read")
        return self.split
