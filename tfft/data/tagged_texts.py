"""Texts of TREC's SGML: documents between <DOC> and </DOC>, queries between <top> and </top>, one in memory at a time."""

import html
import re
from collections.abc import Iterator

from tfft.data.collection_parts import Text, Told, numbered
from tfft.data.judgements import plain
from tfft.errors import UserError

TITLES = "TITLE|HEADLINE|HEAD|HL|TI|TTL"
TITLE = re.compile(rf"<({TITLES})\b[^>]*>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
TEXT = re.compile(r"<(TEXT|LEADPARA|LP)\b[^>]*>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
DOCNO = re.compile(r"<DOCNO>(.*?)</DOCNO\s*>", re.IGNORECASE | re.DOTALL)
OTHER_IDS = re.compile(r"<(DOCID|DOCHDR|FILEID)\b[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
TAG = re.compile(r"<[!?/]?[A-Za-z][^<>]*>|<!--.*?-->", re.DOTALL)
NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^<\s]+)|<topic\b[^>]*\bnumber\s*=\s*[\"']?([^\"'\s>]+)", re.IGNORECASE)
PART = r"<{0}>\s*(?:{1}:?)?(.*?)(?=<(?:num|title|desc|narr|query|question|narrative|description|/)|\Z)"
PARTS = [re.compile(PART.format(*names), re.IGNORECASE | re.DOTALL)
         for names in (("title", "Topic"), ("query", "Query"), ("desc", "Description"), ("question", "Question"))]


def read_documents(path: str, encoding: str, told: Told) -> Iterator[Text]:
    """Title and text of each document; all of it where no part is tagged as its text. Raises: UserError."""
    for begin, block in _blocks(path, encoding, told, "DOC"):
        number = DOCNO.search(block)
        if not number or not number[1].strip():
            raise UserError(f"{path}:{begin}: this document has no id: <DOC><DOCNO>1</DOCNO> ... </DOC>.")
        rest = OTHER_IDS.sub(" ", block[:number.start()] + block[number.end():])
        titles, texts = ([match[2] for match in which.finditer(rest)] for which in (TITLE, TEXT))
        yield Text(number[1].strip(), _bare(" ".join(titles[:1] + texts) if texts else rest), path, begin)


def read_topics(path: str, encoding: str, told: Told) -> Iterator[Text]:
    """The title of each topic, its description where it has none. Raises: UserError."""
    for begin, block in _blocks(path, encoding, told, "top(?:ic)?"):
        number = NUMBER.search(block)
        if not number:
            raise UserError(f"{path}:{begin}: this topic has no number: <top><num> Number: 301 <title> ...")
        found = (_bare(match[1]) for part in PARTS if (match := part.search(block)))
        yield Text(plain(number[1] or number[2]), next(filter(None, found), ""), path, begin)


def _bare(text: str) -> str:
    """Without tags and entities, in one line."""
    return " ".join(html.unescape(TAG.sub(" ", text)).split())


def _blocks(path: str, encoding: str, told: Told, tag: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each element of that name, its start tag included."""
    start, end = (re.compile(rf"<{slash}{tag}\b[^>]*>", re.IGNORECASE) for slash in ("", "/"))
    name = "top" if tag.startswith("top") else tag
    begin, kept = 0, []
    for number, line in numbered(path, encoding, told):
        while line:
            here = (end if begin else start).search(line)
            again = start.search(line[:here.start()] if here else line) if begin else None
            if again:
                raise UserError(f"{path}:{number}: a <{name}> begins before that of line {begin} has ended with </{name}>.")
            if not begin:
                if outside := TAG.sub("", line[:here.start()] if here else line).strip():
                    raise UserError(f"{path}:{number}: {outside[:40]!r} stands outside of <{name}> and </{name}>.")
                if not here:
                    break
                begin, kept = number, [here[0]]
            else:
                kept.append(line[:here.start()] if here else line)
                if not here:
                    break
                yield begin, "\n".join(kept)
                begin, kept = 0, []
            line = line[here.end():]
    if begin:
        raise UserError(f"{path}:{begin}: this <{name}> is not ended by </{name}>: the file seems cut off.")
