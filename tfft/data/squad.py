"""Questions, contexts and answers from SQuAD's JSON, and from rows of JSON lines, CSV or parquet.

Either way a question becomes {"id", "title", "question", "context", "answers": [{"text", "answer_start"}]}. An answer whose
place is not told has answer_start -1; `answers.align` looks for it.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tfft.data.fields import as_list
from tfft.data.literals import literal

UNKNOWN = -1  # the answer_start of an answer whose place is not told
NAMES = ("id", "title", "question", "context", "answers", "answer_text", "answer_start")


def looks_like_squad(document: Any) -> bool:
    """Whether a JSON document is SQuAD's: articles that have paragraphs, alone or as the member `data`.

    looks_like_squad({"data": [{"title": "Paris", "paragraphs": []}]}) -> True
    """
    articles = document.get("data") if isinstance(document, dict) else document
    return isinstance(articles, list) and any(isinstance(a, dict) and "paragraphs" in a for a in articles)


def rows(document: Any, report: Callable[[str], None] | None = None) -> Iterator[dict]:
    """The questions of a SQuAD 1.1 or 2.0 document, in its order.

    answers is [] for a question without an answer in its context (2.0), and None where a question has no member `answers`
    (a test file). is_impossible and plausible_answers are not read. A malformed part raises ValueError, in whose message
    its numbers count from 1; with `report` the message goes there, the part is left out and the others follow.

    {"data": [{"title": "T", "paragraphs": [{"context": "He is 7.", "qas": [
        {"id": "q", "question": "How old?", "answers": [{"text": "7", "answer_start": 6}]}]}]}]}
    -> {"id": "q", "title": "T", "question": "How old?", "context": "He is 7.", "answers": [{"text": "7", "answer_start": 6}]}
    """
    report = report or _refuse
    if isinstance(document, dict):
        _, articles = _listed(document, "data", "the document", report)
    else:
        articles = document
    if not isinstance(articles, list):
        report(f"The document is {_shown(document)}, neither an object with the member 'data' nor an array of articles.")
        return
    for a, article in enumerate(articles, 1):
        where = f"article {a}"
        if not (found := _listed(article, "paragraphs", where, report))[0]:
            continue
        title = article.get("title")
        for p, paragraph in enumerate(found[1], 1):
            if (found := _listed(paragraph, "qas", f"{where}, paragraph {p}", report))[0]:
                yield from _questions(paragraph, title if isinstance(title, str) else "", f"{where}, paragraph {p}", report)


def _questions(paragraph: dict, title: str, where: str, report: Callable[[str], None]) -> Iterator[dict]:
    if not isinstance(context := paragraph.get("context"), str):
        report(f"In {where} the member 'context' is {_shown(context)}, not a text; its {len(paragraph['qas'])} questions "
               f"cannot be used.")
        return
    for q, qa in enumerate(paragraph["qas"], 1):
        try:
            row = _question(qa)
        except ValueError as error:
            name = f" (id {qa['id']!r})" if isinstance(qa, dict) and "id" in qa else ""
            report(f"In {where}, question {q}{name} {error}.")
            continue
        yield {"id": row["id"], "title": title, "question": row["question"], "context": context, "answers": row["answers"]}


def _question(qa: Any) -> dict:
    if not isinstance(qa, dict):
        raise ValueError(f"is {_shown(qa)}, not an object")
    if not isinstance(qa.get("question"), str):
        raise ValueError(f"has a member 'question' that is {_shown(qa.get('question'))}, not a text")
    if isinstance(name := qa.get("id"), bool) or not isinstance(name, (str, int)):
        raise ValueError(f"has a member 'id' that is {_shown(name)}; every question needs one of its own")
    answers = qa.get("answers")
    return {"id": str(name), "question": qa["question"], "answers": None if answers is None else read_answers(answers)}


def _listed(value: Any, member: str, where: str, report: Callable[[str], None]) -> tuple[bool, list]:
    """(whether `value` is an object whose `member` is an array, the array)."""
    if not isinstance(value, dict):
        report(f"{where[0].upper()}{where[1:]} is {_shown(value)}, not an object with the member {member!r}.")
    elif not isinstance(value.get(member), list):
        report(f"In {where} the member {member!r} is {_shown(value.get(member))}, not an array.")
    else:
        return True, value[member]
    return False, []


def _refuse(reason: str) -> None:
    raise ValueError(reason)


def _shown(value: Any) -> str:
    """A value in a message: "missing" for None, or its first 40 characters as JSON."""
    if value is None:
        return "missing"
    try:
        shown = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def has_answer_columns(values: Mapping[str, Any], columns: Mapping[str, str]) -> bool:
    """Whether a row says anything of answers at all: `flat` reads a row that does not as a question without an answer."""
    return columns.get("answers", "answers") in values or columns.get("answer_text", "answer_text") in values


def flat(values: Mapping[str, Any], columns: Mapping[str, str]) -> dict:
    """A question from a row of JSON lines, CSV or parquet: one question a row.

    `columns` says how the row calls what is in NAMES, where it does so otherwise: {"question": "query"}. The answers stand
    in the column of "answers", in any form that `read_answers` knows, or in those of "answer_text" and "answer_start" (one
    text and number, or a list of each). Without any, or with an empty one, the question has no answer. The id is "" where
    the row has none.

    flat({"query": "How old?", "context": "He is 7.", "answer_text": "7", "answer_start": "6"}, {"question": "query"})
    -> {"id": "", "title": "", "question": "How old?", "context": "He is 7.", "answers": [{"text": "7", "answer_start": 6}]}

    Raises: ValueError with the reason, in words that fit behind a file and a line.
    """
    name = {n: columns.get(n, n) for n in NAMES}
    row = {"id": _optional(values, name["id"]), "title": _optional(values, name["title"]),
           "question": _text(values, name["question"]), "context": _text(values, name["context"])}
    start = values.get(name["answer_start"])
    answers = values.get(name["answers"])
    if _empty(answers):
        answers = values.get(name["answer_text"])
    try:
        row["answers"] = read_answers(answers, start)
    except ValueError as error:
        raise ValueError(f"the question{' ' + repr(row['id']) if row['id'] else ''} {error}") from error
    return row


def _text(values: Mapping[str, Any], column: str) -> str:
    if column not in values:
        raise ValueError(f"it has no column {column!r} (it has {', '.join(map(str, values)) or 'none'})")
    if not isinstance(values[column], str):
        raise ValueError(f"the column {column!r} is {_shown(values[column])}, not a text")
    return values[column]


def _optional(values: Mapping[str, Any], column: str) -> str:
    return "" if _empty(values.get(column)) else str(values[column])


def read_answers(value: Any, start: Any = None) -> list[dict]:
    """The answers in any form that data sets write them, as [{"text", "answer_start"}]; without a text there is no answer.

    [{"text": "7", "answer_start": 6}] or "start" for "answer_start"; one such object alone
    {"text": ["7"], "answer_start": [6]}          (Hugging Face's datasets)
    "7" or ["7", "seven"], with `start` 6 or [6, 9] beside it if that is known
    '{"text": ["7"], "answer_start": [6]}'        (JSON, or Python's way of writing it, in the cell of a CSV file)

    Raises: ValueError with a reason that begins with a verb: "has the answer ...".
    """
    if isinstance(value, str):
        value = _written(value)
    start = as_list(start) or start
    if _empty(value):
        return []
    if isinstance(value, str):
        return _paired([value], start)
    if isinstance(value, Mapping):
        if "text" not in value:
            raise ValueError(f"has the answer {_shown(value)}, not an object with the member 'text'")
        return _paired(value.get("text"), value["start"] if "start" in value else value.get("answer_start"))
    if not isinstance(value, list):
        raise ValueError(f"has {_shown(value)} for its answers, which are written as a text, a list or an object")
    if all(isinstance(one, str) for one in value):
        return _paired(value, start)
    return [answer for one in value for answer in _one(one)]


def _one(value: Any) -> list[dict]:
    """The answers of one element of a list."""
    if not isinstance(value, (str, Mapping)):
        raise ValueError(f"has the answer {_shown(value)}, not an object with the member 'text'")
    return _paired([value], None) if isinstance(value, str) else read_answers(value)


def _paired(texts: Any, starts: Any) -> list[dict]:
    """Answers from texts and their starts, of each one or a list; empty texts are left out."""
    if _empty(texts):
        return []
    texts = texts if isinstance(texts, list) else [texts]
    starts = [None] * len(texts) if _empty(starts) else starts if isinstance(starts, list) else [starts]
    if len(texts) != len(starts):
        raise ValueError(f"has {len(texts)} answer texts but {len(starts)} answer starts; there must be as many")
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise ValueError(f"has the answer text {_shown(text)}, not a text")
    return [{"text": text, "answer_start": _start(start, text)} for text, start in zip(texts, starts) if not _empty(text)]


def _start(value: Any, text: str) -> int:
    if _empty(value):
        return UNKNOWN
    try:
        number = float(value)
        if isinstance(value, bool) or not number.is_integer():
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"has {_shown(value)} for the start of the answer {_shown(text)}; it is the number of characters "
                         f"before the answer, or -1 where that is not known") from None
    return max(int(number), UNKNOWN)


def _empty(value: Any) -> bool:
    """None, "", blanks, [], {} and NaN (what pandas makes of an empty cell)."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, Iterable) and not value) or (isinstance(value, float) and math.isnan(value))


def _written(text: str) -> Any:
    """The value that a cell holds as JSON, Python or numpy write it; the text itself where it is neither.

    '["a"]' -> ["a"], '[]' -> [], '[1]' -> '[1]' (a text that has brackets), "{'text': ['a']}" -> {"text": ["a"]}
    """
    bare = text.strip()
    if bare[:1] not in ("[", "{"):
        return text
    try:
        value = literal(bare)
    except ValueError:
        value = None
    if value is None and bare[1:].lstrip(" {[").startswith(("'text'", '"text"')):
        raise ValueError(f"has the answers {_shown(text)}, which can be read neither as JSON nor as a plain text; write them "
                         f"with json.dumps")
    parts = [value] if isinstance(value, dict) else value if isinstance(value, list) else [None]
    return value if all(isinstance(one, dict) for one in parts) or all(isinstance(one, str) for one in parts) else text
