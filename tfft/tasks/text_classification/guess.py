"""What of a file could be texts and their labels. Imports no TensorFlow."""

import itertools
import re

from tfft.data.look import Column, Guess, Look, plain

TEXTS = ("text", "sentence", "review", "content", "body", "message", "comment", "tweet", "utterance", "document", "description",
         "question", "query", "post", "title", "subject", "headline", "review_text", "text_raw", "input", "narrative")
PAIRS = (("text", "text_pair"), ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b"),
         ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"), ("text_1", "text_2"), ("text_a", "text_b"),
         ("query", "passage"), ("query", "document"), ("question", "passage"), ("question", "context"),
         ("question", "sentence"), ("question", "answer"))
LABELS = ("label", "labels", "class", "target", "category", "categories", "sentiment", "intent", "topic", "emotion", "emotions",
          "tags", "tag", "stars", "rating", "score", "similarity", "y", "genre", "polarity", "label_text", "gold_label",
          "queue", "department", "output", "answer")
NO_TEXT = re.compile(r"(^|_)(id|ids|uuid|url|link|date|time|timestamp|created|updated|user|author|email|index)($|_)")
MOST_CLASSES = 20     # of whole numbers; more are amounts
SEPARATORS = ("|", ";", ",", "/", "+")
MULTI_HOT = re.compile(r"[01](?:[ ,;|]+[01])+")


def guesses(look: Look, given: dict[str, str]) -> list[Guess]:
    """A guess for each text, or pair, with each label. given: columns by setting, that are known."""
    texts = _texts(look, given)
    taken = [set(columns) for _, columns, _ in texts]
    made = []
    for (score, columns, why), labels in itertools.product(texts, _labels(look, given, taken[0] if len(taken) == 1 else set())):
        label, learn, more, settings, reason = labels
        if set(columns) & set(label):
            continue
        mapping = dict(zip(("text_column", "text_pair_column"), columns))
        reasons = {**dict(zip(mapping, why)), **reason}
        kind = {"single_label": "one label", "multi_label": "several labels", "regression": "a number"}[learn]
        made.append(Guess("text_classification", learn, f"{kind} for a {'pair of texts' if len(columns) == 2 else 'text'}",
                          score + more, {**{f"data.{key}": value for key, value in mapping.items()}, **settings}, columns,
                          {f"data.{key}" if "." not in key else key: value for key, value in reasons.items()}))
    return made


def _texts(look: Look, given: dict[str, str]) -> list[tuple[float, tuple[str, ...], tuple[str, ...]]]:
    """(score, columns, why each) of what may be the text or the pair."""
    if "text_column" in given:
        columns = tuple(given[key] for key in ("text_column", "text_pair_column") if key in given)
        return [(2.0, columns, tuple(_size(look.columns[each]) for each in columns))]
    labelled = {given[key] for key in given}
    found = [(score, column) for column in look.columns.values()
             if column.name not in labelled and (score := _text_score(column)) > 0.3]
    known = {plain(column.name): column for _, column in found}
    for pair in PAIRS:
        if all(each in known for each in pair) and pair != ("text", "text"):
            return [(3.0, tuple(known[each].name for each in pair),
                     tuple(f"{_size(known[each])}; one of a pair by its name" for each in pair))]
    return [(score, (column.name,), (_size(column),)) for score, column in found]


def _text_score(column: Column) -> float:
    if not column.is_text or NO_TEXT.search(plain(column.name)):
        return 0.0
    hint = TEXTS.index(plain(column.name)) if plain(column.name) in TEXTS else None
    if column.words < 1.5 and hint is None:
        return 0.0
    distinct = len(column.counts) / len(column.values)
    return (1.0 - 0.02 * hint if hint is not None else 0.0) + min(column.words, 40) / 40 + 0.5 * distinct


def _size(column: Column) -> str:
    return f"texts of {column.words:.0f} words on average"


def _labels(look: Look, given: dict[str, str], texts: set[str]):
    """(columns, what is learnt, score, settings, why) of what may be the label."""
    if "label_column" in given:
        yield from _of(look.columns[given["label_column"]], look.rows, certain=True)
        return
    hot = [column.name for column in look.columns.values()
           if column.numbers and set(column.numbers) == {0.0, 1.0} and plain(column.name) not in LABELS]
    if len(hot) > 1:
        yield tuple(hot), "multi_label", 0.9, {"task.problem": "multi_label", "data.label_columns": tuple(hot)}, {
            "label_columns": "each has 1 where its label holds, else 0"}
    for column in look.columns.values():
        if column.name not in texts and not (len(hot) > 1 and column.name in hot):
            yield from _of(column, look.rows, certain=False)


def _of(column: Column, rows: int, certain: bool):
    """What a column may hold as labels."""
    named = plain(column.name)
    hint = _hint(named)
    if not certain and (len(column.values) < rows / 2 or not hint and NO_TEXT.search(named)):
        return
    setting = {"data.label_column": column.name}
    if joined := _several(column):
        several, reason = joined
        yield (column.name,), "multi_label", hint + 0.7, {**setting, "task.problem": "multi_label", **several}, {
            "label_column": reason}
        return
    distinct = len(column.counts)
    if distinct < 2 or column.lists:
        return
    if column.numbers:
        numbers = set(column.numbers)
        whole = all(number.is_integer() for number in numbers)
        told = f"{distinct:,} different numbers from {min(numbers):g} to {max(numbers):g}"
        amounts = len(numbers) > 2 and (hint or certain or not whole)
        if len(numbers) <= MOST_CLASSES and len(numbers) <= rows / 2:
            yield (column.name,), "single_label", hint + 0.5, {**setting}, {
                "label_column": f"{told}, each taken for a class{'; for amounts: --learn=regression' if amounts else ''}"}
        if amounts:
            score = 0.3 if whole and len(numbers) <= MOST_CLASSES else 0.5
            yield (column.name,), "regression", hint + score, {**setting, "task.problem": "regression"}, {"label_column": told}
        return
    if certain or (distinct <= max(2, rows / 3) and distinct <= 1000 and column.words < 8):
        yield (column.name,), "single_label", hint + 0.5, setting, {"label_column": column.told()}


def _hint(named: str) -> float:
    """How much a column's name sounds like labels: 'label' 1.0, 'star_rating' 0.6, 'price' 0."""
    if named in LABELS:
        return 1.0 - 0.02 * LABELS.index(named)
    return 0.6 if set(named.split("_")) & set(LABELS) else 0.0


def _several(column: Column) -> tuple[dict, str] | None:
    """(settings, why) where a value holds several labels: as a list, joined, or as a 0 or 1 for each."""
    if column.lists:
        if any(isinstance(one, (dict, list)) for each in column.lists for one in each):
            return None
        return {}, f"lists of labels, such as {str(column.values[0])[:40]}"
    texts = [value for value in column.values if isinstance(value, str)]
    if len(texts) < len(column.values) or not texts:
        return None
    if all(MULTI_HOT.fullmatch(text.strip()) for text in texts):
        return {}, f"a 0 or 1 for each label, such as {texts[0]!r}"
    if column.numbers:  # decimal commas
        return None
    for separator in SEPARATORS:
        parts = [[part.strip() for part in text.split(separator)] for text in texts]
        joined = sum(len(each) > 1 for each in parts)
        names = {part for each in parts for part in each}
        alone = {each[0] for each in parts if len(each) == 1} & {part for each in parts if len(each) > 1 for part in each}
        shared = len(names) < len(column.counts) or (alone and separator != "/")
        if joined and shared and "" not in names and max(len(part.split()) for part in names) < 5:
            return {"data.label_separator": separator}, (
                f"{len(names):,} labels, joined by {separator!r} in {joined:,} rows, such as "
                f"{next(text for text, each in zip(texts, parts) if len(each) > 1)[:40]!r}")
    return None
