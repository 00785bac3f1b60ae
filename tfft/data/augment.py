"""Word-level augmentation of training texts: deletion, swap, insertion, replacement.

After EDA (Wei & Zou 2019, section 2), but without a thesaurus: inserted words come from the same text and replacements from the
training texts' own words. Each row draws from its own generator, seeded by (seed, epoch, row), so that an epoch's texts do
not depend on the order they are made in.
"""

import random
from collections.abc import Sequence

from tfft.config import Augmentation


def augment(text: str, settings: Augmentation, vocabulary: Sequence[str], *, epoch: int, row: int) -> str:
    """Returns the text with words deleted, swapped, inserted and replaced, each by its own probability; never empty.

    delete=0.5: "a fine old film" -> "a film", say.
    """
    draw = random.Random(f"{settings.seed}/{epoch}/{row}")
    words = text.split()
    if len(words) < 2 or draw.random() >= settings.rows:
        return text
    original = words
    if settings.replace and vocabulary:
        words = [draw.choice(vocabulary) if draw.random() < settings.replace else w for w in words]
    if settings.insert:
        words = [w for word in words for w in ((word, draw.choice(original)) if draw.random() < settings.insert
                                               else (word,))]
    if settings.swap:
        for i in range(len(words)):
            if draw.random() < settings.swap:
                j = draw.randrange(len(words))
                words[i], words[j] = words[j], words[i]
    if settings.delete:
        words = [w for w in words if draw.random() >= settings.delete] or [draw.choice(words)]
    return " ".join(words)


def vocabulary_of(texts: Sequence[str], limit: int = 20_000) -> list[str]:
    """The words that replacements are drawn from, as often as they occur in `texts`; of many, each k-th."""
    words = [word for text in texts for word in text.split()]
    return words[::-(-len(words) // limit) or 1]
