"""Hard negatives: for each query of training rows, texts that an index finds for it though they do not belong to it.

Those nearest of all are often right answers that nobody has marked (Qu et al. 2021, RocketQA). So results of too high a rank or
score are left out; that a negative's score must be below a share of the positive's is the positive-aware mining of Moreira et
al. 2024 (NV-Retriever, "TopK-PercPos").
"""

import dataclasses
import itertools
import json
import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfft.assets import cache_folder
from tfft.data.sources import Row, Source
from tfft.data.splits import text_hash
from tfft.errors import UserError
from tfft.run.other_rows import by_its_own_rule, in_own_words, other_rows
from tfft.run.workdir import Run
from tfft.serving.search.embedder import Embedder
from tfft.training.summaries import Console
from tfft.vectors.folder import Index

AT_ONCE = 512  # rows


@dataclasses.dataclass(frozen=True)
class Mining:
    """negatives: of each row, at most. first, last: ranks of results that can be, from 1. share: a negative's score is at most
    this share of the least score of the row's positives; 0: whatever. duplicate: a text whose cosine with a positive is this or
    more is one. random: draw among those left, from the seed, instead of taking the nearest."""

    negatives: int = 5
    first: int = 1
    last: int = 100
    share: float = 0.95
    duplicate: float = 0.95
    random: bool = False
    seed: int = 0


class Miner:
    """left_out: how many results were no negatives, by why."""

    def __init__(self, index: Index, embedder: Embedder, mining: Mining, known: dict[int, set[int]]):
        self._index, self._embedder, self._mining, self._known = index, embedder, mining, known
        self._draw = np.random.default_rng(mining.seed)
        self.left_out: Counter[str] = Counter()

    def __call__(self, rows: list[Row]) -> list[list[str]]:
        """The negatives of each row."""
        queries = self._embedder.queries([row.values["text"] for row in rows])
        places, scores = self._index.search(queries, self._mining.last)
        positives = self._embedder.passages([text for row in rows for text in row.values["text_pair"]])
        bounds = np.cumsum([0, *(len(row.values["text_pair"]) for row in rows)])
        return [self._of(row, queries[i], places[i], scores[i], positives[bounds[i]:bounds[i + 1]])
                for i, row in enumerate(rows)]

    def _of(self, row: Row, query: np.ndarray, places: np.ndarray, scores: np.ndarray, positives: np.ndarray) -> list[str]:
        """places int64[k], scores float32[k]: what was found for the row; positives float32[p,D]."""
        mining, least = self._mining, float((positives @ query).min())
        most = least - (1 - mining.share) * abs(least) if mining.share else np.inf
        places, scores = (values[mining.first - 1:][places[mining.first - 1:] >= 0] for values in (places, scores))
        alike = (self._index.vectors[places] @ positives.T).max(axis=1, initial=-1)
        own, texts, made = text_hash(row.values["text"]), [self._index.text(place) for place in places.tolist()], {}
        for text, score, near in zip(texts, scores.tolist(), alike.tolist(), strict=True):
            key = text_hash(text)
            why = ("belong to the query" if key in self._known[own] else "are the query itself" if key == own else
                   "are nearly the same as a positive" if near >= mining.duplicate else
                   "score too high beside the positive" if score > most else "stand twice" if key in made else "")
            if why:
                self.left_out[why] += 1
            else:
                made[key] = text
        left = list(made.values())
        chosen = range(min(mining.negatives, len(left)))
        if mining.random:
            chosen = np.sort(self._draw.permutation(len(left))[:mining.negatives])
        return [left[i] for i in chosen]


def mine(run: Run, index: Index, embedder: Embedder, spec: str, target: Path, mining: Mining, reading: dict[str, str]) -> int:
    """Writes the rows of a source with their negatives, as configs/my_pairs.py reads them: text, text_pair, negative. Negatives
    that a row has already stay before those found. The file is there whole or not at all. Raises: UserError."""
    console = Console()
    with other_rows(run.experiment.data, "skip") as data:
        cache = cache_folder(data.cache)
        fields = run.reading(cache).fields
        data = by_its_own_rule(data, spec, fields, cache, False, reading, console.say)
        source = Source(spec, data, fields, cache)
        known: dict[int, set[int]] = defaultdict(set)  # of each query all texts that belong to it in any row
        count = 0
        for count, row in enumerate(source.rows(), 1):  # noqa: B007 - needed after the loop
            known[text_hash(row.values["text"])].update(map(text_hash, row.values["text_pair"]))
        if not count:
            raise UserError(f"{spec} has no rows.")
        miner = Miner(index, embedder, mining, known)
        temporary, found = target.with_name(f".{target.name}.making"), Counter()
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                for row, negatives in _mined(source, miner, count, console):
                    found[len(negatives)] += 1
                    file.write(json.dumps(_line(row, negatives), ensure_ascii=False) + "\n")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    for line in source.told():
        console.say(in_own_words(line))
    for why, number in miner.left_out.most_common():
        console.say(f"{number:,} results {why}, and are no negatives")
    total = sum(number * rows for number, rows in found.items())
    few = sum(rows for number, rows in found.items() if 0 < number < mining.negatives)
    print(f"{count:,} rows in {target}, {total / count:.1f} negatives each; {found[0]:,} rows have none, "
          f"{few:,} fewer than {mining.negatives}")
    print(f"next:\n  tfft train --config=my_pairs:{shlex.quote(str(target))} --workdir=runs/search-mined "
          f"--config.data.negative_columns=\"('negative',)\" --config.task.negatives={min(2, mining.negatives)}")
    return 0


def _mined(source: Source, miner: Miner, count: int, console: Console) -> Iterator[tuple[Row, list[str]]]:
    rows, done = source.rows(), 0
    console.start("mining", count)
    while chunk := list(itertools.islice(rows, AT_ONCE)):
        yield from zip(chunk, miner(chunk), strict=True)
        done += len(chunk)
        console.advance(done, "")
    console.stop()


def _line(row: Row, negatives: list[str]) -> dict:
    """A row in the columns of configs/my_pairs.py; one text that belongs to it stands by itself."""
    own = [text for name, several in row.values.items() if name.startswith("negative_") for text in several or ()]
    pair, grades = row.values["text_pair"], row.values["grade"]
    if set(grades) != {1}:
        pair = [{"text": text, "grade": grade} for text, grade in zip(pair, grades, strict=True)]
    return {"text": row.values["text"], "text_pair": pair[0] if len(pair) == 1 else pair,
            "negative": list(dict.fromkeys([*own, *negatives]))}
