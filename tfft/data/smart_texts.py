"""Texts of SMART files (.I, .T, .W), and of files with one a line (id, tab, text)."""

import re
from collections.abc import Iterator

from tfft.data.collection_parts import Text, Told, numbered
from tfft.data.judgements import plain
from tfft.errors import UserError

SECTION = re.compile(r"\.[A-Z]\s*$")
HEADERS = {"id", "_id", "docid", "doc_id", "docno", "pid", "qid", "query_id", "query-id", "corpus-id", "corpus_id"}


def read_smart(path: str, encoding: str, told: Told) -> Iterator[Text]:
    """Titles (.T) and texts (.W), a title left out where the text begins with it; authors and the rest are not read.

    Raises: UserError for lines that belong to no text.
    """
    name, begin, section, parts = "", 0, "", {}
    for number, line in numbered(path, encoding, told):
        if re.match(r"\.I(\s|$)", line):
            if begin:
                yield Text(name, _joined(parts), path, begin)
            name, begin, section, parts = plain(line[2:].strip()), number, "", {}
            if not name:
                raise UserError(f"{path}:{number}: .I has no number. In a SMART file each text begins with a line such as .I 1")
        elif SECTION.match(line) and begin:
            section = line[1]
        elif line.strip():
            if not section:
                where = f"behind .I {name}, before any of .T, .A, .B and .W" if begin else "before the first .I"
                raise UserError(f"{path}:{number}: {line.strip()[:40]!r} stands {where}. In a SMART file each text begins with "
                                ".I and its number, and each part with .T (title) or .W (text) in a line of its own.")
            parts.setdefault(section, []).append(line.strip())
    if begin:
        yield Text(name, _joined(parts), path, begin)


def _joined(parts: dict[str, list[str]]) -> str:
    title, text = (" ".join(parts.get(section, ())) for section in "TW")
    return text if text.startswith(title) else f"{title} {text}".strip()


def read_table(path: str, encoding: str, told: Told) -> Iterator[Text]:
    """One text a line, behind its id and a tab, as MS MARCO has them; a header is known by its first name, and may name a
    title. Raises: UserError for a line without its id, or with other columns."""
    names: list[str] = []
    for number, line in numbered(path, encoding, told):
        fields = line.split("\t")
        if not line.strip():
            continue
        if not names and fields[0].strip().lower() in HEADERS:
            names = [field.strip().lower() for field in fields]
            if "text" not in names and len(names) > 2:
                raise UserError(f"{path}:{number}: the header names {', '.join(fields)}, but no text.")
            continue
        names = names or ["id", "text"]
        if len(fields) != len(names) or not fields[0].strip():
            empty = "" if fields[0].strip() else ", the first empty"
            raise UserError(f"{path}:{number}: this line has {len(fields)} fields{empty}: {line[:60]!r}. It must have "
                            f"{len(names)}, separated by tabs: {', '.join(names)}.")
        row = dict(zip(names[1:], (field.strip() for field in fields[1:])))
        text = f"{row.get('title', '')} {row['text'] if 'text' in row else fields[1].strip()}".strip()
        yield Text(fields[0].strip(), text, path, number)
