"""Words that are tagged in one way almost everywhere, and in another one here. Imports no TensorFlow."""

from collections.abc import Iterator

import numpy as np

from tfft.data.store import TokenStore
from tfft.tasks.token_classification.tags import Gold, Tags

OFTEN = 5      # places of the same words, for most of them to say something
MOST = 0.8     # share of them that is tagged alike
UNTAGGED = 20  # the same where most are no entity, as an entity may be called by a usual word
ALMOST = 0.95
LONGEST = 6    # words of an entity that is looked for
KEPT = 50      # places that are kept of an entity, by tag
NONE = ""


def doubts(tags: Tags, gold: Gold, store: TokenStore, rows: np.ndarray) -> list[tuple[int, int, str]]:
    """(place in rows, character, why), the clearest first: 'Paris' LOC 30 times, but here none. 'US' is not 'us'."""
    if tags.scheme == "none":  # every word has a tag, by its neighbours
        return []
    phrases = {phrase for row in rows.tolist() for phrase in _entities(tags, gold, store, row)}
    lengths: dict[str, set[int]] = {}
    for phrase in phrases:
        lengths.setdefault(phrase[0], set()).add(len(phrase))
    found: dict[tuple[str, ...], dict[str, list]] = {}  # phrase -> tag -> [how often, (place, begin, end) ...]
    for place, row in enumerate(rows.tolist()):
        for phrase, tag, *at in _occurrences(tags, gold, store, row, phrases, lengths):
            several = found.setdefault(phrase, {}).setdefault(tag, [0])
            several[0] += 1
            if len(several) <= KEPT:
                several.append((place, *at))
    made = []
    for by_tag in found.values():
        usual = max(by_tag, key=lambda tag: by_tag[tag][0])
        often, total = by_tag[usual][0], sum(several[0] for several in by_tag.values())
        few, share = (OFTEN, MOST) if usual != NONE else (UNTAGGED, ALMOST)
        if total < few or not share * total <= often < total:
            continue
        for tag, (_, *places) in by_tag.items():
            for place, begin, end in places if tag != usual else ():
                text = store.string("text", int(rows[place]))[begin:end]
                why = f"{text!r} {tag or 'no entity'}, but {usual or 'no entity'} in {often:,} of {total:,} places"
                made.append((-often / total, -often, place, begin, why))
    return [each[2:] for each in sorted(made)]


def _words(store: TokenStore, row: int) -> list[str]:
    text = store.string("text", row)
    begins, ends = (store.values(name, row).tolist() for name in ("word_start", "word_end"))
    return [text[begin:end] for begin, end in zip(begins, ends, strict=True)]


def _entities(tags: Tags, gold: Gold, store: TokenStore, row: int) -> Iterator[tuple[str, ...]]:
    """The words of each; a single character, as of Chinese, is too little to go by."""
    spans = tags.spans(gold.of(row))
    words = _words(store, row) if spans else []
    yield from (tuple(words[a:b]) for a, b, _ in spans if b - a <= LONGEST and (b - a > 1 or len(words[a]) > 1))


def _occurrences(tags: Tags, gold: Gold, store: TokenStore, row: int, phrases: set, lengths: dict[str, set[int]]
                 ) -> Iterator[tuple[tuple[str, ...], str, int, int]]:
    """(words, type, first character, end) of each of the phrases in a row; NONE where none of its words is in an entity."""
    words, ids = _words(store, row), gold.of(row)
    kinds = {(a, b): kind for a, b, kind in tags.spans(ids)}
    inside = (ids < 0) | (tags.types_of_tags[ids] > 0)
    for begin, word in enumerate(words):
        for length in lengths.get(word, ()):
            end = begin + length
            phrase = tuple(words[begin:end])
            if phrase in phrases and ((begin, end) in kinds or not inside[begin:end].any()):
                yield (phrase, kinds.get((begin, end), NONE), int(store.values("word_start", row)[begin]),
                       int(store.values("word_end", row)[end - 1]))
