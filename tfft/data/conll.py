"""Reads files with one token a line (CoNLL and its kin) and parallel files into records of whole sentences.

    EU      B-ORG
    rejects O          ->  Record({"0": ["EU", "rejects"], "1": ["B-ORG", "O"], "-2": ..., "-1": ...}, file, line=1)

Every reader streams: one sentence is in memory at a time. What cannot be read is a Broken, what is odd a Note, as in
tfft.data.formats.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from tfft.data.content import opened
from tfft.data.encodings import ESCAPED, Lines, known, readable
from tfft.data.guess import suggestion
from tfft.data.records import Broken, Note, Record
from tfft.errors import UserError, unknown

SEPARATORS = ("auto", "tab", "whitespace")
BLANKS = re.compile("[ \t]+")  # not \s: a token may be an ideographic or a no-break space, or hold one
METADATA = re.compile(r"# +[\w.:-]+( +[\w.:-]+)? *=( |$)"  # text = He said, # newdoc id = a1
                      r"|# +(newdoc|newpar)\s*$|# +(sent_id|text)\b|# *(global\.)?columns *[:=]|#(begin|end) document\b")
COLUMNS = re.compile(r"# *(?:global\.)?columns *[:=]\s*(.+)")
EXTRA = re.compile(r"\d+([-.])\d+")  # CoNLL-U: 1-2 is a token written as one and analysed as two, 8.1 an empty node
BRACKET = re.compile(r"(?:\(([^()*]+))?\*(?:([^()*]*)\))?")


def read(path: str, *, encoding: str = "utf-8", separator: str = "auto", names: Iterable[str] = (),
         counts: MutableMapping[str, int] | None = None) -> Iterator[Record | Broken | Note]:
    """Reads one file with one token a line into one record a sentence, its columns as lists.

    Columns have their numbers as keys, counted from either end ("0", "-1"), and their names where there are any: `names`,
    or those of a comment `# global.columns = ID FORM` or `# columns: ID FORM`. Under separator "auto" a line that contains
    tabs is separated by tabs alone, any other by blanks and tabs ("whitespace"). Lines that are empty or hold only white
    space end a sentence, and so does -DOCSTART-.

    A line that begins with "#" is a comment where it looks like metadata (`# key = value`), or where it has another number
    of fields than the tokens around it and is not glued to a word in the midst of a sentence: "#", "#tag" with a tag beside
    it are tokens. Multi-word tokens (1-2) and empty nodes (8.1) of CoNLL-U are skipped. `counts` is told what was skipped:
    "documents", "comments", "multi-word tokens", "empty nodes".

    Raises: UserError where the file as a whole cannot be read.
    """
    if separator not in SEPARATORS:
        raise UserError(unknown("separator", separator, SEPARATORS))
    names = tuple(names)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: the columns' names hold {', '.join(map(repr, twice))} twice. Give each column its own name.")
    sentences, block = _Sentences(path, separator, names, Counter() if counts is None else counts), []
    notes: list[Note] = []
    for number, line in _lines(path, encoding, notes):
        document = line.startswith("-DOCSTART-")
        if document:
            sentences.count("documents")
        if line.strip() and not document:
            block.append((number, line))
            continue
        yield from sentences.made_of(block, encoding)
        block = []
    yield from sentences.made_of(block, encoding)
    yield from notes


def _lines(path: str, encoding: str, notes: list[Note]) -> Iterator[tuple[int, str]]:
    """(number from 1, line) without line ends and byte-order mark. Only a line feed ends a line. `notes` is added to."""
    with readable(path, encoding), opened(path) as content:
        lines = Lines(content, path, encoding)
        for line in lines:
            yield lines.number, line.rstrip("\r\n")
    notes += [Note(path, word) for word in lines.words()]


def _undecodable(line: str, where: str, encoding: str) -> str:
    """Why a line is broken for its encoding, or ''."""
    if line.isascii() or not ESCAPED.search(line):
        return ""
    raw = line.encode("utf-8", "surrogateescape")
    return f"{where} is not valid {encoding}{suggestion(raw, raw) if known(encoding) == 'utf-8' else ''}"


class _Sentences:
    """Makes sentences of blocks of lines. What it knows of the file grows from block to block: names and width."""

    def __init__(self, path: str, separator: str, names: tuple[str, ...], counts: MutableMapping[str, int]):
        self.path, self.separator, self.given, self.counts = path, separator, bool(names), counts
        self.names, self.width = names, 0  # width: the number of fields of the last sentence's lines

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def made_of(self, block: list[tuple[int, str]], encoding: str) -> Iterator[Record | Broken]:
        """The sentence of the lines between two separators; nothing where they are comments alone."""
        tokens, width = self._tokens([(number, line, self._fields(line)) for number, line in block])
        if not tokens:
            return
        start = tokens[0][0]
        undecodable = next(filter(None, (_undecodable(line, f"line {n}", encoding) for n, line, _ in tokens)), "")
        if reason := undecodable or self._reason(tokens, width):
            yield Broken(self.path, start, reason, bool(undecodable))
            return
        self.width = width
        columns = [list(column) for column in zip(*(fields for _, _, fields in tokens))]
        values = dict(zip(self.names, columns)) | {str(i): column for i, column in enumerate(columns)}
        yield Record(values | {str(i - width): column for i, column in enumerate(columns)}, self.path, start)

    def _fields(self, line: str) -> list[str]:
        if self.separator == "tab" or (self.separator == "auto" and "\t" in line):
            return [field.strip(" ") or field for field in line.split("\t")]  # a lone blank may be a token of its own
        return BLANKS.split(line.strip(" \t"))

    def _tokens(self, lines: list[tuple[int, str, list[str]]]) -> tuple[list[tuple[int, str, list[str]]], int]:
        """The lines that are tokens, and how many fields each should have."""
        width = self._most_frequent_width([fields for _, line, fields in lines if not line.startswith("#")]) or self.width
        tokens = []
        for number, line, fields in lines:
            if line.startswith("#") and _is_comment(line, len(fields), width, bool(tokens)):
                self.count("comments")
                found = COLUMNS.match(line)
                if found and not self.given:
                    self.names = tuple(re.split(r"[\s,]+", found[1].strip()))
            else:
                tokens.append((number, line, fields))
        width = width or self._most_frequent_width([fields for _, _, fields in tokens])
        return self._without_extra(tokens, width), width

    def _most_frequent_width(self, rows: list[list[str]]) -> int:
        """The number of fields that most rows have; between equals that of the sentence before, else the first; 0 for none."""
        widths = Counter(map(len, rows))
        return max(widths, key=lambda width: (widths[width], width == self.width), default=0)

    def _without_extra(self, tokens: list, width: int) -> list:
        """Leaves out what CoNLL-U writes beside its tokens, but only where all other lines are numbered 1, 2, 3, ..."""
        extra = [EXTRA.fullmatch(fields[0]) for _, _, fields in tokens] if width > 2 else []
        if not any(extra):
            return tokens
        kept = [token for token, found in zip(tokens, extra) if not found]
        if not kept or any(fields[0] != str(i) for i, (_, _, fields) in enumerate(kept, 1)):
            return tokens
        for found in filter(None, extra):
            self.count("multi-word tokens" if found[1] == "-" else "empty nodes")
        return kept

    def _reason(self, tokens: list[tuple[int, str, list[str]]], width: int) -> str:
        """Why these lines make no sentence, or ''."""
        for number, _, fields in tokens:
            has = f"line {number} has {_plural(len(fields), 'field')}"
            if len(fields) != width:
                others = "the sentence's other lines have" if len(tokens) > 1 else "the sentences before have"
                return f"{has} where {others} {width}: give each token one line with all its columns"
            if width == 1 < self.width:
                return f"{has} where the sentences before have {self.width}: give each token one line with all its columns"
            if len(self.names) > width:
                return f"{has} where {len(self.names)} columns are named: {', '.join(self.names)}"
        return ""


def _is_comment(line: str, fields: int, width: int, within: bool) -> bool:
    """Whether a line that begins with '#' is a comment. `within`: a token of the same sentence stands before it."""
    if METADATA.match(line):
        return True
    if not width:  # nothing to compare with yet: "#\tO" and "#tag O" are tokens, "# some words" and "###" are not
        return fields == 1 or ("\t" not in line and line[1:2] in (" ", "#"))
    return fields != width and (line[1:2] in (" ", "\t") or not within)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def props_rows(values: dict[str, list[str]], *, words: str = "0", predicates: str = "1") -> list[dict[str, Any]]:
    """One row a predicate from a sentence in CoNLL-2005's props format.

    `predicates` is the column that has a lemma where a predicate stands and "-" elsewhere; one bracket column for each
    predicate, in their order, follows it:

        The cat  -    (A0*
                 -    *)      ->  [{"words": [...], "predicate": 2, "tags": ["B-A0", "I-A0", "B-V"]}]
        sat      sit  (V*)

    Raises: ValueError with the reason where the columns are missing, or brackets do not match or are nested.
    """
    for name in (words, predicates):
        if name not in values:
            raise ValueError(f"there is no column {name}")
    places = [i for i, cell in enumerate(values[predicates]) if cell != "-"]
    after = _position(values, predicates) + 1
    brackets = [values[str(i)] for i in itertools.takewhile(lambda i: str(i) in values, itertools.count(after))]
    if len(brackets) != len(places):
        raise ValueError(f"{_plural(len(places), 'predicate')} but {_plural(len(brackets), 'column')} of brackets")
    return [{"words": list(values[words]), "predicate": place, "tags": _bracket_tags(cells, after + i)}
            for i, (place, cells) in enumerate(zip(places, brackets))]


def props_records(records: Iterable[Record | Broken | Note]) -> Iterator[Record | Broken | Note]:
    """Sentences in props format as one record for each predicate: "words", "predicate", "tags"."""
    for record in records:
        if not isinstance(record, Record):
            yield record
            continue
        try:
            yield from (Record(row, record.file, record.line) for row in props_rows(record.values))
        except ValueError as error:
            yield Broken(record.file, record.line, str(error))


def _position(values: dict[str, list[str]], name: str) -> int:
    """The number from 0 of a column that is given by number, by number from the end or by name."""
    if name.isdigit():
        return int(name)
    numbers = itertools.takewhile(lambda i: str(i) in values, itertools.count())
    place = next((i for i in numbers if values[str(i)] is values[name]), None)
    if place is None:
        raise ValueError(f"column {name} has no number, so the columns after it are unknown")
    return place


def _bracket_tags(cells: list[str], column: int) -> list[str]:
    """["(A0*", "*)", "*", "(V*)"] -> ["B-A0", "I-A0", "O", "B-V"]."""
    tags, role = [], ""
    for number, cell in enumerate(cells, 1):
        where = f"token {number} of column {column} is {cell!r}"
        found = BRACKET.fullmatch(cell)
        if not found:
            nested = cell.count("(") > 1 or cell.count(")") > 1
            raise ValueError(f"{where}: {'nested brackets' if nested else 'it should look like (A0*, *, *) or (V*)'}")
        opened, closed = found[1], found[2]
        if opened and role:
            raise ValueError(f"{where}: the bracket of {role} is still open")
        role = opened or role
        tags.append(f"{'B' if opened else 'I'}-{role}" if role else "O")
        if closed is not None:
            if not role or closed not in ("", role):
                raise ValueError(f"{where}: it closes {closed or 'a bracket'}, but {role or 'none'} is open")
            role = ""
    if role:
        raise ValueError(f"the bracket of {role} in column {column} is never closed")
    return tags


def read_parallel(words_path: str, tags_path: str, label_path: str = "",
                  encoding: str = "utf-8") -> Iterator[Record | Broken | Note]:
    """Reads sentences from files side by side: words, tags and, optionally, a label; one sentence a line.

    Records have {"words": [...], "tags": [...], "label": str} and the words' file and line. Lines that are empty in all
    files are skipped.

    Raises: UserError, after the last sentence, where the files have different numbers of lines.
    """
    paths = [words_path, tags_path] + ([label_path] if label_path else [])
    notes: list[Note] = []
    lengths, uneven = [0] * len(paths), False  # lengths: each file's last line that is not blank
    for number, row in enumerate(itertools.zip_longest(*(_lines(path, encoding, notes) for path in paths)), 1):
        lines = ["" if cell is None else cell[1] for cell in row]
        lengths = [number if line.strip() else length for line, length in zip(lines, lengths)]
        uneven = uneven or (None in row and any(line.strip() for line in lines))
        if any(line.strip() for line in lines) and not uneven:
            yield _parallel_row(lines, paths, number, encoding)
    if uneven:
        counted = ", ".join(f"{path} has {_plural(length, 'line')}" for path, length in zip(paths, lengths))
        raise UserError(f"{counted}. Line n of each file must belong to sentence n: mend the files.")
    yield from notes


def _parallel_row(lines: list[str], paths: list[str], number: int, encoding: str) -> Record | Broken:
    for line, path in zip(lines, paths):
        if reason := _undecodable(line, f"line {number} of {path}", encoding):
            return Broken(paths[0], number, reason, undecodable=True)
    words, tags = (BLANKS.split(line.strip(" \t")) if line.strip() else [] for line in lines[:2])
    if len(words) != len(tags):
        reason = f"it has {_plural(len(words), 'word')} where {paths[1]}:{number} has {_plural(len(tags), 'tag')}"
        return Broken(paths[0], number, reason)
    if not words:
        return Broken(paths[0], number, f"it has no words where {paths[2]}:{number} has a label")
    if len(lines) == 3 and not lines[2].strip():
        return Broken(paths[0], number, f"it has no label in {paths[2]}:{number}")
    values = {"words": words, "tags": tags} | ({"label": lines[2].strip()} if len(lines) == 3 else {})
    return Record(values, paths[0], number)
