"""Behavioural tests in a YAML file, in the style of CheckList (Ribeiro et al. 2020): docs/behaviour.md shows one.

    tests:
      - name: praise
        kind: minimum                     # what is said of each text is known
        template: I {feeling} this film.
        slots: {feeling: [love, adore]}
        expect: {label: pos}
      - name: typos
        kind: invariance                  # the answer stays where the text is changed
        test_rows: 200
        change: typos
        allowed: 5%
      - name: a sour end
        kind: direction                   # a number of the answer rises or falls
        texts: [A fine film.]
        change: {append: But I hated the end.}
        lower: pos
        by: 0.1
"""

import os
import re
from typing import Any, NamedTuple

from tfft.behaviour.changes import Change, appended, exchanged, perturbed, put_before, replaced
from tfft.behaviour.expect import CHECKS, Target
from tfft.behaviour.located import Section, read_yaml
from tfft.behaviour.perturb import KINDS, LIGHT
from tfft.behaviour.swaps import Exchange, Swaps, read_swaps, swaps_of
from tfft.behaviour.templates import expanded
from tfft.behaviour.values import is_text, named_texts, number, row_count, share, span, text, texts, whole
from tfft.errors import UserError, unknown
from tfft.files import is_remote, to_path

TESTS = ("minimum", "invariance", "direction")
FILE_KEYS = ("tests", "slots", "seed")
ROWS = ("texts", "template", "test_rows")
COMMON = ("name", "kind", *ROWS, "slots", "sample", "seed", "allowed")
KEYS = {"minimum": (*COMMON, "expect"), "invariance": (*COMMON, "change", "fields", "tolerance"),
        "direction": (*COMMON, "change", "fields", "raise", "lower", "by")}
CHANGES = (*KINDS, "append", "prepend", "replace", "swap")


class Expected(NamedTuple):
    """One thing that is expected of an answer: a key of CHECKS, its value, and where it stands."""

    check: str
    value: Any
    place: str


class Case(NamedTuple):
    """A text, or a row of texts by name, and what is expected of its answer."""

    asked: Any
    expected: tuple[Expected, ...]
    place: str


class Test(NamedTuple):
    """One test. cases: those that the file has; test_rows: how many of the run's own, ALL of them (tfft.behaviour.values),
    or 0. target, sign, by: a number of the answer moves by at least `by` upwards (1) or downwards (-1)."""

    name: str
    kind: str
    place: str
    cases: list[Case]
    test_rows: int
    changes: list[Change]
    fields: tuple[str, ...]
    tolerance: float | None
    target: Target | None
    sign: int
    by: float
    allowed: float
    seed: int


def read_suite(path: str) -> list[Test]:
    """The tests of a file. Raises: UserError with the line of a mistake."""
    file = read_yaml(path)
    file.check("a file of tests", FILE_KEYS)
    if not isinstance(file.get("tests"), list) or not file["tests"]:
        file.fail("tests" if "tests" in file else "", "a list of tests is expected under tests:")
    shared = named_texts(file, "slots")
    seed = whole(file, "seed", 0)
    made = [_test(section, shared, seed, os.path.dirname(path)) for section in file["tests"]
            if isinstance(section, Section) or file.fail("tests", f"a test has name:, kind: and so on, not {section!r:.40}.")]
    for i, test in enumerate(made):
        if test.name in [other.name for other in made[:i]]:
            raise UserError(f"{test.place}: two tests are named {test.name!r}.")
    return made


def _test(section: Section, shared: dict[str, list[str]], seed: int, folder: str) -> Test:
    kind = section.get("kind")
    if kind not in TESTS:
        section.fail("kind" if kind else "", unknown("kind of test", str(kind or ""), TESTS))
    section.check(f"a test of {kind}", KEYS[kind])
    name = text(section, "name")
    chosen = [key for key in ROWS if key in section]
    if len(chosen) != 1:
        section.fail("", f"test {name!r} needs one of texts:, template: and test_rows:"
                     + (f", not {' and '.join(chosen)}." if chosen else "."))
    if kind == "minimum" and chosen == ["test_rows"]:
        section.fail("test_rows", "what the test rows are to be answered with, tfft evaluate looks at without tests.")
    seed = whole(section, "seed", seed)
    common = _expected(section, "expect") if "expect" in section else ()
    cases = _cases(section, chosen[0], shared, seed, common)
    if kind == "minimum" and (bare := next((case for case in cases if not case.expected), None)):
        raise UserError(f"{bare.place}: a test of minimum says what it expects, as in expect: {{label: pos}}")
    changes = _changes(section, seed, folder) if kind != "minimum" else []
    moved = [key for key in ("raise", "lower") if key in section]
    if kind == "direction" and len(moved) != 1:
        section.fail("", f"test {name!r} needs raise: or lower: with a label, or with value.")
    return Test(name, kind, section.place, cases, row_count(section, "test_rows"), changes, tuple(texts(section, "fields")),
                number(section, "tolerance") if "tolerance" in section else None,
                Target(text(section, moved[0]), section.places[moved[0]]) if moved else None, 1 if moved == ["raise"] else -1,
                number(section, "by") if "by" in section else 0.0, share(section, "allowed", 0.0), seed)


def _cases(section: Section, key: str, shared: dict, seed: int, common: tuple[Expected, ...]) -> list[Case]:
    if key == "test_rows":
        return []
    place, sample = section.places[key], whole(section, "sample", 0)
    if key == "template":
        template = section["template"]
        if not isinstance(template, str | dict) or isinstance(template, dict) and not all(
                is_text(one) or isinstance(one, list) and all(map(is_text, one)) for one in template.values()):
            section.fail("template", f"a text with slots, or texts by name, is expected, not {template!r:.40}.")
        made = expanded(template, {**shared, **named_texts(section, "slots")}, sample, seed, place)
        return [Case(one, common, place) for one in made]
    for other in ("sample", "slots"):
        if other in section:
            section.fail(other, "it goes with template:")
    texts = section["texts"]
    if not isinstance(texts, list) or not texts:
        section.fail("texts", "a list of texts is expected.")
    return [_case(section, one, common) for one in texts]


def _case(section: Section, one: Any, common: tuple[Expected, ...]) -> Case:
    """A text; or texts by name, with what is expected of this one alone."""
    if isinstance(one, Section):
        if "expect" in one and section["kind"] != "minimum":
            one.fail("expect", f"it goes with kind: minimum, not with {section['kind']}.")
        asked = {name: value for name, value in one.items() if name != "expect"}
        return Case(asked, _expected(one, "expect") if "expect" in one else common, one.place)
    if not is_text(one) or not one.strip():
        section.fail("texts", f"{one!r:.40} is no text. Write what YAML takes for something else in quotes.")
    return Case(one, common, section.places["texts"])


def _expected(section: Section, key: str) -> tuple[Expected, ...]:
    expect = section[key]
    if not isinstance(expect, Section) or not expect:
        section.fail(key, "what is expected has a key, as in expect: {label: pos}")
    expect.check("expect", tuple(CHECKS))
    return tuple(Expected(name, _wanted(expect, name), expect.places[name]) for name in expect)


def _wanted(expect: Section, name: str) -> Any:
    value = expect[name]
    if name == "value":
        return span(expect, name, value)
    if name == "probability":
        if not isinstance(value, Section) or not value:
            expect.fail(name, "a range by label is expected: {pos: [0.5, 1]}")
        return {label: span(value, label, one) for label, one in value.items()}
    if name == "entities":
        listed = value if isinstance(value, list) else [value]
        for one in listed:
            if not isinstance(one, Section):
                expect.fail(name, "a list is expected of {text: Paris, type: location}; [] where there are none.")
            one.check("an entity", ("text", "type"))
        return [{key: text(one, key) for key in one} for one in listed]
    if name == "matches":
        try:
            return re.compile(text(expect, name))
        except re.error as error:
            expect.fail(name, f"{value!r:.60} is no regular expression: {error}.")
    return texts(expect, name)


def _changes(section: Section, seed: int, folder: str) -> list[Change]:
    if "change" not in section:
        section.fail("", f"test {section.get('name')!r} needs change:, one of {', '.join(CHANGES)}.")
    given = section["change"] if isinstance(section["change"], list) else [section["change"]]
    made = [change for one in given for change in _several(section, one, seed, folder)]
    return made or section.fail("change", "it is empty.")


def _several(section: Section, one: Any, seed: int, folder: str) -> list[Change]:
    if is_text(one):
        if one not in KINDS:
            section.fail("change", unknown("change", one, CHANGES) if one not in CHANGES else f"it has a value, {{{one}: ...}}")
        return [perturbed(one, LIGHT[one], seed)]
    if not isinstance(one, Section):
        section.fail("change", f"a change is expected, not {one!r:.40}: {', '.join(CHANGES)}.")
    one.check("change", CHANGES)
    return [change for name in one for change in _one(one, name, seed, folder)]


def _one(section: Section, name: str, seed: int, folder: str) -> list[Change]:
    if name in KINDS:
        return [perturbed(name, share(section, name, 0.0) or section.fail(name, "a share above 0 is expected."), seed)]
    if name == "swap":
        swaps = _swaps(section, folder)
        return [exchanged(Exchange(swaps, pair), swaps.title(pair)) for pair in swaps.pairs()]
    if name == "replace":
        words = section[name]
        if not isinstance(words, Section) or not words:
            section.fail(name, "words by words are expected: {good: great}")
        return [replaced({word: text(words, word, empty=True) for word in words})]
    return [(appended if name == "append" else put_before)(text) for text in texts(section, name)]


def _swaps(section: Section, folder: str) -> Swaps:
    """A file's, beside this one; or words as they are: [[he, she], [his, her]]."""
    given = section["swap"]
    if is_text(given):
        return read_swaps(given if is_remote(given) or os.path.isabs(given) else str(to_path(folder or ".") / given))
    if not isinstance(given, list) or not all(isinstance(line, list) and all(map(is_text, line)) for line in given):
        section.fail("swap", "the name of a swap file is expected, or lists of words: [[he, she], [his, her]]")
    return swaps_of([], [(section.places["swap"], line) for line in given], section.places["swap"])
