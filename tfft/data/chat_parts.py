"""Cuts a rendered conversation into what is learnt and what is not, whatever the template.

A template is a program: it may trim what is said, put a system's message elsewhere, or leave the thoughts of earlier turns
out. So messages are found where the template has put them. The conversation is rendered once more with marks for what is said,
and the marks are where the contents are:

    <|im_start|>user\\nMARK0<|im_end|>\\n<|im_start|>assistant\\nMARK1<|im_end|>\\n        the skeleton of (user, assistant)

What stands between the marks is the same for all conversations with these roles, and kept. A conversation that is its skeleton
with its own contents, trimmed perhaps, is cut at once; one that is not, for the template looks into contents, is rendered with
a mark for each of its messages in turn: a message stands where the two texts differ.

An answer begins where the prompt for it ends, and ends with the token that ends it:

    <|im_start|>assistant\\n | Hello!<|im_end|> | \\n
"""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tfft.data.conversation import ASSISTANT, USER, Message
from tfft.errors import UserError

LEARN = ("responses", "all", "last")
# what ends an answer: a token such as <|im_end|>, </s> or [EOS], else what stands up to the next blank
END = re.compile(r"\s*(?:<[^<>\s]+>|\[[^\[\]\s]+\]|\S+)")
PRIVATE = range(0xE000, 0xF8FF)  # characters that no text should have: marks are made of them
TRIMS = (str, str.strip, str.rstrip, str.lstrip, lambda text: text.strip("\n"), lambda text: text.lstrip("\n"))
Render = Callable[[Sequence[Message], bool], str]


class Part(NamedTuple):
    text: str
    learn: bool


class Uncut(UserError):
    """It cannot be said where the answers of a conversation are."""


class Skeleton(NamedTuple):
    """text: what stands before the first mark, between two, and after the last; places: whose mark each is; prompts: by the
    place of an answer, what stands between the mark before it and the answer in a prompt for it, None where there is none."""

    text: tuple[str, ...]
    places: tuple[int, ...]
    prompts: dict[int, str | None]


class Cutter:
    """render(messages, for_answer): the template; raises UserError. eos: the tokenizer's token, where the template uses it."""

    def __init__(self, render: Render, eos: str, name: str):
        self.render, self.eos, self.name = render, eos, name
        self.skeletons: dict[tuple[str, ...], Skeleton | None] = {}
        mark = chr(PRIVATE[0])
        end = self.render([Message(USER, "a"), Message(ASSISTANT, mark)], False).partition(mark)[2]
        self.end = self._end_of(end)

    def _end_of(self, rest: str) -> str:
        """What ends an answer, of all that stands behind it; the blanks before it are part of it. '' where nothing does."""
        bare = rest.lstrip()
        if self.eos and bare.startswith(self.eos):
            return rest[:len(rest) - len(bare) + len(self.eos)]
        found = END.match(rest)
        return found[0] if found else rest

    def answers(self, messages: Sequence[Message], text: str) -> dict[int, tuple[int, int]]:
        """Where each answer stands in the rendered text, with what ends it, by its place among the messages."""
        roles = tuple(message.role for message in messages)
        if roles not in self.skeletons:
            self.skeletons[roles] = self._skeleton(roles)
        skeleton = self.skeletons[roles]
        found = skeleton and _filled(skeleton, messages, text)
        spans = found or self._by_differences(messages, skeleton, text)
        return {place: (begin, stop + len(self.end) if text.startswith(self.end, stop) else stop)
                for place, (begin, stop) in spans.items()}

    def _skeleton(self, roles: tuple[str, ...]) -> Skeleton | None:
        """None where the template does not put each message in one place, or refuses such marks."""
        marks = [chr(code) for code in itertools.islice(PRIVATE, len(roles))]
        said = [Message(*each) for each in zip(roles, marks)]
        if len(marks) < len(roles):
            return None
        try:
            whole = self.render(said, False)
        except UserError:
            return None
        pieces = re.split(f"([{marks[0]}-{marks[-1]}])", whole)
        places = tuple(marks.index(mark) for mark in pieces[1::2])
        if sorted(places) != list(range(len(roles))):
            return None
        prompts = {place: self._prompt(said[:place]) for place, role in enumerate(roles) if role == ASSISTANT}
        return Skeleton(tuple(pieces[::2]), places, prompts)

    def _prompt(self, before: Sequence[Message]) -> str | None:
        """What stands behind the last mark in a prompt for an answer."""
        if not before:
            return None
        try:
            asked = self.render(before, True)
        except UserError:
            return None
        return asked[max(asked.rfind(message.content) for message in before) + 1:]

    def _by_differences(self, messages: Sequence[Message], skeleton: Skeleton | None, text: str) -> dict[int, tuple[int, int]]:
        """The same from what changes when one message changes."""
        spans = {}
        for place, message in enumerate(messages):
            if message.role == ASSISTANT:
                begin, stop = self._span(messages, place, text)
                spans[place] = self._begin(messages, place, skeleton, text, begin), stop
        return spans

    def _begin(self, messages: Sequence[Message], place: int, skeleton: Skeleton | None, text: str, begin: int) -> int:
        """Where an answer begins whose own words begin at `begin`: what a template puts before them, such as an empty thought,
        is learnt too."""
        try:
            asked = self.render(messages[:place], True) if place else None
        except UserError:
            asked = None
        if asked and len(asked) <= begin and text.startswith(asked):
            return len(asked)
        prompt = skeleton.prompts[place] if skeleton else None
        if prompt:
            try:
                before = self._span(messages, place - 1, text)[1]
            except Uncut:
                return begin
            if before + len(prompt) <= begin and text.startswith(prompt, before):
                return before + len(prompt)
        return begin

    def _span(self, messages: Sequence[Message], place: int, text: str) -> tuple[int, int]:
        """Where a message stands."""
        said = {character for message in messages for character in message.content}
        mark = next((chr(code) for code in PRIVATE if chr(code) not in said), "")
        other = self.render([*messages[:place], messages[place]._replace(content=mark), *messages[place + 1:]], False)
        if not mark or other.count(mark) != 1:
            raise Uncut(f"The chat template {self.name} writes message {place + 1} of a conversation of {len(messages)} "
                        f"({messages[place].role}) {other.count(mark) if mark else 'many'} times, so that it cannot be told "
                        "what is learnt of it. Use another template, or leave such rows out.")
        begin = _common(text, other)
        stop = len(text) - _common(text[begin:][::-1], other[begin:][::-1])
        return begin, stop


def cut(text: str, spans: Sequence[tuple[int, int]]) -> list[Part]:
    """A text in parts, those in spans (ascending) to be learnt.

    ("Hi! Hello.", [(4, 10)]) -> [Part("Hi! ", False), Part("Hello.", True)]
    """
    made, at = [], 0
    for begin, stop in spans:
        made += [Part(text[at:begin], False), Part(text[begin:stop], True)]
        at = stop
    made.append(Part(text[at:], False))
    return [part for part in made if part.text]


def _filled(skeleton: Skeleton, messages: Sequence[Message], text: str) -> dict[int, tuple[int, int]] | None:
    """Where the answers stand in a text that is the skeleton with the messages' contents, trimmed perhaps; None where not."""
    if not text.startswith(skeleton.text[0]):
        return None
    at, spans = len(skeleton.text[0]), {}
    for number, (place, before, after) in enumerate(zip(skeleton.places, skeleton.text, skeleton.text[1:])):
        content = messages[place].content
        last = number == len(skeleton.places) - 1
        wanted = next((said for trim in TRIMS if text.startswith((said := trim(content)) + after, at)
                       and (not last or len(said) + len(after) == len(text) - at)), None)
        if wanted is None:
            return None
        if place in skeleton.prompts:
            prompt = skeleton.prompts[place]
            begin = at - len(before) + len(prompt) if prompt and before.startswith(prompt) else at
            spans[place] = begin, at + len(wanted)
        at += len(wanted) + len(after)
    return spans


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # comparing halves is quicker than characters
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low
