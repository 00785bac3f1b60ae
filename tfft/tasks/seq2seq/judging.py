"""Which rows an encoder-decoder writes to when it is judged, what of rows was cut, and what needs no model."""

import re

import numpy as np

from tfft.data.store import TokenStore
from tfft.tasks.texts.judging import some_rows
from tfft.tasks.texts.language import Language
from tfft.tasks.texts.metrics import METRICS, text_metrics

SENTENCE = re.compile(r"(?s)(.+?[.!?\u3002\uff01\uff1f])(?:\s|$)")


def samples(store: TokenStore, rows: np.ndarray, number: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(row, tokens of source, tokens of target) of so many rows at most, always the same ones, whose target is whole."""
    def read(row: int):
        example = int(store.examples_of(np.array([row]))[0])
        target = store.values("target", example)
        return (store.values("tokens", example), target) if len(target) == int(store.column("full_target")[row]) else None

    return some_rows(rows, number, read)


def remarks(store: TokenStore, rows: np.ndarray) -> list[str]:
    """What was cut of rows."""
    examples, told = store.examples_of(rows), []
    offsets = store.column("target_offsets")
    for what, kept, full, setting in (
            ("sources", store.lengths[examples], "full_length", "max_length"),
            ("targets", offsets[examples + 1] - offsets[examples], "full_target", "max_target_length")):
        cut = np.asarray(store.column(full)[rows]) > np.asarray(kept)
        if cut.any():
            told.append(f"{cut.sum():,} of {len(rows):,} {what} are longer than data.{setting} and lose their ends, such as "
                        f"{store.place(rows[np.argmax(cut)])}")
    return told


def without_model(store: TokenStore, rows: np.ndarray, number: int, language: Language) -> dict[str, dict[str, float]]:
    """Metrics of the source itself, and of its first sentence, on the rows that a model writes to."""
    chosen = samples(store, rows, number)
    if not chosen:
        return {}
    right = [language.written(target).strip() or " " for _, _, target in chosen]
    sources = [language.written(source).strip() for _, source, _ in chosen]
    found = {"the source itself": text_metrics(sources, right, tuple(METRICS))}
    first = [match[1] if (match := SENTENCE.match(source)) else source for source in sources]
    if first != sources:
        found["its first sentence"] = text_metrics(first, right, tuple(METRICS))
    return found
