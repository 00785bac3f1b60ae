"""Files of judgements: which document answers which query, and how well.

    1 0 184 3         query, anything, document, grade (trec_eval)
    1<TAB>184<TAB>3   query, document, grade (BEIR: behind a header)
    1 184             query, document
"""

import os
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice

from tfft.data.collection_parts import Told, numbered
from tfft.errors import UserError

Judgements = dict[str, dict[str, int]]  # query id -> document id -> grade
LOOKED_AT = 1000
LOOKS = "A judgement is QUERY 0 DOCUMENT GRADE, or QUERY DOCUMENT GRADE."
CLEVERDON = {-1: 5, 1: 4, 2: 3, 3: 2, 4: 1, 5: 0}  # as the collection's own file for trec_eval has them


def read_judgements(path: str, encoding: str, told: Told, kind: str) -> Judgements:
    """All judgements of a file; of one that is repeated the first counts. kind: of the documents; the codes of a SMART
    collection are Cleverdon's, 1 for the best, and the ids numbers.

    Raises: UserError for a line that is none.
    """
    made: Judgements = {}
    lines = _fields(path, encoding, told, tabs=kind == "beir")
    first = list(islice(lines, LOOKED_AT))
    columns = len(first.pop(0)[1]) if first and _is_header(first[0][1]) else 0
    pairs = _is_smart_listing([fields for _, fields in first])
    for number, fields in chain(first, lines):
        columns = columns or len(fields)
        query, doc, grade = _judgement(fields, columns, pairs, f"{path}:{number}")
        if kind == "smart":
            query, doc = plain(query), plain(doc)
        of_query = made.setdefault(query, {})
        if doc not in of_query:
            of_query[doc] = grade
        elif of_query[doc] != grade:
            told.count("judgements of a query and document that were graded otherwise before, left out",
                       f"{query} {doc} at {os.path.basename(path)}:{number}")
    if not made:
        raise UserError(f"{path} has no judgements. A line is a query's id, a document's id and a grade.")
    return _turned(made, path, told) if kind == "smart" and columns == 3 else made


def of_ordinals(judged: Collection[str], known: Collection[str]) -> bool:
    """Whether judgements number the queries in their order: some are no ids, and the last is the number of all.

    judged 1 2 3, known 1 2 4 -> True
    """
    return (bool(set(judged).difference(known)) and all(one.isdecimal() for one in judged)
            and min(map(int, judged)) >= 1 and max(map(int, judged)) == len(known))


def plain(number: str) -> str:
    """A number without leading zeros; anything else as it is. 001 -> 1"""
    return str(int(number)) if number.isascii() and number.isdecimal() else number


def is_judgements(lines: Sequence[str], name: str) -> bool:
    """Whether the first lines of a file look like judgements."""
    if any(line.count("\t") == 1 and len(line.partition("\t")[2].split()) > 1 for line in lines):  # id, tab, text
        return False
    several = [line.split() for line in lines if line.strip()]
    body = several[1:] if several and _is_header(several[0]) else several
    widths = {len(fields) for fields in body}
    if widths == {2}:
        return "rel" in name.lower() and all(field.isdecimal() for fields in body for field in fields)
    return len(widths) == 1 and widths <= {3, 4} and all(_number(fields[-1]) is not None for fields in body)


def _fields(path: str, encoding: str, told: Told, tabs: bool) -> Iterator[tuple[int, list[str]]]:
    for number, line in numbered(path, encoding, told):
        if line.strip():
            yield number, [field.strip() for field in line.split("\t")] if tabs and "\t" in line else line.split()


def _is_header(fields: list[str]) -> bool:
    return len(fields) in (3, 4) and fields[-1].lower() in ("score", "grade", "relevance", "rel", "label", "judgement")


def _is_smart_listing(several: list[list[str]]) -> bool:
    """Whether lines are those of SMART that end in two zeros: query, document, 0, 0."""
    return bool(several) and all(len(fields) == 4 and _number(fields[2]) == _number(fields[3]) == 0 for fields in several)


def _judgement(fields: list[str], columns: int, pairs: bool, place: str) -> tuple[str, str, int]:
    if len(fields) != columns or columns not in (2, 3, 4):
        others = f" where others have {columns}" if columns in (2, 3, 4) else ""
        raise UserError(f"{place}: this line has {len(fields)} fields{others}: {' '.join(fields)[:60]!r}. {LOOKS}")
    if columns == 2 or pairs:
        return fields[0], fields[1], 1
    grade = _number(fields[-1])
    if grade is None:
        raise UserError(f"{place}: the grade is {fields[-1]!r}, which is no whole number. {LOOKS}")
    return fields[0], fields[-2], grade


def _number(field: str) -> int | None:
    try:
        value = float(field)
        return int(value) if value.is_integer() else None
    except ValueError:
        return None


def _turned(made: Judgements, path: str, told: Told) -> Judgements:
    """Cleverdon's codes as grades, the higher the better. Others stay as they are."""
    codes = {grade for docs in made.values() for grade in docs.values()}
    if not codes <= CLEVERDON.keys() or max(codes) < 2:
        return made
    name = os.path.basename(path)
    told.say(f"{name}: the codes 1 (a complete answer) to 4 (of minimum interest) are read as the grades 4 to 1")
    if odd := sum(grade == -1 for docs in made.values() for grade in docs.values()):
        told.say(f"{name}: {odd:,} judgements of {len(made):,} queries have the code -1, which the scale of 1 to 5 does not "
                 f"name; they are read as the grade 5, the best, as Cranfield's file for trec_eval has them")
    return {query: {doc: CLEVERDON[grade] for doc, grade in docs.items()} for query, docs in made.items()}
