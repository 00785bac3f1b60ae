"""Plain text: each line a row, or each file. The one column is "text"."""

from collections.abc import Iterator, Sequence

from tfft.data.content import opened
from tfft.data.encodings import Lines, readable
from tfft.data.records import Broken, Note, Record


def read_lines(path: str, encoding: str) -> Iterator[Record | Broken | Note]:
    """Each line that is not blank."""
    with readable(path, encoding), opened(path) as content:
        lines = Lines(content, path, encoding)
        for line in lines:
            reason = lines.take_bad()
            if reason:
                yield Broken(path, lines.number, reason, undecodable=True)
            elif not line.isspace():
                yield Record({"text": line.rstrip("\r\n")}, path, lines.number)
        yield from (Note(path, note) for note in lines.words())


def read_files(paths: Sequence[str], encoding: str) -> Iterator[Record | Broken | Note]:
    """Each file as a whole."""
    for path in paths:
        with readable(path, encoding), opened(path) as content:
            lines = Lines(content, path, encoding)
            text = "".join(lines)
            if reason := lines.take_bad():
                yield Broken(path, 1, reason, undecodable=True)
            elif text.strip():
                yield Record({"text": text}, path, 1)
            else:
                yield Note(path, "it is blank, and no document")
            yield from (Note(path, note) for note in lines.words())
