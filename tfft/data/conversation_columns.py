"""Which columns of a file hold conversations, prompts and responses: Alpaca, Dolly, ShareGPT, OpenAI and their like."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfft.data.conversation import LISTS, conversation
from tfft.data.fields import Unusable, missing
from tfft.data.look import plain

# (kind, part -> the names that its column may have); all parts but those in OPTIONAL must be there
TABLES = (
    ("alpaca", {"prompt": ("instruction",), "extra": ("input",), "response": ("output",)}),
    ("dolly", {"prompt": ("instruction",), "extra": ("context",), "response": ("response",)}),
    ("prompt/response", {"prompt": ("prompt", "instruction"), "response": ("response", "completion", "output", "answer")}),
    ("prompt/response", {"prompt": ("question", "query", "user", "human"), "response": ("answer", "response", "assistant")}),
    ("prompt/response", {"prompt": ("input",), "response": ("output", "response")}),
    ("prompt/response", {"prompt": ("source", "src"), "response": ("target", "tgt")}),
    ("prompt/response", {"prompt": ("document", "article", "dialogue", "text"), "response": ("summary", "highlights")}),
)
TEXTS = ("text", "content", "document")
SYSTEMS = ("system", "system_prompt")
CHATS = (*LISTS, "chat", "dialog", "dialogue", "turns")
SURE = 0.9  # of the values of a column of messages must be conversations


class Shape(NamedTuple):
    """kind: messages (OpenAI's), conversations (ShareGPT's), alpaca, dolly, prompt/response or text; columns: of its parts by
    their names: messages, tools; prompt, extra, response; text; and system, where there is one."""

    kind: str
    columns: dict[str, str]


def shape(values: Mapping[str, Sequence[Any]]) -> Shape | None:
    """What a file is, by some values of each of its columns; None where it is nothing of the kind.

    {"instruction": ["Add."], "input": ["1 2"], "output": ["3"]}
    -> Shape("alpaca", {"prompt": "instruction", "extra": "input", "response": "output"})
    """
    known = {plain(column): column for column in values}
    system = next((known[name] for name in SYSTEMS if name in known and _texts(values[known[name]])), None)
    systems = {"system": system} if system else {}
    for name in CHATS:
        if name in known and (kind := _messages(values[known[name]], known[name])):
            return Shape(kind, {"messages": known[name], **systems, **({"tools": known["tools"]} if "tools" in known else {})})
    for kind, parts in TABLES:
        columns = {part: column for part, names in parts.items()
                   if (column := next((known[name] for name in names if name in known), None)) is not None
                   and _texts(values[column])}
        if columns.keys() == parts.keys() or kind == "alpaca" and len(known) == 2 and {"prompt", "response"} == columns.keys():
            return Shape(kind, {**columns, **systems})
    text = next((known[name] for name in TEXTS if name in known and _texts(values[known[name]])), None)
    return Shape("text", {"text": text}) if text else None


def instruction(prompt: str, extra: Any = None) -> str:
    """A prompt of an instruction and what it is about, with a blank line between, as Alpaca and Dolly have them.

    ("Translate.", "Guten Tag") -> "Translate.\\n\\nGuten Tag"; ("Tell a joke.", "") -> "Tell a joke."
    """
    return f"{prompt}\n\n{extra}" if isinstance(extra, str) and extra.strip() else prompt


def _messages(values: Sequence[Any], column: str) -> str:
    """"messages" or "conversations", by how most values are written; "" where they are no conversations."""
    good = written = 0
    there = [value for value in values if not missing(value)]
    for value in there:
        try:
            conversation(value, column)
        except Unusable:
            continue
        good += 1
        written += "'from'" in (head := str(value)[:300]) or '"from"' in head
    if not there or good < SURE * len(there):
        return ""
    return "conversations" if written > good / 2 else "messages"


def _texts(values: Sequence[Any]) -> bool:
    """Whether a column holds texts, some of them perhaps empty."""
    there = [value for value in values if not missing(value)]
    return all(isinstance(value, str) for value in there) and any(value.strip() for value in there)
