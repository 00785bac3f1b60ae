"""Templates with slots: "I {feeling} this {thing}" and lists of words make texts."""

import itertools
import math
import random
import string
from collections.abc import Iterator

from tfft.errors import UserError, unknown


def slots_of(template: str, place: str) -> list[str]:
    """The names of its slots, each once. Raises: UserError."""
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"{place}: {template!r:.60}: {error}. A slot is {{name}}; write {{{{ for a brace.") from error
    names = []
    for _, name, form, conversion in parsed:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise UserError(f"{place}: {template!r:.60}: a slot is {{name}}, not {{{name}}}; write {{{{ for a brace.")
        names += [name] if name is not None and name not in names else []
    return names


def expanded(template: str | dict[str, str | list[str]], slots: dict[str, list[str]], sample: int, seed: int,
             place: str) -> list:
    """All texts, or rows of them, that a template makes; a sample of them where it is not 0. Raises: UserError.

    ("a {x} film", {"x": ["good", "bad"]}) -> ["a good film", "a bad film"]
    """
    parts = template if isinstance(template, dict) else {"": template}
    texts = [text for part in parts.values() for text in (part if isinstance(part, list) else [part])]
    names = list(dict.fromkeys(name for text in texts for name in slots_of(text, place)))
    for name in names:
        if name not in slots:
            raise UserError(f"{place}: {unknown('slot', name, slots)} Slots have lists of words under slots:.")
    made = [{key: [text.format(**words) for text in part] if isinstance(part, list) else part.format(**words)
             for key, part in parts.items()} for words in _words(names, slots, sample, seed)]
    return made if isinstance(template, dict) else [one[""] for one in made]


def _words(names: list[str], slots: dict[str, list[str]], sample: int, seed: int) -> Iterator[dict[str, str]]:
    lists = [slots[name] for name in names]
    total = math.prod(map(len, lists))
    if not sample or sample >= total:
        yield from (dict(zip(names, words, strict=True)) for words in itertools.product(*lists))
        return
    for number in sorted(random.Random(seed).sample(range(total), sample)):
        words = {}
        for name, several in zip(reversed(names), reversed(lists), strict=True):
            number, place = divmod(number, len(several))
            words[name] = several[place]
        yield words
