"""Behaviour without a model: changes of texts, word swaps, the YAML of tests, and what comes of answers."""

import pathlib
import random

import pytest

from tfft.behaviour import perturb
from tfft.behaviour.changes import Change, appended, changed_fields, perturbed, replaced
from tfft.behaviour.expect import said
from tfft.behaviour.fairness import swapped
from tfft.behaviour.judging import run_test, with_rows
from tfft.behaviour.perturb import KINDS, changed, changed_inside, changed_words, typo
from tfft.behaviour.suite import read_suite
from tfft.behaviour.swaps import Exchange, read_swaps
from tfft.behaviour.templates import expanded
from tfft.errors import UserError

TEXT = "It's a fine, fine film; go (and see) it - on 24 screens!"


# ---- perturbations

def test_each_perturbation_does_what_it_says():
    assert changed(TEXT, "lower", 1, 0) == TEXT.lower() and changed(TEXT, "upper", 1, 0) == TEXT.upper()
    assert changed(TEXT, "punctuation", 1, 0) == "Its a fine fine film go and see it on 24 screens"
    assert len(TEXT) - len(changed(TEXT, "punctuation", 0.5, 0).replace("  ", " ")) in (4, 5, 6)
    spaced = changed(TEXT, "whitespace", 0.3, 0)
    assert spaced.replace(" ", "") == TEXT.replace(" ", "") and spaced != TEXT
    moved = changed(TEXT, "words", 0.2, 0).split()
    assert set(moved) <= set(TEXT.split()) and moved != TEXT.split() and len(moved) >= len(TEXT.split()) - 3


def test_a_typo_is_one_slip_of_letters():
    made = {typo("film", random.Random(seed)) for seed in range(300)}
    slips = {"iflm", "flim", "fiml", "ilm", "flm", "fim", "fil", "ffilm", "fiilm", "fillm", "filmm"}
    beside = {"film"[:i] + key + "film"[i + 1:] for i, char in enumerate("film") for key in perturb.KEYS[char]}
    assert made == slips | beside
    assert typo("a", random.Random(0)) == "a" and typo("2024", random.Random(0)) == "2024" and typo("", random.Random(0)) == ""
    assert typo("电影", random.Random(1)) != "电影"


def test_as_many_words_have_a_typo_as_is_said():
    text = " ".join(["good"] * 40)
    for share, count in ((0.05, 2), (0.15, 6), (0.001, 1), (1, 40)):
        assert sum(word != "good" for word in changed(text, "typos", share, 3).split()) == count


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_always_changed_alike_and_never_empty(kind):
    assert changed(TEXT, kind, 0.3, 5) == changed(TEXT, kind, 0.3, 5)
    for text in ("a", "!", "", " ", "?!", "7", "one two", "\n x \n"):
        made = changed(text, kind, 1.0, 0)
        assert bool(made.strip()) == bool(text.strip())
    if kind not in ("lower", "upper"):
        assert len({changed(TEXT, kind, 0.3, seed) for seed in range(20)}) > 1


def test_words_keep_their_places():
    words = ["U.S.", "-", "Paris", "is", "a", "city", "."]
    for kind in KINDS:
        made = changed_words(words, kind, 1.0, 1)
        assert (made is None) == (kind in ("whitespace", "words"))
        if made:
            assert len(made) == len(words) and all(map(str.strip, made))
    assert changed_words(words, "punctuation", 1.0, 1) == ["US", "-", "Paris", "is", "a", "city", "."]


def test_spans_move_along():
    text, spans = "(Paris), said Mr. Smith-Jones of New  York.", [(1, 6), (18, 29), (33, 42), (33, 36)]
    for seed in range(30):
        made, place = changed_inside(text, "typos", 0.7, seed)
        old, new = text.split("said"), made.split()
        assert len(new) == len(text.split()) and old
        found = [made[place(start):place(end)] for start, end in spans]
        assert [len(one.split()) for one in found] == [1, 1, 2, 1] and found[2].startswith(found[3])
        assert made[:place(1)] == "(" and made[place(6):place(8)] == ")," and made[place(42):] == "."
        assert "-" in found[1] and not found[0].startswith("(")
    assert changed_inside(text, "punctuation", 1, 0) is None and changed_inside(text, "words", 1, 0) is None


def test_what_of_a_row_is_changed():
    loud = Change("loud", str.upper)
    made = loud({"question": "who", "context": "she", "choices": ["a"]})
    assert made == {"question": "WHO", "context": "she", "choices": ["a"]}
    assert loud({"text": "a", "text_pair": "b"}) == {"text": "A", "text_pair": "B"}
    assert loud({"text": "a", "text_pair": "b"}, ("text_pair",)) == {"text": "a", "text_pair": "B"}
    messages = '[{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}]'
    assert loud({"prompt": messages})["prompt"] == messages.replace("hi", "HI") and loud({"prompt": "[hi"})["prompt"] == "[HI"
    assert changed_fields({"text": "a", "predicate": 3}) == ("text",)
    assert appended("no.")({"text": "Yes."}) == {"text": "Yes. no."}
    assert replaced({"good": "great", "fun": ""})({"text": "Good, GOOD goods fun"}) == {"text": "Great, GREAT goods "}


# ---- swaps

def swaps_file(tmp_path, text: str):
    (tmp_path / "swap.csv").write_text(text)
    return read_swaps(str(tmp_path / "swap.csv"))


def test_words_are_exchanged_whole_and_in_their_case(tmp_path):
    swaps = swaps_file(tmp_path, "# male,female\nhe,she\nhis,her\nhim,her\n\nJohn,Mary\nWill,Ann\nactor,actress\n")
    exchange, = (Exchange(swaps, pair) for pair in swaps.pairs())
    assert swaps.columns == ("male", "female") and swaps.title((0, 1)) == "male / female"
    assert exchange("He met Mary, and SHE the heir.") == ("She met John, and HE the heir.", ("he / she", "John / Mary"))
    assert exchange("John's actor will see her; WILL") == ("Mary's actress will see his; ANN", (
        "John / Mary", "actor / actress", "his / her", "Will / Ann"))
    assert exchange("O'Johns, he-man")[0] == "O'Johns, she-man" and exchange("")[0] == ""
    assert exchange("theatre, hers, Johnny") == ("theatre, hers, Johnny", ())


def test_signs_are_words_too_and_empty_cells_are_none(tmp_path):
    (tmp_path / "swaps.csv").write_text("# a,b\nhe,she,\n\U0001F468,\U0001F469,,\n")
    swaps = read_swaps(str(tmp_path / "swaps.csv"))
    assert Exchange(swaps, (0, 1))("he \U0001F468!")[0] == "she \U0001F469!"
    (tmp_path / "swaps.csv").write_text("he,,she,\n")
    assert read_swaps(str(tmp_path / "swaps.csv")).columns == ("he", "", "she")


def test_groups_are_exchanged_by_two(tmp_path):
    swaps = swaps_file(tmp_path, "Anna,Aisha,New York\nBen,Omar\n")
    assert swaps.columns == ("Anna", "Aisha", "New York") and len(list(swaps.pairs())) == 3
    made = [Exchange(swaps, pair)("Anna in New York, Ben")[0] for pair in swaps.pairs()]
    assert made == ["Aisha in New York, Omar", "New York in Anna, Ben", "Anna in Aisha, Ben"]


@pytest.mark.parametrize("text, message", [
    ("he,she\nhis\n", r"swap.csv:2: a line of a swap file has two words or more, with a comma between: he,she\.$"),
    ("# a,b\nx,y,z\n", r"swap.csv:2: 3 words, but 2 columns are named: a, b\.$"), ("\n", "swap.csv has no words.")])
def test_mistakes_in_a_swap_file(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        swaps_file(tmp_path, text)


# ---- templates

def test_templates():
    slots = {"x": ["a", "b"], "y": ["1", "2", "3"]}
    assert expanded("{x}-{y} {{{x}}}", slots, 0, 0, "") == [f"{x}-{y} {{{x}}}" for x in "ab" for y in "123"]
    drawn = expanded("{x}{y}", slots, 4, 1, "")
    assert len(set(drawn)) == 4 and drawn == expanded("{x}{y}", slots, 4, 1, "")
    assert len({tuple(expanded("{x}{y}", slots, 4, seed, "")) for seed in range(9)}) > 2
    assert expanded({"choices": ["{x}", "b"]}, slots, 0, 0, "") == [{"choices": ["a", "b"]}, {"choices": ["b", "b"]}]
    assert expanded({"question": "{x}?", "context": "{x} {y}"}, slots, 0, 0, "")[0] == {"question": "a?", "context": "a 1"}
    with pytest.raises(UserError, match=r"^t.yaml, line 3: Unknown slot 'xx'. Did you mean 'x'\? Known: x, y\. Slots have"):
        expanded("{xx}", slots, 0, 0, "t.yaml, line 3")


# ---- the file

def read(tmp_path, text: str):
    (tmp_path / "t.yaml").write_text(text)
    return read_suite(str(tmp_path / "t.yaml"))


ONE = "tests:\n  - name: n\n    kind: {}\n"
MINIMUM, INVARIANCE, DIRECTION = map(ONE.format, ("minimum", "invariance", "direction"))


@pytest.mark.parametrize("text, message", [
    ("tests: [", "line 1: this is no YAML: "),
    ("- a", "it has no keys"),
    ("test: []", r"line 1: Unknown key of a file of tests 'test'. Did you mean 'tests'\?"),
    ("tests: []", "line 1: tests: a list of tests is expected"),
    (ONE.format("minimun"), r"line 3: kind: Unknown kind of test 'minimun'. Did you mean 'minimum'\?"),
    (MINIMUM + "    text: [a]", r"line 4: Unknown key of a test of minimum 'text'. Did you mean 'texts'\?"),
    (MINIMUM + "    change: typos", r"line 4: Unknown key of a test of minimum 'change'"),
    (MINIMUM, "line 2: test 'n' needs one of texts:, template: and test_rows:"),
    (MINIMUM + "    texts: [a]", "line 4: a test of minimum says what it expects"),
    (MINIMUM + "    texts: [a, no]\n    expect: {label: x}", "line 4: texts: False is no text. Write what YAML"),
    (MINIMUM + "    texts: [a]\n    expect:\n      lable: x", r"line 6: Unknown key of expect 'lable'. Did"),
    (MINIMUM + "    texts: [a]\n    expect: {label: no}", "line 5: label: a text is expected, not False. Write yes"),
    (MINIMUM + "    texts: [a]\n    expect: {value: [2, 1]}", r"line 5: value: a range \[low, high\] is expected"),
    (MINIMUM + "    texts: [a]\n    expect: {matches: '('}", "line 5: matches: '\\(' is no regular expression: "),
    (INVARIANCE + "    texts: [{text: a, expect: {label: x}}]\n    change: upper", "line 4: expect: it goes with kind"),
    (MINIMUM + "    texts: [a]\n    texts: [b]", "line 5: texts is there twice"),
    (MINIMUM + "    template: 'I {feel} it'\n    expect: {label: x}", "line 4: Unknown slot 'feel'"),
    (INVARIANCE + "    texts: [a]", "line 2: test 'n' needs change:, one of typos, lower, "),
    (INVARIANCE + "    texts: [a]\n    change: tpyos", r"line 5: change: Unknown change 'tpyos'. Did you mean 'typos'\?"),
    (INVARIANCE + "    texts: [a]\n    change: append", "line 5: change: it has a value, {append: ...}"),
    (INVARIANCE + "    texts: [a]\n    change: {typos: 15}", "line 5: typos: a share such as 5% or 0.05 is expected"),
    (INVARIANCE + "    texts: [a]\n    change: {swap: s.csv}", r"The swap file .*s\.csv cannot be read"),
    (DIRECTION + "    texts: [a]\n    change: upper", "line 2: test 'n' needs raise: or lower:"),
    (INVARIANCE + "    test_rows: 0\n    change: upper", "line 4: test_rows: a number of rows above 0"),
    (MINIMUM + "    texts: [2026-02-30]", "a value is none of the kind that it looks like: day .*. Write texts such as"),
    (MINIMUM + "    texts: [!!python/object:os.system x]", "line 4: this is no YAML: could not determine a constr"),
])
def test_mistakes_are_told_with_their_line(tmp_path, text, message):
    with pytest.raises(UserError, match=rf"^{tmp_path}/t.yaml.*{message}" if "swap" not in message else message):
        read(tmp_path, text)


@pytest.mark.parametrize("text, known, message", [
    ("texts: [a]", [("question", "context")], "line 4: what is answered here is question with context; write {quest"),
    ("texts: [{txt: a}]", [("text",)], r"line 4: Unknown field 'txt'. Did you mean 'text'\? Known: text\."),
    ("texts: [{text: 3.5}]", [("text",)], "line 4: text: a text is expected, not 3.5"),
    ("texts: [{question: a, choices: b}]", [("question", "choices")], "line 4: choices: a list of texts is expected"),
    ("texts: [{question: a}]", [("question", "context")], "line 4: what is answered here is question with context, not")])
def test_rows_are_of_what_is_answered(tmp_path, text, known, message):
    tests = read(tmp_path, ONE.format("minimum") + f"    {text}\n    expect: {{label: x}}")
    with pytest.raises(UserError, match=message):
        with_rows(tests, known, ("choices",))


def test_the_example_that_comes_with_tfft_reads():
    tests = with_rows(read_suite(str(pathlib.Path(__file__).parent.parent / "examples" / "behaviour.yaml")), [("text",)], ())
    assert {test.kind for test in tests} == {"minimum", "invariance", "direction"} and len(tests[0].cases) == 18


# ---- outcomes: of what answers by a few words

def by_words(rows):
    """pos, unless a text says bad; John is never praised."""
    made = []
    for row in rows:
        text = row["text"]
        p = 0.1 if "bad" in text or "John" in text else 0.8
        made.append(({"predicted_label": "pos" if p > 0.5 else "neg", "probability": max(p, 1 - p)}, {"neg": 1 - p, "pos": p}))
    return made


def outcomes(tmp_path, text: str, answers=by_words, known=(("text",),), own=None):
    tests = with_rows(read(tmp_path, text), list(known), ("choices",))
    return [run_test(test, answers, lambda count: own) for test in tests]


SUITE = """
seed: 3
slots: {thing: [film, plot, cast]}
tests:
  - name: praise
    kind: minimum
    template: "A {what} {thing}"
    slots: {what: [good, bad]}
    expect: {label: pos, probability: {pos: [0.5, 1]}}
    allowed: 50%
  - name: each its own
    kind: minimum
    texts: [{text: bad, expect: {label: neg}}, good, {text: fine, expect: {label: neg}}]
    expect: {label: pos}
  - name: case
    kind: invariance
    texts: [bad film, good film]
    change: [upper, lower, {append: [" !", " ?"]}]
    allowed: 0.2
  - name: names
    kind: invariance
    test_rows: all
    change: {swap: [[John, Mary]]}
  - name: a sour end
    kind: direction
    texts: [good, bad]
    change: {append: bad}
    lower: pos
    by: 0.1
"""


def test_what_comes_of_tests(tmp_path):
    own = [{"text": "John is good"}, {"text": "Mary is good"}, {"text": "nobody"}]
    praise, each, case, names, sour = outcomes(tmp_path, SUITE, own=own)
    assert (praise.cases, praise.failed, praise.passed) == (6, 3, True)
    assert praise.failures[0].why == "not pos; pos 0.10, not 0.5 to 1" and praise.failures[0].asked == "A bad film"
    assert (each.cases, each.failed, each.passed) == (3, 1, False) and each.failures[0].asked == "fine"
    assert (case.cases, case.failed, case.unchanged) == (6, 1, 2)  # lower leaves them; BAD is not bad
    assert case.failures[0].lines() == ["  'bad film'  neg 0.90", "  'BAD FILM'  pos 0.80", "    upper: another answer"]
    assert (names.cases, names.failed, names.unchanged) == (2, 2, 1)
    assert (sour.cases, sour.failed) == (2, 1) and sour.failures[0].why == "pos moved by +0.000, not down by 0.1 or more"
    assert names.to_json()["rate"] == 1.0 and names.line()[-1] == "FAILED" and praise.line()[-1] == "ok"


def answering(answer):
    return lambda rows: [(answer, {}) for _ in rows]


PARIS = {"entities": [{"text": "Paris", "type": "place", "start": 0, "end": 5, "score": 0.9}]}


@pytest.mark.parametrize("answer, good, bad", [
    ({"predicted_label": "x", "probability": 0.7}, "label: [y, x]", "label: y"),
    ({"predicted_labels": ["x", "y"], "probability": [0.7, 0.6]}, "labels: [y, x]", "labels: x"),
    ({"predicted_labels": ["x", "y"], "probability": [0.7, 0.6]}, "contains: y", "lacks: [y, z]"),
    ({"predicted_value": 3.5}, "value: [3, 4]", "value: [0, 3]"), ({"score": 0.5}, "value: [0.5, 1]", "value: [0.6, 1]"),
    (PARIS, "entities: [{text: Paris, type: place}, {type: place}]", "entities: []"),
    (PARIS, "entities: {text: Paris}", "entities: [{text: Paris, type: person}]"),
    ({"answer": "in 1912", "score": 0.5}, "answer: in 1912", "contains: 1913"),
    ({"predicted_choice": "red", "predicted_position": 0}, "choice: red", "choice: blue"),
    ({"text": "def f(x): return x", "tokens": 5}, "{contains: return, lacks: print, matches: '^def \\w+'}", "matches: '^f'")])
def test_what_is_expected_of_answers(tmp_path, answer, good, bad):
    for expect, failed in ((good, 0), (bad, 1)):
        expect = expect if expect.startswith("{") else f"{{{expect}}}"
        made, = outcomes(tmp_path, ONE.format("minimum") + f"    texts: [a]\n    expect: {expect}", answering(answer))
        assert made.failed == failed, made.failures


@pytest.mark.parametrize("answer, lines, message", [
    ({"predicted_value": 3.5}, "    expect: {label: x}", "line 5: these answers are no names or texts, but '3.5000'"),
    ({"predicted_label": "x"}, "    expect: {value: [0, 1]}", "line 5: these answers are no numbers, but 'x'. For a label's"),
    ({"predicted_label": "x"}, "    expect: {entities: []}", "line 5: these answers have no entities, but 'x'"),
    ({"predicted_label": "x"}, "    expect: {probability: {y: [0, 1]}}", "line 5: Unknown label or value of the answers 'y'")])
def test_answers_of_another_kind_are_told(tmp_path, answer, lines, message):
    with pytest.raises(UserError, match=message):
        outcomes(tmp_path, ONE.format("minimum") + "    texts: [a]\n" + lines, answering(answer))


def test_an_unknown_label_is_told(tmp_path):
    with pytest.raises(UserError, match=r"line 5: Unknown label 'positive'. Did you mean 'pos'\? Known: neg, pos\."):
        outcomes(tmp_path, ONE.format("minimum") + "    texts: [a]\n    expect: {label: positive}")


def test_numbers_and_vectors_stay_within_a_tolerance(tmp_path):
    def lengths(rows):
        return [({"predicted_value": float(len(row["text"]))}, {}) for row in rows]

    def vectors(rows):
        return [({"embedding": [1.0, float(len(row["text"]) - 4)]}, {}) for row in rows]

    text = ONE.format("invariance") + "    texts: [good]\n    change: {{append: a}}\n{}"
    for tolerance, failed in ((2, 0), (1.9, 1)):
        assert outcomes(tmp_path, text.format(f"    tolerance: {tolerance}"), lengths)[0].failed == failed
    for tolerance, failed in ((0.6, 0), (0.5, 1)):  # the cosine is 1 / sqrt(5)
        assert outcomes(tmp_path, text.format(f"    tolerance: {tolerance}"), vectors)[0].failed == failed
    with pytest.raises(UserError, match="line 2: these answers are numbers, which any change moves: 'n' needs a tolerance"):
        outcomes(tmp_path, text.format(""), lengths)
    raised = ONE.format("direction") + "    texts: [good]\n    change: {append: a}\n    raise: value\n    by: 2"
    assert outcomes(tmp_path, raised, lengths)[0].failed == 0 and outcomes(tmp_path, raised + ".5", lengths)[0].failed == 1


def test_a_test_that_changes_nothing_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="line 2: test 'n' changes none of its 1 texts, and so tests nothing"):
        outcomes(tmp_path, ONE.format("invariance") + "    texts: [good]\n    change: lower")


def test_of_entities_the_types_stay():
    one = ({"entities": [{"text": "Paris", "type": "place"}, {"text": "Ann", "type": "person"}]}, {})
    assert said(one) == [["place", "person"]] and said(({"entities": []}, {})) == [[]]
    assert said(({"label": "x", "label_probability": 0.5, "entities": [{"text": "a", "type": "b"}]}, {})) == ["x", ["b"]]


def test_flips_are_counted_by_columns_and_words(tmp_path):
    swaps = swaps_file(tmp_path, "# male,female\nJohn,Mary\nhe,she\n")
    rows = [{"text": text} for text in ("John is good", "Mary and he", "she is fine", "nothing", "he is bad")]
    made = swapped(rows, swaps, by_words)
    assert (made.asked, made.found) == (5, 4)
    column, = made.columns
    assert (column.title, column.rows, column.flipped) == ("male / female", 4, 2)
    assert [(one.title, one.rows, one.flipped) for one in made.words] == [("John / Mary", 2, 2), ("he / she", 3, 1)]
    assert column.examples[0].changed in ("Mary is good", "John and she") and column.moved == pytest.approx(0.35)

    def values(rows):
        return [({"predicted_value": 2.0 if "she" in row["text"] else 1.0}, {}) for row in rows]

    made = swapped([{"question": "who is he?", "context": "John"}], swaps, lambda rows: [
        ({"answer": row["context"], "score": 0.5}, {}) for row in rows])
    assert made.columns[0].rows == 1 and not made.columns[0].flipped  # Mary is asked for, and found
    made = swapped(rows, swaps, values)
    assert made.columns[0].flipped == 0 and made.columns[0].moved == pytest.approx(0.75)


def test_tests_and_noise_are_drawn_by_their_seed():
    assert perturbed("typos", 0.3, 1)({"text": TEXT}) != perturbed("typos", 0.3, 2)({"text": TEXT})
