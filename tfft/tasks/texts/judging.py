"""How well tokens are predicted, each once, and how texts that a model writes compare with the right ones on some rows."""

from collections.abc import Callable

import numpy as np

from tfft.data.scratch import parts
from tfft.data.store import TokenStore
from tfft.tasks.base import Judged, Report, Table
from tfft.tasks.texts.counts import TokenCounts
from tfft.tasks.texts.language import Language
from tfft.tasks.texts.metrics import METRICS, text_metrics

AT_ONCE = 8      # rows that are answered together
SHOWN = 8        # answers in a report
LONG = 500       # characters of a text in a table
WIDE = 48        # and on a terminal


def judge(judged: Judged) -> Report:
    """Perplexity, the exponential of the mean loss of all learnt tokens; accuracy; loss."""
    counts = TokenCounts(judged)
    for part in parts(len(judged.units), judged.units.shape[1]):
        counts.add(part)
    return counts.report()


def some_rows(rows: np.ndarray, number: int, read: Callable[[int], tuple[np.ndarray, np.ndarray] | None]) -> list[tuple]:
    """(row, what is asked of it, the right answer) of so many rows at most, always the same ones. read(row): the tokens of
    both, None where a row is not to be answered."""
    made: list[tuple] = []
    for row in np.random.default_rng(0).permutation(rows).tolist():
        if len(made) == number:
            break
        if (found := read(row)) is not None:
            made.append((row, *(np.asarray(tokens, np.int32) for tokens in found)))
    return made


def compare(report: Report, chosen: list, answer: Callable[[list[np.ndarray]], list[str]], language: Language,
            store: TokenStore) -> Report:
    """Adds to a report what the model answers to some rows. answer(prompts in tokens) -> texts."""
    generated: list[str] = []
    order = sorted(range(len(chosen)), key=lambda i: len(chosen[i][1]))
    for begin in range(0, len(order), AT_ONCE):
        generated += answer([chosen[i][1] for i in order[begin:begin + AT_ONCE]])
    texts = [text.strip() for _, text in sorted(zip(order, generated, strict=True))]
    right = [language.written(tokens).strip() for _, _, tokens in chosen]
    found = text_metrics(texts, [one or " " for one in right], tuple(METRICS))
    lines = [(store.place(row), language.written(prompt)[-LONG:], good[:LONG], text[:LONG])
             for (row, prompt, _), good, text in zip(chosen, right, texts, strict=True)]
    report.metrics |= found
    report.details["answers"] = [dict(zip(("row", "prompt", "response", "answer"), line, strict=True)) for line in lines]
    short = [(place, _line(prompt)[-WIDE:], _line(good)[:WIDE], _line(text)[:WIDE])
             for place, prompt, good, text in lines[:SHOWN]]
    report.tables.append(Table("answers", ("row", "prompt", "response", "answer"), lines[:SHOWN], shown=short))
    return report


def _line(text: str) -> str:
    return " ".join(text.split())
