"""What of a file could be questions with candidates to choose from. Imports no TensorFlow."""

import re

from tfft.data.fields import Unusable, missing
from tfft.data.look import Guess, Look, plain
from tfft.data.spelling import bit_of
from tfft.tasks.multiple_choice.labels import READINGS, positions
from tfft.tasks.multiple_choice.rows import labelled

QUESTIONS = ("question", "question_stem", "stem", "query", "prompt", "startphrase", "sent1", "ctx", "premise")
CONTEXTS = ("context", "passage", "article", "paragraph", "fact1")
LISTS = ("choices", "options", "candidates", "endings", "answers")
LABELS = ("label", "answerkey", "answer_key", "answer", "answer_idx", "correct", "correct_answer", "gold", "target")
A_COLUMN_EACH = re.compile(r"((?:option|choice|ending|answer|candidate|sol|op)?_?)([0-9]|[a-j])")
TRIED = 2000  # rows
SURE = 0.95   # of their labels must mean a candidate


def guesses(look: Look, given: dict[str, str]) -> list[Guess]:
    """given: columns by setting, that are known."""
    question, label, context = (look.columns.get(given[setting]) if setting in given else look.named(*names)
                                for setting, names in (("question_column", QUESTIONS), ("label_column", LABELS),
                                                       ("context_column", CONTEXTS)))
    if not (question and label and question.is_text):
        return []
    settings = {"data.question_column": question.name, "data.label_column": label.name}
    if "choice_column" in given:  # else such rows are taken for pairs with a label
        return _a_row_each(look, settings, given["choice_column"], (question.name, given["choice_column"]))
    listed = look.columns.get(given.get("choices_column", "")) or look.named(*LISTS)
    if listed and listed is not label:
        found, candidates = {"data.choices_column": listed.name}, listed.values
    elif columns := _a_column_each(look, {question.name, label.name}):
        values = zip(*(look.columns[name].values for name in columns))
        found, candidates = {"data.choice_columns": columns}, [list(each) for each in values]
    else:
        return []
    readings = _readings(candidates, label.values)
    if not readings:
        return []
    if len(readings) == 1:
        settings["data.label_values"] = readings[0]
    context = context if context and context.is_text and context is not question else None
    if context:
        settings |= {"data.context_column": context.name, "data.id_column": context.name}
    texts = (question.name, *([context.name] if context else []), *found.get("data.choice_columns", ())[:1])
    return [Guess("multiple_choice", "choice", "the right one of several candidates", 5.5, {**settings, **found}, texts, {
        "data.label_column": f"each is the {' or '.join(readings)} of a candidate",
        "data.id_column": "all questions on a context are on one side of the split", **dict.fromkeys(found, "the candidates")})]


def _a_row_each(look: Look, settings: dict, column: str, texts: tuple[str, ...]) -> list[Guess]:
    label = look.columns[settings["data.label_column"]]
    if any(bit_of(value) < 0 for value in label.counts):
        return []
    return [Guess("multiple_choice", "choice", "the right ones of several candidates", 5.5,
                  {**settings, "data.choice_column": column}, texts,
                  {"data.choice_column": f"a candidate a row; {sum(label.numbers or ()):,.0f} of {look.rows:,} are right"})]


def _a_column_each(look: Look, taken: set[str]) -> tuple[str, ...]:
    """Columns that are named alike but for a number or letter, and have a value in every row: ending0, ending1, ..."""
    families: dict[str, list[str]] = {}
    for name, column in look.columns.items():
        match = A_COLUMN_EACH.fullmatch(plain(name))
        if match and name not in taken and not column.missing:
            families.setdefault(match[1], []).append(name)
    return tuple(max(families.values(), key=len)) if families and max(map(len, families.values())) > 1 else ()


def _readings(candidates: list, labels: list) -> list[str]:
    """The ways in which all labels of the first rows mean a candidate, one of READINGS each; [] where there is none."""
    if len(candidates) != len(labels) or not labels:
        return []
    made = []
    for value in candidates[:TRIED]:
        try:
            made.append(labelled(value, ""))
        except Unusable:
            return []
    if sum(len(texts) > 1 for _, texts in made) < SURE * len(made):
        return []
    return [reading for reading in READINGS[:4] if _share(made, labels, reading) >= SURE and (
        reading != "number" or _share(made, labels, "index") < SURE)]


def _share(candidates: list, labels: list, reading: str) -> float:
    """How many of the labels can be read in a way."""
    good = 0
    for (names, texts), label in zip(candidates, labels):
        try:
            good += not missing(label) and bool(positions(label, texts, names, reading, ""))
        except Unusable:
            continue
    return good / max(1, len(candidates))
