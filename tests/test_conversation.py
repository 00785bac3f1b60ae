"""Conversations as data sets write them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.data.conversation import ODDITIES, ROLES, Message, as_text, conversation, last_answer, oddities, prompt
from tfft.data.conversation_columns import Shape, instruction, shape
from tfft.data.fields import Unusable

TALK = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello!"))
OPENAI = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
          {"role": "assistant", "content": "Hello!"}]
SHAREGPT = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]


@pytest.mark.parametrize("value", [
    OPENAI, SHAREGPT, tuple(OPENAI), np.array(OPENAI, object), json.dumps(OPENAI), json.dumps(SHAREGPT), repr(OPENAI),
    {"messages": OPENAI}, {"conversations": SHAREGPT}, json.dumps({"id": 7, "conversations": SHAREGPT}),
    {"messages": None, "conversations": SHAREGPT}, {"messages": json.dumps(OPENAI)},
    {"system": "Be brief.", "conversations": SHAREGPT[1:]},
    {"role": ["system", "user", "assistant"], "content": ["Be brief.", "Hi", "Hello!"]},
    [{"role": "developer", "content": "Be brief."}, {"role": "User", "text": "Hi"}, {"from": "model", "content": "Hello!"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
     {"role": "assistant", "content": ["Hello!"], "name": None}],
    [{"role": "system", "content": "Be brief.", "from": None, "value": None}, {"from": "prompter", "value": "Hi", "role": None},
     {"from": "bot", "value": "Hello!", "content": float("nan")}],
], ids=lambda value: str(value)[:60])
def test_one_conversation_in_all_its_forms(value):
    assert conversation(value, "messages") == TALK and oddities(TALK) == ()


def test_texts_alternate():
    assert conversation(["Hi", "Hello!", "Bye"], "turns") == (
        Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "Bye"))


def test_parts_are_lines_and_a_blank_system_message_is_none():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert conversation([{"role": "system", "content": " "}, {"role": "user", "content": parts}, *OPENAI[2:]], "messages") == (
        Message("user", "one\ntwo"), TALK[2])


def test_tools_are_text():
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": "é"}'}}
    made = conversation({"tools": [tool], "messages": [
        OPENAI[1], {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "1"},
        {"role": "assistant", "content": "It is 2.", "tool_calls": None}]}, "row")
    assert made == (Message("system", f"<tools>\n{json.dumps(tool)}\n</tools>"), Message("user", "Hi"),
                    Message("assistant", '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "é"}}\n</tool_call>'),
                    Message("tool", "2"), Message("assistant", "It is 2."))
    assert oddities(made) == ()
    with_system = conversation({"messages": OPENAI, "tools": json.dumps([tool])}, "row")
    assert with_system[0].content == f"Be brief.\n\n<tools>\n{json.dumps(tool)}\n</tools>" and with_system[1:] == TALK[1:]
    assert conversation({"messages": OPENAI, "tools": ""}, "row") == TALK
    plain = conversation({"messages": OPENAI, "tools": "add(a, b)"}, "row")[0]
    assert plain.content == "Be brief.\n\n<tools>\nadd(a, b)\n</tools>"
    older = {"role": "assistant", "content": "Wait.", "function_call": {"name": "add", "arguments": "not json"}}
    assert conversation([OPENAI[1], older], "messages")[1].content == (
        'Wait.\n<tool_call>\n{"name": "add", "arguments": "not json"}\n</tool_call>')


def test_an_answer_of_weight_0_is_not_learnt():
    made = conversation([*OPENAI[:2], {**OPENAI[2], "weight": 0}, {**OPENAI[1], "weight": None}, {**OPENAI[2], "weight": 1}],
                        "messages")
    assert [message.learn for message in made] == [True, True, False, True, True]
    assert conversation(as_text(made), "messages") == made


USER, ANSWER = OPENAI[1:]
NO_LIST = ("column 'chat' holds {}, which is no list of messages such as "
           '[{{"role": "user", "content": "Hi"}}, {{"role": "assistant", "content": "Hello!"}}]')


@pytest.mark.parametrize(("value", "reason"), [
    (None, "column 'chat' (its messages) is missing"),
    (float("nan"), "column 'chat' (its messages) is missing"),
    (" ", "column 'chat' (its messages) is empty"),
    ([], "column 'chat' (its messages) is empty"),
    ("[]", "column 'chat' (its messages) is empty"),
    ([{"role": "system", "content": ""}], "column 'chat' (its messages) is empty"),
    (3, NO_LIST.format(3)), ("Hello", NO_LIST.format("'Hello'")),
    ("[{'role': user}]", "column 'chat' holds \"[{'role': user}]\", which is neither JSON nor a list as Python writes it"),
    ({"text": "a", "id": 1}, "column 'chat' holds an object with the members text, id, but none of messages, conversations, "
                             "conversation"),
    ([3], "column 'chat': message 1 is 3, which is no object with a role and a content"),
    ([USER, {"content": "a", "speaker": "b"}], "column 'chat': message 2 has the members content, speaker, but no "
                                               "'role' (or 'from') that says whose it is"),
    ([USER, {}], "column 'chat': message 2 has no members, but no 'role' (or 'from') that says whose it is"),
    ([USER, {"role": "asistant", "content": "a"}],
     "column 'chat': message 2: Unknown role 'asistant'. Did you mean 'assistant'?"),
    ([USER, {"role": "assistant", "content": None}], "column 'chat': message 2 (the assistant's) has no content"),
    ([USER, {"role": "assistant", "content": " \n"}], "column 'chat': message 2 (the assistant's) has no content"),
    ([{"role": "user", "content": []}, ANSWER], "column 'chat': message 1 (the user's) has no content"),
    ([{"role": "user", "content": {"a": 1}}, ANSWER], "column 'chat': message 1 has the content {'a': 1}, which is no text"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, ANSWER],
     "column 'chat': message 1 has a part of the type 'image_url'; only those of the type 'text' can be read"),
    ([{"role": "user", "content": [5]}, ANSWER], "column 'chat': message 1 has the part 5, which is no text"),
    ([USER, {"role": "assistant", "tool_calls": [{"id": 1}]}],
     "column 'chat': message 2 calls a tool that has no name: {'id': 1}"),
    ([ANSWER, USER, ANSWER], "column 'chat': message 1 is the assistant's, but nothing comes before it that it could answer"),
    ([USER, {"role": "tool", "content": "1"}, ANSWER], "column 'chat': message 2 is a tool's, but no message of the assistant "
                                                       "comes before it that could have called one"),
    ([USER, USER], "column 'chat': none of its 2 messages is the assistant's, so there is nothing to learn"),
])
def test_malformed_conversations(value, reason):
    with pytest.raises(Unusable) as error:
        conversation(value, "chat")
    assert str(error.value).startswith(reason) and (str(error.value) == reason or "Unknown role" in reason)


@pytest.mark.parametrize(("roles", "odd"), [
    ("system user assistant", ()), ("user assistant system user assistant", ("system_later",)),
    ("user user assistant", ("user_twice",)), ("user assistant assistant", ("assistant_twice",)),
    ("system assistant user assistant", ("assistant_first",)), ("user assistant user", ("unanswered",)),
    ("system system user assistant tool assistant", ()), ("user assistant tool", ("unanswered",)),
])
def test_what_is_odd_is_kept_and_told(roles, odd):
    made = conversation([{"role": role, "content": "a"} for role in roles.split()], "messages")
    assert " ".join(message.role for message in made) == roles
    assert oddities(made) == odd and all(name in ODDITIES for name in odd)


def test_prompts_end_where_an_answer_is_asked_for():
    assert prompt(OPENAI[:2], "messages") == TALK[:2]
    assert prompt('["Hi"]', "messages") == TALK[1:2]
    for value, whose in ((OPENAI, "assistant's"), (OPENAI[:1], "system's")):
        with pytest.raises(Unusable, match=f"its last message is the {whose}, but an answer follows a message of the user or"):
            prompt(value, "messages")


def test_what_to_ask_and_what_to_judge_by():
    assert last_answer(TALK) == (TALK[:2], "Hello!")
    assert last_answer([*TALK, Message("user", "Bye")]) == (TALK[:2], "Hello!")


@given(st.lists(st.builds(Message, st.sampled_from(ROLES), st.text(min_size=1).filter(str.strip), st.booleans())))
def test_text_of_a_conversation_is_read_again(messages):
    messages = (Message("user", "a"), Message("assistant", "b"), *messages)
    assert conversation(as_text(messages), "messages") == messages


MEMBERS = st.sampled_from(["role", "from", "content", "value", "text", "messages", "system", "tools", "tool_calls", "name"])
SCALARS = st.sampled_from([None, "", "user", "assistant", "gpt", "system", "tool", "a", "[]", '["a", "b"]', 0, 1.5, True,
                           float("nan")])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    MEMBERS, inner, max_size=4), max_leaves=12)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(VALUES, st.lists(st.dictionaries(MEMBERS, VALUES, max_size=4), max_size=3))
def test_whatever_a_file_holds_is_a_conversation_or_broken(value, objects):
    for each in (value, objects, {"messages": objects, "tools": value}, [*OPENAI, *objects]):
        try:
            made = conversation(each, "chat")
        except Unusable as reason:
            assert str(reason).startswith("column 'chat'")
        else:
            assert all(message.role in ROLES and message.content.strip() for message in made)
            assert set(oddities(made)) <= set(ODDITIES)


@pytest.mark.parametrize(("values", "found"), [
    ({"messages": [OPENAI]}, Shape("messages", {"messages": "messages"})),
    ({"id": [1], "Conversations": [SHAREGPT, None]}, Shape("conversations", {"messages": "Conversations"})),
    ({"messages": [json.dumps(OPENAI)], "tools": ["[]"], "system": ["Be."]},
     Shape("messages", {"messages": "messages", "system": "system", "tools": "tools"})),
    ({"instruction": ["Add."], "input": ["1 2"], "output": ["3"], "text": ["Below ..."]},
     Shape("alpaca", {"prompt": "instruction", "extra": "input", "response": "output"})),
    ({"instruction": ["Add 1 and 2."], "output": ["3"]}, Shape("alpaca", {"prompt": "instruction", "response": "output"})),
    ({"instruction": ["a"], "context": [""], "response": ["c"], "category": ["qa"]},
     Shape("prompt/response", {"prompt": "instruction", "response": "response"})),
    ({"instruction": ["a", "b"], "context": ["", "d"], "response": ["c", "e"], "category": ["qa", "qa"]},
     Shape("dolly", {"prompt": "instruction", "extra": "context", "response": "response"})),
    ({"system_prompt": ["Be."], "question": ["a"], "response": ["b"]},
     Shape("prompt/response", {"prompt": "question", "response": "response", "system": "system_prompt"})),
    ({"prompt": ["a"], "completion": ["b"]}, Shape("prompt/response", {"prompt": "prompt", "response": "completion"})),
    ({"dialogue": ["A: Hi\nB: Hello"], "summary": ["They meet."]},
     Shape("prompt/response", {"prompt": "dialogue", "response": "summary"})),
    ({"text": ["Once upon a time."], "label": [1]}, Shape("text", {"text": "text"})),
    ({"messages": ["Hi", "Hello"]}, None), ({"messages": [OPENAI, [ANSWER], [ANSWER]]}, None), ({"label": [1]}, None),
    ({}, None),
    ({"prompt": [1], "response": [2]}, None),
], ids=str)
def test_files_are_recognised(values, found):
    assert shape(values) == found


def test_an_instruction_with_what_it_is_about():
    assert instruction("Translate.", "Guten Tag") == "Translate.\n\nGuten Tag"
    assert {instruction("Tell a joke.", extra) for extra in (" ", "", None)} == {"Tell a joke."}
