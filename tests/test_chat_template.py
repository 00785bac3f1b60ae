"""Chat templates: what is rendered, and what of it is learnt."""

import dataclasses
import json
import pickle

import chat_templates
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.data.chat_formats import NAMED
from tfft.data.chat_parts import Part, _filled, cut
from tfft.data.chat_template import Around, ChatTemplate, Refused, of_checkpoint
from tfft.data.conversation import Message
from tfft.errors import UserError

EVERY = {**NAMED, **chat_templates.ALL}
TALK = (Message("system", "Be brief."), Message("user", " Hi"), Message("assistant", "Hello! "), Message("user", "Bye"),
        Message("assistant", "See you."))
SMOL = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def template(name: str, **others) -> ChatTemplate:
    return ChatTemplate(EVERY[name], **{"bos": "<s>", "eos": "</s>", "label": name, "date": "2026-05-01", **others})


def learnt(parts: list[Part]) -> list[str]:
    return [part.text for part in parts if part.learn]


@pytest.mark.parametrize(("name", "whole", "end"), [
    ("chatml", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi<|im_end|>\n"
               "<|im_start|>assistant\nHello! <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
               "<|im_start|>assistant\nSee you.<|im_end|>\n", "<|im_end|>"),
    ("llama3", "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
               "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
               "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\nSee you.<|eot_id|>", "<|eot_id|>"),
    ("gemma", "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
              "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\nSee you.<end_of_turn>\n", "<end_of_turn>"),
    ("plain", "Be brief.\n\n HiHello! </s>ByeSee you.</s>", "</s>"),
])
def test_named_templates_are_what_is_documented(name, whole, end):
    chat = ChatTemplate(name, "<s>", "</s>")
    assert chat.render(TALK, False) == whole and chat.end == end and chat.name == name
    prompt = chat.render(TALK[:-1], True)
    assert whole.startswith(prompt) and whole[len(prompt):].rstrip("\n") == "See you." + end


def test_names_without_the_tokenizers_tokens():
    assert ChatTemplate("llama3").render(TALK[:1], False).startswith("<|begin_of_text|><|start_header_id|>system")
    assert ChatTemplate("gemma").render(TALK[1:2], False) == "<bos><start_of_turn>user\nHi<end_of_turn>\n"
    plain = ChatTemplate("plain")
    assert plain.end == "" and plain.parts(TALK[1:3], "responses") == [Part(" Hi", False), Part("Hello! ", True)]
    assert plain.render([*TALK[:2], Message("user", "you")], True) == "Be brief.\n\n Hi\n\nyou"


def test_smollm2_is_rendered_as_transformers_does(tmp_path):
    """Expected: apply_chat_template of transformers 5.24 with the template of SmolLM2-135M-Instruct, which this one is written
    after."""
    chat = of_checkpoint({"tokenizer_config.json": json.dumps({
        "chat_template": chat_templates.DEFAULT_SYSTEM.replace("Be kind.", SMOL), "bos_token": "<|im_start|>",
        "eos_token": {"content": "<|im_end|>", "special": True}})})
    system = f"<|im_start|>system\n{SMOL}<|im_end|>\n"
    asked = [Message("user", " What is 2+2?\n"), Message("assistant", "4 "), Message("user", "Thanks")]
    assert chat.render(asked, True) == (
        f"{system}<|im_start|>user\n What is 2+2?\n<|im_end|>\n<|im_start|>assistant\n4 <|im_end|>\n"
        "<|im_start|>user\nThanks<|im_end|>\n<|im_start|>assistant\n")
    assert chat.render([Message("system", "Be brief."), *asked[:2]], False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n What is 2+2?\n<|im_end|>\n"
        "<|im_start|>assistant\n4 <|im_end|>\n")
    assert learnt(chat.parts(asked[:2], "responses")) == ["4 <|im_end|>"]
    assert chat.around() == Around(f"{system}<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", False)
    assert chat.eos == chat.end == "<|im_end|>" and chat.bos == "<|im_start|>"


@pytest.mark.parametrize(("name", "end", "answers"), [
    ("chatml", "<|im_end|>", ["Hello! <|im_end|>", "See you.<|im_end|>"]),
    ("llama3", "<|eot_id|>", ["Hello!<|eot_id|>", "See you.<|eot_id|>"]),
    ("gemma", "<end_of_turn>", ["Hello!<end_of_turn>", "See you.<end_of_turn>"]),
    ("plain", "</s>", ["Hello! </s>", "See you.</s>"]),
    ("DEFAULT_SYSTEM", "<|im_end|>", ["Hello! <|im_end|>", "See you.<|im_end|>"]),
    ("DATED", "<|eot_id|>", ["Hello!<|eot_id|>", "See you.<|eot_id|>"]),
    ("BRACKETS", "</s>", [" Hello! </s>", " See you. </s>"]),
    ("THINKING", "<|im_end|>", ["Hello! <|im_end|>", "<think>\n\n</think>\n\nSee you.<|im_end|>"]),
    ("OPENED_THOUGHT", "<|end|>", ["Hello! <|end|>", "See you.<|end|>"]),
    ("WORDED", "\n\n", ["Hello! \n\n", "See you.\n\n"]),
])
def test_answers_and_what_ends_them_are_learnt(name, end, answers):
    chat = template(name)
    assert chat.end == end
    assert learnt(chat.parts(TALK, "responses")) == answers
    assert learnt(chat.parts(TALK, "last")) == answers[1:]
    assert chat.parts(TALK, "all") == [Part(chat.render(TALK, False), True)]
    quiet = [message._replace(learn=message.content != "See you.") for message in TALK]
    assert learnt(chat.parts(quiet, "responses")) == answers[:1] and learnt(chat.parts(quiet, "last")) == []


def test_what_a_template_puts_before_an_answer_is_learnt_unless_the_prompt_has_it():
    thought = [Message("user", "Hi"), Message("assistant", "<think>\nA greeting.\n</think>\n\nHello!")]
    assert learnt(template("THINKING").parts(thought, "responses")) == ["<think>\nA greeting.\n</think>\n\nHello!<|im_end|>"]
    silent = template("THINKING", variables={"enable_thinking": False})
    assert learnt(silent.parts(thought, "responses")) == ["A greeting.\n</think>\n\nHello!<|im_end|>"]
    assert learnt(silent.parts(TALK, "responses")) == ["Hello! <|im_end|>", "See you.<|im_end|>"]
    assert learnt(template("OPENED_THOUGHT").parts(thought, "responses")) == ["\n\nHello!<|end|>"]
    turns = [*thought, Message("user", "Bye"), thought[1]]
    assert learnt(template("THINKING").parts(turns, "responses")) == [
        "Hello!<|im_end|>", "<think>\nA greeting.\n</think>\n\nHello!<|im_end|>"]


def test_answers_of_templates_that_look_into_contents_and_are_not_stable():
    thought = [Message("user", "Hi"), Message("assistant", "<think>\nA greeting.\n</think>\n\nHello!")]
    answer = ["<think>\nA greeting.\n</think>\n\nHello!<|im_end|>"]
    deaf = ChatTemplate("{%- set messages = messages | selectattr('role', 'ne', 'system') | list %}" + chat_templates.THINKING)
    assert learnt(deaf.parts([TALK[0], *thought], "responses")) == answer  # nothing is where the system's message could be
    counting = ChatTemplate("{{ messages | length }}\n" + chat_templates.THINKING)
    assert learnt(counting.parts(thought, "responses")) == answer  # the prompt is no beginning of the whole
    asking = ChatTemplate("{% for m in messages %}{{ m.content }}{% if '?' in m.content %} (asked){% endif %}{% endfor %}")
    assert learnt(asking.parts([Message("user", "a"), Message("assistant", "b?")], "responses")) == ["b? (asked)"]


def test_the_tokenizers_end_is_known_however_it_looks():
    chat = ChatTemplate("{% for m in messages %}{{ m.content }}{{ eos_token }}--{% endfor %}", eos="END")
    assert chat.end == "END" and learnt(chat.parts(TALK[:3], "responses")) == ["Hello! END"]


PIECES = ["a", "See", " ", "\n", "<think>", "</think>", "<|im_end|>", "<|im_start|>", "assistant\n", "[INST] ", " [/INST]",
          "</s>", "é日", "{{ x }}", "### Response:\n", "\ue000", "\ue003", "<end_of_turn>\n<start_of_turn>model\n",
          "<|Assistant|>"]
CONTENTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)


@st.composite
def talks(draw, loose: bool) -> list[Message]:
    """Conversations; with `loose` also of roles in a row, tools and no answer at the end."""
    turns = draw(st.integers(1, 3))
    roles = ["system"] * draw(st.integers(0, 1)) + ["user", "assistant"] * turns
    if loose:
        roles += draw(st.lists(st.sampled_from(["user", "assistant", "tool", "system"]), max_size=3))
    return [Message(role, draw(CONTENTS)) for role in roles]


@pytest.mark.parametrize("name", sorted(EVERY))
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_parts_are_the_whole_and_only_answers_are_learnt(name, data):
    """Every message has a letter of its own beside nasty pieces; the answers' letters and no others are learnt."""
    chat = template(name)
    talk = data.draw(talks(loose=name not in ("BRACKETS",)))
    letters = [chr(0x410 + place) for place in range(len(talk))]
    talk = [message._replace(content=f"{message.content}{letter}{data.draw(st.sampled_from(['', ' ', chr(10)]))}")
            for message, letter in zip(talk, letters)]
    whole = chat.render(talk, False)
    for learn in ("responses", "last", "all"):
        parts = chat.parts(talk, learn)
        answers = [letter for letter, message in zip(letters, talk) if message.role == "assistant"]
        assert "".join(part.text for part in parts) == whole
        assert all(part.text for part in parts)
        marked = {letter for letter in letters if any(letter in part.text for part in parts if part.learn)}
        if learn == "all":
            assert marked == {letter for letter in letters if letter in whole}
        else:
            assert marked == set(answers if learn == "responses" else answers[-1:])
            for text in learnt(parts):
                assert text.endswith(chat.end)
                assert sum(letter in text for letter in letters) == 1
    (skeleton,) = chat._cutter.skeletons.values()
    if skeleton and (quick := _filled(skeleton, talk, whole)):  # the slow way is right too
        assert quick == chat._cutter._by_differences(talk, skeleton, whole)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_around_makes_the_prompts_that_rendering_makes(name):
    chat = template(name)
    for before in ((), (TALK[0],)):
        around = chat.around(before)
        assert around.strip == (name in ("llama3", "gemma", "DATED"))
        for words in ("Hi", "  a\n{{ b }}\t", "<|im_end|>", "日本\n\né"):
            said = words.strip() if around.strip else words
            assert chat.render([*before, Message("user", words)], True) == around.before + said + around.after


@pytest.mark.parametrize(("source", "words"), [
    ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "makes something else of '<think>...</think>...'"),
    ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "writes the user's words 2 times"),
    ("{{ 'Hello' }}", "writes the user's words 0 times"),
    ("{% for m in messages %}{{ m.content.rstrip() }}{% endfor %}", "removes some of the blanks"),
    ("{% for m in messages %}{{ m.content | replace('\\n', ' ') }}{% endfor %}", r"makes something else of '...\\n...'"),
    ("{% for m in messages %}{{ m.content | e }}{% endfor %}", "makes something else of"),
])
def test_prompts_that_are_no_concatenation_are_refused(source, words):
    with pytest.raises(UserError) as error:
        ChatTemplate(source).around()
    assert words.replace("\\\\", "\\") in str(error.value)


def test_answers_that_cannot_be_found_are_refused():
    for source, times in (("{% for m in messages %}{{ m.content }}|{{ m.content }}{% endfor %}", 2),
                          ("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}", 0)):
        with pytest.raises(UserError, match=f"writes message 3 of a conversation of 5 \\(assistant\\) {times} times"):
            ChatTemplate(source).parts(TALK, "responses")


@pytest.mark.parametrize(("source", "words"), [
    ("{% for m in messages %}", "The chat template mine is no Jinja template: line 1: Unexpected end of template."),
    ("{{ raise_exception('Only user and assistant roles are supported!') }}",
     "The chat template mine does not render a conversation of user: Only user and assistant roles are supported!"),
    ("{{ messages[0].content + none }}", "does not render a conversation of user: TypeError: "),
    ("{{ messages[0].mind.state }}", "does not render a conversation of user: 'dict object' has no attribute 'mind'"),
    ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
    ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
])
def test_a_templates_errors_are_told_with_its_name(source, words):
    with pytest.raises(UserError) as error:
        ChatTemplate(source, label="mine").render([Message("user", "Hi")], True)
    assert words in str(error.value)


def test_what_is_refused_for_its_roles_can_be_told_from_a_wrong_template():
    with pytest.raises(Refused, match="conversation of user, user: Roles must alternate"):
        template("BRACKETS").parts([Message("user", "a"), Message("user", "b")], "responses")
    with pytest.raises(UserError) as error:
        ChatTemplate("{% if %}").render(TALK, False)
    assert not isinstance(error.value, Refused)
    with pytest.raises(UserError, match="Unknown chat template 'chatlm'. Did you mean 'chatml'\\? Known: chatml, llama3"):
        ChatTemplate("chatlm")


def test_what_hugging_faces_templates_may_call():
    chat = ChatTemplate("{{ {'a': '<é>'} | tojson }} {{ strftime_now('%Y-%m-%d') }} {{ [1] | tojson(indent=1) }}"
                        "{% for m in [1, 2] %}{% break %}{% endfor %}{% generation %}x{% endgeneration %}"
                        "{% if true %}\n y{% endif %}{{ tools }}",
                        date="2026-05-01")
    assert chat.render([], False) == '{"a": "<é>"} 2026-05-01 [\n 1\n]x yNone'


def test_a_template_is_saved_as_json_and_sent_to_another_process():
    chat = template("DATED", variables={"enable_thinking": False})
    whole = chat.render(TALK, False)
    assert "Today Date: 01 May 2026" in whole
    assert ChatTemplate(**json.loads(json.dumps(dataclasses.asdict(chat)))).render(TALK, False) == whole
    assert pickle.loads(pickle.dumps(chat)).parts(TALK, "last") == chat.parts(TALK, "last")


def test_templates_of_checkpoints():
    files = {}

    def write(**config) -> None:
        files["tokenizer_config.json"] = json.dumps(config)

    assert of_checkpoint(files) is None
    write(bos_token=None, eos_token="</s>")
    assert of_checkpoint(files) is None
    files["special_tokens_map.json"] = '{"bos_token": {"content": "<s>"}}'
    write(eos_token="</s>", chat_template=[{"name": "tool_use", "template": "{{ 1 }}"},
                                           {"name": "default", "template": "{{ 2 }}"}])
    chat = of_checkpoint(files, date="2026-05-01")
    assert (chat.source, chat.bos, chat.eos, chat.date) == ("{{ 2 }}", "<s>", "</s>", "2026-05-01")
    assert chat.name == "of the checkpoint"
    write(chat_template=[{"name": "a", "template": "{{ 1 }}"}, {"name": "b", "template": "{{ 2 }}"}])
    with pytest.raises(UserError, match="has the chat templates a, b, and none is the default"):
        of_checkpoint(files)
    files["chat_template.jinja"] = "{{ 3 }}"
    assert of_checkpoint(files).source == "{{ 3 }}"
    files["tokenizer_config.json"] = "{"
    with pytest.raises(UserError, match="tokenizer_config.json is no JSON"):
        of_checkpoint(files)


def test_cut():
    assert cut("Hi! Hello.", [(4, 10)]) == [Part("Hi! ", False), Part("Hello.", True)]
    assert cut("", []) == [] and cut("ab", [(0, 1), (1, 2)]) == [Part("a", True), Part("b", True)]
