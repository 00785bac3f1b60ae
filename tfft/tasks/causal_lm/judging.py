"""How well a language model predicts tokens, each once, and how its answers compare with the right ones on some rows."""

from collections.abc import Callable

import numpy as np

from tfft.data.scratch import let_go, parts
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.tasks.base import Judged, Report, Table
from tfft.tasks.causal_lm.learnt import Language
from tfft.tasks.causal_lm.text_metrics import METRICS, text_metrics

LARGEST = 700.0  # a loss whose exponential is a number still
AT_ONCE = 8      # rows that are answered together
SHOWN = 8        # answers in a report
LONG = 500       # characters of a text in a table
WIDE = 48        # and on a terminal


def judge(judged: Judged) -> Report:
    """Perplexity, the exponential of the mean loss of all learnt tokens; accuracy; loss."""
    units, total, right, count = judged.units, 0.0, 0.0, 0
    for part in parts(len(units), units.shape[1]):
        losses = np.asarray(units[part, 0])
        real = losses >= 0
        total, count = total + float(losses[real].sum(dtype=np.float64)), count + int(real.sum())
        right += float(units[part, 1][real].sum(dtype=np.float64))
        let_go(units)
    loss = total / max(1, count)
    return Report({"perplexity": float(np.exp(min(loss, LARGEST))), "accuracy": right / max(1, count), "loss": loss},
                  len(judged.rows), details={"tokens": count})


def samples(store: TokenStore, rows: np.ndarray, number: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(row, tokens of the prompt, tokens of the right answer) of so many rows at most, always the same ones: those with an
    answer that is whole within its example, the last one of a conversation."""
    made = []
    for row in np.random.default_rng(0).permutation(rows):
        if len(made) == number:
            break
        example = int(store.examples_of(np.array([row]))[0])
        tokens, learnt = store.values("tokens", example), store.values("learnt", example)
        if len(tokens) < int(store.column("full_length")[row]):
            continue
        places = np.flatnonzero(learnt)
        if len(places) and places[0] > 0:
            first = places[np.flatnonzero(np.diff(places, prepend=-2) > 1)[-1]]
            last = places[-1] + 1
            if first > 0:
                made.append((int(row), np.asarray(tokens[:first], np.int32), np.asarray(tokens[first:last], np.int32)))
    return made


def remarks(store: TokenStore, rows: np.ndarray) -> list[str]:
    """What was cut of rows. Raises: UserError where nothing is left to learn."""
    examples = store.examples_of(rows)
    offsets, learnt = store.column("learnt_offsets"), store.column("learnt")
    sums = np.concatenate([[0], np.cumsum(learnt, dtype=np.int64)])
    each = sums[offsets[examples + 1]] - sums[offsets[examples]]
    row_of = store.row_of(examples)
    last = np.flatnonzero(np.append(np.diff(row_of) != 0, True))
    total = np.add.reduceat(each, np.append(0, last[:-1] + 1))
    parts, lengths = np.diff(np.append(-1, last)), np.asarray(store.lengths[examples], np.int64)
    cut = (parts == 1) & (np.asarray(store.column("full_length")[rows]) > lengths[last])
    nothing = total == 0
    if nothing.all():
        raise UserError("Nothing of these rows is learnt: no response begins within config.data.max_length tokens. Make it "
                        "larger.")
    told = []
    if cut.any():
        told.append(f"{cut.sum():,} of {len(rows):,} rows are longer than data.max_length and lose their ends, such as "
                    f"{store.place(rows[np.argmax(cut)])}; of {int((cut & nothing).sum()):,} no response is left")
    if (nothing & ~cut).any():
        told.append(f"{int((nothing & ~cut).sum()):,} rows have nothing to learn, such as "
                    f"{store.place(rows[np.argmax(nothing & ~cut)])}")
    return told


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
