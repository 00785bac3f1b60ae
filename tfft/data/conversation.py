"""Conversations: messages with roles, as the data sets of chat models write them.

    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]      OpenAI, Hugging Face
    [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]               ShareGPT
    {"messages": [...], "tools": [...]}, {"system": "...", "conversations": [...]}       a whole row of either
    {"role": ["user", "assistant"], "content": ["Hi", "Hello!"]}                         TensorFlow Datasets
    ["Hi", "Hello!"]                                                                     texts: the user begins, turns alternate

or any of these as JSON, or as Python writes it, in a cell of a table.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tfft.data.fields import Unusable, missing
from tfft.data.literals import literal, looks_literal
from tfft.errors import unknown

SYSTEM, USER, ASSISTANT, TOOL = ROLES = ("system", "user", "assistant", "tool")
NAMES = {"developer": SYSTEM, "human": USER, "prompter": USER, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "bot": ASSISTANT,
         "model": ASSISTANT, "ai": ASSISTANT, "function_call": ASSISTANT, "function": TOOL, "function_response": TOOL,
         "tool_response": TOOL, "observation": TOOL, "ipython": TOOL, **{role: role for role in ROLES}}
LISTS = ("messages", "conversations", "conversation")  # members of an object that hold its messages
# what `oddities` can say, in the words of a report
ODDITIES = {"system_later": "a system message that is not the first", "user_twice": "two messages of the user in a row",
            "assistant_twice": "two messages of the assistant in a row",
            "assistant_first": "an answer before anything is asked (after a system message)",
            "unanswered": "messages behind the last of the assistant's, after which there is nothing to learn"}


class Message(NamedTuple):
    """role: one of ROLES; learn: False for an answer that its file says is not to be learnt (OpenAI's "weight": 0)."""

    role: str
    content: str
    learn: bool = True


def conversation(value: Any, column: str) -> tuple[Message, ...]:
    """The messages of a row to learn from, at least one of them the assistant's.

    Roles are ROLES, whatever the file calls them. A content in parts is their texts, a line each. Of tools all is text: their
    definitions (OpenAI's "tools" beside "messages") stand at the end of the system message between <tools> and </tools>, one as
    JSON a line; a call stands behind the content of its message as <tool_call>, {"name": ..., "arguments": ...} and
    </tool_call>, a line each; what a tool returns is a message of the role tool, its id and name left out. Blank system
    messages are left out.

    Refused are an assistant's message that nothing comes before, and a tool's that no assistant's comes before. What is odd
    otherwise is kept as it is: `oddities`. Raises: Unusable.
    """
    messages = _messages(value, column)
    if all(message.role != ASSISTANT for message in messages):
        raise Unusable(f"column {column!r}: none of its {len(messages)} messages is the assistant's, so there is "
                       "nothing to learn")
    return messages


def prompt(value: Any, column: str) -> tuple[Message, ...]:
    """The messages that an answer is asked for: the last is the user's or a tool's. Raises: Unusable."""
    messages = _messages(value, column)
    if messages[-1].role not in (USER, TOOL):
        raise Unusable(f"column {column!r}: its last message is the {_whose(messages[-1])}, but an answer follows a message of "
                       "the user or a tool")
    return messages


def oddities(messages: Sequence[Message]) -> tuple[str, ...]:
    """What is odd about a conversation that can be learnt from nevertheless, some of ODDITIES, to be counted."""
    roles = [message.role for message in messages]
    pairs = list(zip(roles, roles[1:]))
    found = {"system_later": any(a != SYSTEM and b == SYSTEM for a, b in pairs), "user_twice": (USER, USER) in pairs,
             "assistant_twice": (ASSISTANT, ASSISTANT) in pairs,
             "assistant_first": next((role for role in roles if role != SYSTEM), "") == ASSISTANT,
             "unanswered": roles[-1:] != [ASSISTANT]}
    return tuple(name for name, there in found.items() if there)


def last_answer(messages: Sequence[Message]) -> tuple[tuple[Message, ...], str]:
    """(what comes before the assistant's last message, that message): what to ask, and the reference to judge by.

    user "Hi", assistant "Hello!", user "Bye" -> ((user "Hi",), "Hello!")
    """
    last = max(place for place, message in enumerate(messages) if message.role == ASSISTANT)
    return tuple(messages[:last]), messages[last].content


def as_text(messages: Sequence[Message]) -> str:
    """One line of JSON, which `conversation` reads again: for ids, reports and tables."""
    return json.dumps([{"role": each.role, "content": each.content, **({} if each.learn else {"weight": 0})}
                       for each in messages], ensure_ascii=False)


def _messages(value: Any, column: str) -> tuple[Message, ...]:
    made = []
    for number, each in enumerate(_listed(value, column), 1):
        where = f"column {column!r}: message {number}"
        message = _message(each, where, ASSISTANT if number % 2 == 0 else USER)
        if message.content or message.role != SYSTEM:
            _in_order(message, made, where)
            made.append(message)
    if not made:
        raise Unusable(f"column {column!r} (its messages) is empty")
    return tuple(made)


def _in_order(message: Message, before: list[Message], where: str) -> None:
    if message.role == ASSISTANT and not before:
        raise Unusable(f"{where} is the assistant's, but nothing comes before it that it could answer")
    if message.role == TOOL and all(each.role != ASSISTANT for each in before):
        raise Unusable(f"{where} is a tool's, but no message of the assistant comes before it that could have called one")


def _listed(value: Any, column: str) -> list:
    """The messages as they are written, those that stand beside the list among them."""
    value = _written(value, column)
    if isinstance(value, Mapping):
        beside = [{"role": SYSTEM, "content": value["system"]}] if isinstance(value.get("system"), str) else []
        name = next((name for name in LISTS if not missing(value.get(name))), None)
        if name is not None:
            tools = _written(value.get("tools"), column, optional=True)
            return _with_tools(beside + _listed(value[name], column), tools, column)
        lists = {str(name): each for name, each in value.items() if isinstance(each, (list, tuple))}
        if "role" in lists or "from" in lists:
            return [dict(zip(lists, each)) for each in zip(*lists.values())]
        raise Unusable(f"column {column!r} holds an object with {_members(value)}, but none of {', '.join(LISTS)}")
    return value


def _written(value: Any, column: str, optional: bool = False) -> Any:
    """The list or object that a value is, or is the text of."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if missing(value) or isinstance(value, str) and not value.strip():
        if optional:
            return []
        raise Unusable(f"column {column!r} (its messages) is {'missing' if missing(value) else 'empty'}")
    made = value
    if isinstance(value, str) and looks_literal(value):
        try:
            made = literal(value)
        except ValueError as error:
            raise Unusable(f"column {column!r} holds {value[:40]!r}, which is neither JSON nor a list as Python "
                           "writes it") from error
    if isinstance(made, (list, tuple)):
        return list(made)
    if isinstance(made, Mapping) or optional:
        return made
    raise Unusable(f"column {column!r} holds {value!r:.40}, which is no list of messages such as "
                   '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]')


def _message(value: Any, where: str, turn: str) -> Message:
    """turn: whose a plain text is."""
    if isinstance(value, str):
        value = {"role": turn, "content": value}
    if not isinstance(value, Mapping):
        raise Unusable(f"{where} is {value!r:.40}, which is no object with a role and a content")
    name = _first(value, ("role", "from"))
    if not isinstance(name, str):
        raise Unusable(f"{where} has {_members(value)}, but no 'role' (or 'from') that says whose it is")
    role = NAMES.get(name.strip().lower())
    if role is None:
        raise Unusable(f"{where}: {unknown('role', name, NAMES)}")
    said = _content(_first(value, ("content", "value", "text")), where)
    content = "\n".join(part for part in (said, *_calls(value, where)) if part)
    if not content.strip():
        if role != SYSTEM:
            raise Unusable(f"{where} (the {_whose(Message(role, ''))}) has no content")
        content = ""
    return Message(role, content, value.get("weight") not in (0, "0", False))


def _content(value: Any, where: str) -> str:
    if missing(value):
        return ""
    if isinstance(value, str):
        return value
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, (list, tuple)):
        raise Unusable(f"{where} has the content {value!r:.40}, which is no text")
    texts = []
    for part in value:
        text = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else None
            raise Unusable(f"{where} has a part of the type {kind!r}; only those of the type 'text' can be read" if kind else
                           f"{where} has the part {part!r:.40}, which is no text")
        texts.append(text)
    return "\n".join(texts)


def _calls(value: Mapping, where: str) -> Iterator[str]:
    """The calls of tools as text; `function_call` is what OpenAI had before `tool_calls`."""
    calls = value.get("tool_calls")
    calls = list(calls) if not missing(calls) and isinstance(calls, Sequence) and not isinstance(calls, str) else []
    if isinstance(value.get("function_call"), Mapping):
        calls.append(value["function_call"])
    for call in calls:
        called = call.get("function") if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping) else call
        if not isinstance(called, Mapping) or not isinstance(called.get("name"), str):
            raise Unusable(f"{where} calls a tool that has no name: {call!r:.40}")
        arguments = called.get("arguments", called.get("parameters", {}))
        try:
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            pass  # as the model wrote them
        yield f"<tool_call>\n{_json({'name': called['name'], 'arguments': arguments})}\n</tool_call>"


def _with_tools(messages: list, tools: Any, column: str) -> list:
    """The same with the definitions of tools at the end of the system message."""
    if not tools:
        return messages
    lines = [tool if isinstance(tool, str) else _json(tool) for tool in (tools if isinstance(tools, list) else [tools])]
    told = "\n".join(["<tools>", *lines, "</tools>"])
    first = messages[0] if messages and isinstance(messages[0], Mapping) else {}
    if NAMES.get(str(_first(first, ("role", "from"))).lower()) != SYSTEM:
        return [{"role": SYSTEM, "content": told}, *messages]
    before = _content(_first(first, ("content", "value", "text")), f"column {column!r}: message 1")
    return [{"role": SYSTEM, "content": f"{before}\n\n{told}" if before.strip() else told}, *messages[1:]]


def _first(value: Mapping, names: tuple[str, ...]) -> Any:
    """The first of these members that is there; parquet has all members in all rows, most of them null."""
    return next((value[name] for name in names if not missing(value.get(name))), None)


def _members(value: Mapping) -> str:
    return f"the members {', '.join(map(str, value))}" if value else "no members"


def _whose(message: Message) -> str:
    return {TOOL: "tool's", SYSTEM: "system's"}.get(message.role, f"{message.role}'s")


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
