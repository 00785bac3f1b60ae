"""Collections as BEIR has them: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv, packed or not.

    {"_id": "d1", "title": "A title", "text": "A text"}         {"_id": "q1", "text": "A question?"}
"""

import functools
import glob
import os
from collections.abc import Iterator

from tfft import assets
from tfft.data.collection_parts import Parts, Text, Told
from tfft.data.content import PACKED_SUFFIXES
from tfft.data.formats import read
from tfft.data.records import Broken, Note
from tfft.errors import UserError

IDS = ("_id", "id")
LOOKS = "A folder of BEIR holds corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv"


def find(folder: str, spec: str) -> Parts:
    """The files of a folder. Raises: UserError."""
    if not os.path.isdir(folder):
        what = f"{folder} is no folder" if os.path.exists(folder) else assets.missing_path(folder)
        raise UserError(f"{spec}: {what.rstrip('.')}. {LOOKS}.")
    corpus, queries = (_one(folder, name, spec) for name in ("corpus.jsonl", "queries.jsonl"))
    judgements = {os.path.basename(path).partition(".tsv")[0]: path
                  for path in sorted(glob.glob(os.path.join(glob.escape(folder), "qrels", "*.tsv*")))}
    return Parts([corpus], {"": queries}, judgements, read_texts, read_texts, "beir",
                 f"there is no file {os.path.join(folder, 'qrels')}/*.tsv.")


def _one(folder: str, name: str, spec: str) -> str:
    for suffix in ("", *PACKED_SUFFIXES):
        if os.path.isfile(path := os.path.join(folder, name + suffix)):
            return path
    raise UserError(f"{spec}: {assets.missing_path(os.path.join(folder, name)).rstrip('.')}. {LOOKS}.")


def read_texts(path: str, encoding: str, told: Told) -> Iterator[Text]:
    """Documents or queries, their titles before their texts."""
    name = os.path.basename(path).partition(".")[0]
    for record in read("jsonl", path, encoding=encoding):
        if isinstance(record, Note):
            told.say(f"{os.path.basename(path)}: {record.text}")
        elif isinstance(record, Broken):
            raise UserError(f"{path}:{record.line}: {record.reason}. Each line of {name}.jsonl is an object such as "
                            '{"_id": "1", "title": "", "text": "..."}.')
        else:
            refuse = functools.partial(_refuse, f"{path}:{record.line}", record.values)
            yield Text(_id(record.values, refuse), _text(record.values, refuse), path, record.line)


def _id(values: dict, refuse) -> str:
    value = next((values[name] for name in IDS if values.get(name) is not None), None)
    if value is None or isinstance(value, (bool, float, dict, list)) or not str(value).strip():
        refuse("its member '_id'", value)
    return str(value).strip()


def _text(values: dict, refuse) -> str:
    parts = [values.get("title"), values.get("text")]
    for name, part in zip(("title", "text"), parts):
        if part is not None and not isinstance(part, str):
            refuse(f"its member {name!r}", part)
    if "text" not in values:
        refuse("its member 'text'", None)
    return " ".join(part.strip() for part in parts if part and part.strip())


def _refuse(place: str, values: dict, what: str, value) -> None:
    is_what = "missing or empty" if value is None or value == "" else f"{value!r:.40}, no text"
    members = ", ".join(map(str, values)) or "none"
    raise UserError(f"{place}: {what} is {is_what}. Its members are {members}; those of BEIR are _id, title and text.")
