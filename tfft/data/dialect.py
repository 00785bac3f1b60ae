"""How the fields of a csv or tsv file are separated and quoted: as its first lines show, where the config does not say.

    dialect(["text;label\\n", "soft, and clean;pos\\n"], "csv", "auto", "auto", header=True)
    -> Dialect(delimiter=";", quoting="double", skip=0, notes=["its fields are separated by semicolons ..."])
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tfft.errors import UserError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
NONE = "\ue000"  # of the private use area: in files that have one column only, nothing separates
SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
ESCAPE = re.compile(r'\\([\\"])')
FIELD_LIMIT = 2**24  # characters; csv's own 131,072 are fewer than some documents have


class Dialect(NamedTuple):
    """skip: lines before the header. notes: what was found and decided."""

    delimiter: str
    quoting: str
    skip: int
    notes: list[str]


class Counted:
    """An iterator that knows how many lines it has given. taken: those since it was last emptied, which begins a row: a
    byte-order mark there is left out, as where files were put together."""

    def __init__(self, lines: Iterable[str]):
        self._lines, self.number = iter(lines), 0
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if not self.taken and line.startswith("\ufeff"):
            line = line[1:]
        self.taken.append(line)
        return line


def dialect(sample: list[str], kind: str, delimiter: str, quoting: str, header: bool) -> Dialect:
    """Raises: UserError where `delimiter` is no single character."""
    wanted = "\t" if delimiter in ("tab", "\\t") else delimiter
    if wanted != "auto" and (len(wanted) != 1 or wanted in '"\r\n'):
        raise UserError(f"config.data.delimiter={delimiter!r} must be one character, such as ';' or '|', or tab, or auto.")
    named = SEP.fullmatch(sample[0]) if sample else None
    skip, notes = bool(named), []
    rows = sample[skip:]
    if named:
        what = _name(named[1])
        notes.append(f"its first line says that {what} separate its fields, as Excel writes it, and is no row"
                     + (f"; config.data.delimiter={delimiter} decides" if wanted not in ("auto", named[1]) else ""))
        wanted = named[1] if wanted == "auto" else wanted
    auto = "\t" if kind == "tsv" else ""
    if quoting != "auto":
        chosen = wanted if wanted != "auto" else auto or _delimiter(rows, quoting, header)
    else:
        chosen, quoting = _both(rows, kind, auto if wanted == "auto" else wanted, header)
        usual = "none" if kind == "tsv" else "double"
        if quoting == "backslash":
            notes.append(r'\" within its quoted fields is read as a quote (to decide otherwise: --config.data.quoting=double)')
        elif quoting != usual and quoting == "none":
            notes.append("its quotes are read as characters, as in tsv files (to decide otherwise: "
                         "--config.data.quoting=double)")
        elif quoting != usual:
            notes.append("its quotes are read as those around fields, which its first lines show (to keep them as characters: "
                         "--config.data.quoting=none)")
    if wanted == "auto" and not auto and chosen == NONE:
        if any("," in line for line in rows):
            notes.append("it has one column, so commas in it are read as text (to decide otherwise: --config.data.delimiter=,)")
    elif wanted == "auto" and not auto and chosen != ",":
        notes.append(f"its fields are separated by {_name(chosen)}, as its first lines show (to decide otherwise: "
                     "--config.data.delimiter=,)")
    return Dialect(chosen, quoting, int(skip), notes)


def _name(delimiter: str) -> str:
    return DELIMITERS.get(delimiter, repr(delimiter))


def _both(rows: list[str], kind: str, delimiter: str, header: bool) -> tuple[str, str]:
    """(delimiter, quoting) that fit the rows best; in doubt the usual quoting."""
    if kind == "tsv":
        plain = [line.rstrip("\r\n").split(delimiter) for line in rows]
        return delimiter, "double" if _shows_quoting(plain) else "none"
    found = {}
    for quoting in ("double", "backslash") if any('\\"' in line for line in rows) else ("double",):
        one = delimiter or _delimiter(rows, quoting, header)
        found[quoting] = (_misfits(rows, one, quoting, header), one)
    best = min(found, key=lambda quoting: found[quoting][0])  # the first of equals
    misfits, one = found[best]
    if misfits and one in ("\t", NONE) and _misfits(rows, one, "none", header) < misfits:
        # where commas are plain, quotes may be
        if one == "\t" or not any(line.count('"') == 1 or re.fullmatch(r'".*"\s*', line) for line in rows):
            return one, "none"
    return one, best


def _shows_quoting(rows: list[list[str]]) -> bool:
    """Whether plain fields look quoted: all of the first row are, or some hold doubled quotes and none is against the rule."""
    fields = [field for row in rows for field in row if field.startswith('"')]
    if not fields or any(len(f) < 2 or not f.endswith('"') or '"' in f[1:-1].replace('""', "") for f in fields):
        return False
    return all(field.startswith('"') for field in rows[0]) or any('""' in field[1:-1] for field in fields)


def _widths(rows: list[str], delimiter: str, quoting: str) -> list[int]:
    """The numbers of fields of rows; 0 for one that cannot be read."""
    return [0 if isinstance(fields, str) else len(fields) for _, fields in rows_of(Counted(rows), delimiter, quoting)]


def _misfits(rows: list[str], delimiter: str, quoting: str, header: bool) -> int:
    """How many rows cannot be read, or have another number of fields than the header."""
    widths = _widths(rows, delimiter, quoting)
    if not header:
        return widths.count(0)
    return sum(width != widths[0] for width in widths) if widths and widths[0] else len(rows)


def _delimiter(rows: list[str], quoting: str, header: bool) -> str:
    """What separates the fields of a csv file: the comma unless the rows speak for another, NONE in a file of one column."""
    widths = {d: _widths(rows, d, quoting if header or d != "\t" else "none") for d in DELIMITERS}
    if not rows or not widths[","]:
        return ","
    fitting = {}
    for one, found in widths.items():
        width = found[0] if header else Counter(found).most_common(1)[0][0]
        others = found[1:] if header else found
        fit = sum(w == width or (one == "\t" and not header and w > 1) for w in others)  # hardly a text holds tabs
        share = fit / len(others) if others else 1.0
        if width > 1 and share >= (0.5 if header else 0.9):
            fitting[one] = (share, width)
    if not header and len(fitting) > 1 and "," in fitting and _is_prose(rows):
        del fitting[","]
    if fitting:
        best = max(fitting, key=fitting.__getitem__)
        return "," if "," in fitting and fitting[","][0] >= fitting[best][0] - 0.1 else best
    commas = [width for width in widths[","][1 if header else 0:] if width > 1]
    one_name = widths[","][0] == 1 if header else len(set(widths[","])) > 1
    if one_name and (_is_prose(rows) or (header and (not commas or len(set(widths[","][1:])) > 1))):
        return NONE
    return ","


def _is_prose(rows: list[str]) -> bool:
    """Whether commas are followed by blanks, as those of texts are."""
    commas = blanks = 0
    for line in rows:
        commas += line.count(",")
        blanks += line.count(", ")
    return commas > 0 and blanks > 0.9 * commas


def rows_of(lines: Counted, delimiter: str, quoting: str) -> Iterator[tuple[int, list[str] | str]]:
    """(first line, fields or the reason why there are none) of lines. Empty lines are skipped."""
    if quoting == "none":
        return _plain_rows(lines, delimiter)
    return _quoted_rows(lines, delimiter, quoting)


def _plain_rows(lines: Counted, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for line in lines:
        if line := line.removesuffix("\n").removesuffix("\r"):
            yield lines.number, line.split(delimiter)
        lines.taken.clear()


def _quoted_rows(lines: Counted, delimiter: str, quoting: str) -> Iterator[tuple[int, list[str] | str]]:
    """Under RFC 4180 quoting. Where a blank stands between a delimiter and a quote, that is the file's habit: from there on
    blanks after delimiters are no part of fields."""
    csv.field_size_limit(FIELD_LIMIT)
    fed = (ESCAPE.sub(_doubled, line) for line in lines) if quoting == "backslash" else lines
    reader, blanks = csv.reader(fed, delimiter=delimiter, strict=True), False
    while True:
        start = lines.number + 1
        lines.taken.clear()
        try:
            fields = next(reader)
            if not blanks and any(field[:1] == " " and field.lstrip(" ")[:1] == '"' for field in fields):
                again = _chained(lines.taken, fed, quoting)
                reader, blanks = csv.reader(again, delimiter=delimiter, strict=True, skipinitialspace=True), True
                fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, _reason(str(error), start, lines)
            continue
        if fields:
            yield start, fields


def _chained(taken: list[str], fed: Iterator[str], quoting: str) -> Iterator[str]:
    for line in list(taken):
        yield ESCAPE.sub(_doubled, line) if quoting == "backslash" else line
    yield from fed


def _doubled(escape: re.Match) -> str:
    return '""' if escape[1] == '"' else "\\"


def _reason(error: str, start: int, lines: Counted) -> str:
    lost = lines.number - start + 1
    if "unexpected end of data" in error:
        return f"a quote opened here is never closed; the last {lost} lines are lost"
    if "expected after" in error:
        also = f"; lines {start} to {lines.number} are lost" if lost > 1 else ""
        return f"text follows a closing quote in line {lines.number}{also}"
    if "field larger" in error:
        return f"a field is longer than {FIELD_LIMIT:,} characters, as if its quote were never closed"
    if "new-line character" in error:
        return "a lone carriage return outside quotes (are its line ends those of old Macs? Convert them)"
    return error
