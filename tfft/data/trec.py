"""Collections as TREC, SMART and MS MARCO have them: what each file is shows in its first lines, and in its name.

    <DOC><DOCNO>AP-1</DOCNO><HEAD>...</HEAD><TEXT>...</TEXT></DOC>      documents
    <top><num> Number: 301 <title> ...                                  queries
    .I 1 / .T / a title / .W / a text                                   SMART: documents or queries, a line each
    7<TAB>a text                                                        documents or queries
    301 0 AP-1 1                                                        judgements: tfft.data.judgements
"""

import os
import re
from collections.abc import Iterable

from tfft.data import smart_texts, tagged_texts
from tfft.data.collection_parts import Parts
from tfft.data.content import opened
from tfft.data.encodings import Lines
from tfft.data.judgements import is_judgements
from tfft.data.spec import matching
from tfft.errors import UserError

READERS = {"smart": smart_texts.read_smart, "sgml": tagged_texts.read_documents, "topics": tagged_texts.read_topics,
           "table": smart_texts.read_table}
QUERIES = re.compile(r"qu?e?r(y|ies)|topic|question", re.IGNORECASE)
JUDGEMENT_WORDS = re.compile(r"(^|[._-])(qrels?|tsv|txt|tab|gz|bz2|xz|zst|zip)(?=$|[._-])", re.IGNORECASE)
TEXTS = "SMART (.I, .T, .W), SGML (<DOC>) or one text a line (id, tab, text)"
NO_JUDGEMENTS = "a line of such a file is QUERY 0 DOCUMENT GRADE, or QUERY DOCUMENT GRADE."


def find(path: str, spec: str) -> Parts:
    """The files of a folder, or of DOCUMENTS,QUERIES[,JUDGEMENTS]. Raises: UserError."""
    if os.path.isdir(path):
        return _of_folder(path, spec)
    named = path.split(",")
    if len(named) not in (2, 3) or not all(part.strip() for part in named):
        if len(named) == 1:
            matching(path, spec)
        raise UserError(f"{spec} names {len(named)} {'file' if len(named) == 1 else 'files'}. Write trec:FOLDER, or "
                        "trec:DOCUMENTS,QUERIES,JUDGEMENTS.")
    documents, queries, *judgements = (matching(part.strip(), spec) for part in named)
    for files, what in ((queries, "queries"), *((files, "judgements") for files in judgements)):
        if len(files) > 1:
            raise UserError(f"{spec} names {len(files)} files of {what}: {', '.join(files[:5])}. Name one.")
    kinds = {file: _kind(file) for file in documents + queries}
    return _parts(spec, {file: kinds[file] for file in documents}, {"": queries[0]}, kinds[queries[0]],
                  _by_split([file for files in judgements for file in files]), ())


def _of_folder(folder: str, spec: str) -> Parts:
    files = [os.path.join(at, name) for at, folders, names in os.walk(folder) if not folders.sort()
             for name in sorted(names) if not name.startswith(".")]
    kinds = {file: _kind(file) for file in files}
    judgements = _by_split([file for file, kind in kinds.items() if kind == "judgements"])
    texts = {file: kind for file, kind in kinds.items() if kind in ("smart", "sgml", "table")}
    queries = [file for file, kind in kinds.items() if kind == "topics"]
    queries = queries or [file for file in texts if QUERIES.search(os.path.basename(file))]
    if not queries and len(texts) == 2:
        queries = [min(texts, key=os.path.getsize)]
    documents = {file: kind for file, kind in texts.items() if file not in queries}
    passed = [file for file, kind in kinds.items() if not kind]
    found = "; ".join(f"{what}: {_listed(folder, several)}" for what, several in (
        ("documents", documents), ("queries", queries), ("judgements", judgements.values()), ("not read", passed)))
    if not documents or not queries:
        what = "queries" if documents else "documents"
        raise UserError(f"{spec} has no {what} that could be recognised ({found}). Documents are {TEXTS}; name the files: "
                        "trec:DOCUMENTS,QUERIES,JUDGEMENTS.")
    by_split = _by_split(queries)
    if len(queries) > 1 and not by_split.keys() >= judgements.keys():
        raise UserError(f"{spec} has several files of queries ({found}), and not one for each file of judgements. Name the "
                        "files: trec:DOCUMENTS,QUERIES,JUDGEMENTS.")
    by_split = {"": queries[0]} if len(queries) == 1 else {"": queries[0], **by_split}
    return _parts(spec, documents, by_split, kinds[queries[0]], judgements, (f"read as {found}",))


def _parts(spec: str, documents: dict[str, str], queries: dict[str, str], kind: str, judgements: dict[str, str],
           remarks: tuple[str, ...]) -> Parts:
    if len(set(documents.values())) > 1 or next(iter(documents.values())) not in ("smart", "sgml", "table"):
        several = ", ".join(f"{file} ({kind or 'not recognised'})" for file, kind in list(documents.items())[:5])
        raise UserError(f"{spec}: the documents must all be {TEXTS}: {several}.")
    if kind not in ("smart", "topics", "table"):
        raise UserError(f"{spec}: {queries['']} holds no queries that could be recognised: those of SMART (.I, .W), TREC's "
                        "topics (<top>, <num>, <title>), or one a line (id, tab, text).")
    first = next(iter(documents.values()))
    return Parts(list(documents), queries, judgements, READERS[first], READERS[kind], first,
                 f"none of its files is recognised as such; {NO_JUDGEMENTS}", remarks)


def _kind(path: str) -> str:
    """smart, sgml, topics, judgements, table, or '' for what is none of them."""
    try:
        with opened(path) as content:
            sample = [line for line in Lines(content, path, "latin-1").sample() if line.strip()]
    except UserError:
        return ""
    start = "".join(sample[:50])
    if sample and re.match(r"\.I\s", sample[0]):
        return "smart"
    if re.search(r"<DOCNO>", start, re.IGNORECASE):
        return "sgml"
    if re.search(r"<top>|<topic\b", start, re.IGNORECASE):
        return "topics"
    if is_judgements([line.rstrip("\n") for line in sample], os.path.basename(path)):
        return "judgements"
    return "table" if sample and all(re.match(r"[^\t]{1,200}\t[^\t]*(\t[^\t]*)?$", line) for line in sample) else ""


def _listed(folder: str, files: Iterable[str]) -> str:
    names = [os.path.relpath(file, folder) for file in files]
    return ", ".join(names[:10]) + (f", ... ({len(names):,} files)" if len(names) > 10 else "") or "none"


def _by_split(files: list[str]) -> dict[str, str]:
    names = [_split_of(file) for file in files]
    return {name if names.count(name) == 1 else os.path.basename(file): file for name, file in zip(names, files)}


def _split_of(path: str) -> str:
    """What a file's name says beside what it is: qrels.dev.tsv -> dev, queries.dev.tsv -> dev, cranqrel -> cranqrel"""
    name = os.path.basename(path)
    rest = JUDGEMENT_WORDS.sub("", re.sub(r"^(queries|topics)(?=[._-])", "", name)).strip("._-")
    return rest or name
