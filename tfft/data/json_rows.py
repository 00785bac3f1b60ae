"""Reads jsonl, json and SQuAD's json into records; what cannot be read is a Broken, and what is odd a Note.

JSON is UTF-8, whatever the config says of other files; only lines or files that are not are read as it says.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from tfft.data import orients, squad
from tfft.data.content import Content, wide
from tfft.data.encodings import ESCAPED, Lines, extends_ascii, known
from tfft.data.guess import suggestion
from tfft.data.records import Broken, Note, Record, own_names
from tfft.errors import UserError, unknown

SPACE = re.compile(r"[ \t\r\n]*")
PYTHONIC = re.compile(r"'|None\b|True\b|False\b")
DOCUMENT = re.compile(r'\s*(?:\[\s*\{|\[\s*$|\{\s*$|\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"0"\s*:)')


def _constant(name: str) -> float | None:
    """What Python's JSON has beyond JSON: NaN is a missing value."""
    return None if name == "NaN" else float(name)


def _object(pairs: list[tuple[str, Any]]) -> dict:
    """An object; of members with one name none is lost."""
    made = dict(pairs)
    return made if len(made) == len(pairs) else dict(zip(own_names([name for name, _ in pairs]), (v for _, v in pairs)))


DECODER = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object)


def read_jsonl(content: Content, path: str, encoding: str) -> Iterator[Record | Broken | Note]:
    """One JSON value a line; a file that is one JSON document is read as that, with a Note."""
    lines = Lines(content, path, encoding, own_rule=True)
    if _is_document(lines.sample()):
        yield Note(path, f"it is one JSON document, not one JSON value a line, and read as json:{path} would be")
        yield from read_json(content, path, encoding, "")
        return
    first = True
    for line in lines:
        if not line.strip():
            continue
        if reason := lines.take_bad():
            yield Broken(path, lines.number, reason, undecodable=True)
            continue
        try:
            value = DECODER.decode(line.removeprefix("\ufeff"))  # of a file that others were put behind
        except (ValueError, RecursionError) as error:
            other = f"; a table is read as csv:{path} or tsv:{path}" if first and line.lstrip()[:1] not in ("{", "[") else ""
            yield Broken(path, lines.number, f"it is not valid JSON ({_without_place(error)}){_why(error, line)}{other}")
            first = False
            continue
        first = False
        yield _record(value, path, lines.number)
    for note in lines.words():
        yield Note(path, note)


def _is_document(sample: list[str]) -> bool:
    """Whether the first line begins a document: an array of objects, pandas' columns, or a bracket alone."""
    lines = [line for line in sample if line.strip()]
    if not lines or not DOCUMENT.match(lines[0]):
        return False
    if len(lines) == 1:
        return True
    try:
        json.loads(lines[0])
    except ValueError:
        return True
    return False


def _without_place(error: Exception) -> str:
    """A JSONDecodeError of a line without 'line 1', which is none of the file."""
    return f"{error.msg}, at its character {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _why(error: Exception, text: str) -> str:
    """What is likely wrong where a JSON text cannot be read; '' where nothing stands out."""
    if not isinstance(error, json.JSONDecodeError):
        return ""
    before, after = text[:error.pos].rstrip(), text[error.pos:].lstrip()
    if not after or error.msg.startswith("Unterminated string"):
        return ": it ends in the midst of a value, as if it had been cut off"
    if (before.endswith(",") and after[0] in "}]") or (after[0] == "," and after[1:].lstrip()[:1] in ("}", "]")):
        return ": a comma stands before a closing bracket; take it out"
    if after[0] == "," and before.endswith(("}", "]")) and error.msg in ("Extra data", "Expecting value"):
        return ": a comma stands behind a whole value; take it out, or put all values into one array [...]"
    if error.msg == "Extra data":
        return ": more follows behind the value, as where files were put together"
    if PYTHONIC.match(after):
        return ": it looks like what Python prints; write it with json.dumps"
    return ""


def _record(value: Any, path: str, line: int) -> Record | Broken:
    """A record from a JSON object, or from an array (columns 0, 1, ...)."""
    if isinstance(value, list):
        value = {str(i): v for i, v in enumerate(value)}
    if not isinstance(value, dict):
        return Broken(path, line, f"it is {json.dumps(value)[:40]}, neither an object nor an array")
    return Record(value, path, line)


def _text(content: Content, path: str, encoding: str) -> tuple[str, str]:
    """(the whole file, a word about its encoding). What cannot be decoded is escaped."""
    raw, given = content.file.read(), known(encoding)
    own = wide(raw)
    try:
        return raw.decode(own or "utf-8").removeprefix("\ufeff"), f"it is {own.upper()} and read so" if own else ""
    except UnicodeDecodeError:
        pass
    if given != "utf-8" and not own:
        try:
            return raw.decode(given), f"it is no UTF-8 and read as {given}, which config.data.encoding names"
        except UnicodeDecodeError as error:
            if not extends_ascii(given):
                raise UserError(f"{path} is neither UTF-8 nor {given} ({error}). Set --config.data.encoding.") from error
    return raw.decode(own or "utf-8", "surrogateescape").removeprefix("\ufeff"), ""


def read_json(content: Content, path: str, encoding: str, key: str) -> Iterator[Record | Broken | Note]:
    """The rows of a document: an array, an object of columns, pandas' orients, SQuAD's, or the members that `key` picks."""
    text, word = _text(content, path, encoding)
    if word:
        yield Note(path, word)
    try:
        for start in _starts(text, path, key):
            yield from _json_rows(text, start, path, key)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, text, error) from error


def _invalid(path: str, text: str, error: Exception) -> UserError:
    if not isinstance(error, json.JSONDecodeError):
        return UserError(f"{path} is not valid JSON ({error}). Mend the file.")
    why = _why(error, text)
    return UserError(f"{path}:{error.lineno} is not valid JSON ({error}){why}. "
                     + ("Copy or download it once more." if "cut off" in why else "Mend the file."))


def read_squad(content: Content, path: str, encoding: str) -> Iterator[Record | Broken | Note]:
    text, word = _text(content, path, encoding)
    if word:
        yield Note(path, word)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, text, error) from error
    if ESCAPED.search(text):
        raise UserError(f"{path} is not valid UTF-8, which JSON is in. Convert it, or set --config.data.encoding.")
    if not squad.looks_like_squad(document):
        raise UserError(f"{path} is JSON, but not SQuAD's: that is an object whose member 'data' is an array of articles, each "
                        "with the member 'paragraphs'. For an array of questions write json: in place of squad:.")
    yield from _questions(document, path)


def _questions(document: Any, path: str) -> Iterator[Record | Broken]:
    """A SQuAD document's questions; `line` is the number of the question, since such files often are one line."""
    reasons: list[str] = []
    number = 1
    for values in squad.rows(document, reasons.append):
        for reason in reasons:
            yield Broken(path, number, _told(reason))
            number += 1
        reasons.clear()
        yield Record({name: value for name, value in values.items() if value is not None}, path, number)
        number += 1
    for more, reason in enumerate(reasons):
        yield Broken(path, number + more, _told(reason))


def _told(reason: str) -> str:
    return f"{reason[0].lower()}{reason[1:]}".rstrip(".")


def _space(text: str, at: int) -> int:
    return SPACE.match(text, at).end()


def _starts(text: str, path: str, key: str) -> list[int]:
    """Where the values that `key` names begin; without a key where the file's begin."""
    if not key:
        return [_space(text, 0)]
    starts = []
    for one in key.split("+"):
        at = _space(text, 0)
        for name in one.split("/"):
            members = dict(_members(text, at)) if text[at:at + 1] == "{" else {}
            if name not in members:
                raise UserError(f"{path}#{key}: {unknown('member', name, members)}")
            at = members[name]
        starts.append(at)
    return starts


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """(name, where the value begins) of the object at `at`."""
    at = _space(text, at + 1)
    while text[at:at + 1] != "}":
        name, at = DECODER.raw_decode(text, at)
        at = _space(text, at)
        if text[at:at + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
        at = _space(text, at + 1)
        yield name, at
        _, at = DECODER.raw_decode(text, at)
        at = _after_comma(text, at, "}")


def _elements(text: str, at: int, alone: bool) -> Iterator[tuple[Any, int]]:
    """(value, where it begins) of the array at `at`; `alone`: nothing may follow it."""
    at = _space(text, at + 1)
    while text[at:at + 1] != "]":
        value, end = DECODER.raw_decode(text, at)
        yield value, at
        at = _after_comma(text, end, "]")
    if alone and (at := _space(text, at + 1)) < len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _after_comma(text: str, at: int, close: str) -> int:
    """Steps over the comma before the next element, or up to the closing bracket."""
    at = _space(text, at)
    if text[at:at + 1] == ",":
        after = _space(text, at + 1)
        if text[after:after + 1] == close:
            raise json.JSONDecodeError("Illegal trailing comma", text, at)
        return after
    if text[at:at + 1] != close:
        raise json.JSONDecodeError(f"Expecting ',' or '{close}'", text, at)
    return at


def _json_rows(text: str, start: int, path: str, key: str) -> Iterator[Record | Broken | Note]:
    """The rows of the array, or of the object or objects, that begin at `start`."""
    first = text[start:start + 1]
    if first == "[":
        values = _elements(text, start, alone=not key)
    elif first == "{":
        value, end = DECODER.raw_decode(text, start)
        if not key and squad.looks_like_squad(value):
            yield from _questions(value, path)
            return
        columns = None
        if _space(text, end) == len(text) or key:
            columns, word = orients.rows(value, path, key)
            if word:
                yield Note(path, word)
        values = _concatenated(text, start) if columns is None else ((row, start) for row in columns)
    elif not first:
        return
    else:
        table = "" if key or _is_json(text) else f" If it is a table, write csv:{path} or tsv:{path}."
        raise UserError(f"{path}{'#' + key if key else ''} is neither an array nor an object, so it holds no rows.{table}")
    line, counted, has_bad = 1, 0, ESCAPED.search(text)
    for number, (value, at) in enumerate(values, 1):
        line, counted = line + text.count("\n", counted, at), at
        if has_bad and ESCAPED.search(shown := json.dumps(value, ensure_ascii=False)):
            raw = shown.encode("utf-8", "surrogateescape")
            yield Broken(path, line, f"row {number} is not valid in its encoding{suggestion(raw, raw)}", undecodable=True)
        else:
            yield _record(value, path, line)


def _is_json(text: str) -> bool:
    try:
        DECODER.decode(text)
    except ValueError:
        return False
    return True


def _concatenated(text: str, at: int) -> Iterator[tuple[Any, int]]:
    """JSON objects one after another, with or without commas or line ends between them."""
    while at < len(text):
        value, end = DECODER.raw_decode(text, at)
        yield value, at
        at = _space(text, end)
