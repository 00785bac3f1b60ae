"""Mixtures: several sources, and how an epoch is drawn from them. Settings and rules."""

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Iterator
from typing import Any

from tfft.config.schema import setting, settings_of_named
from tfft.errors import UserError, unknown

LIMITS = ("train_rows", "validation_rows", "test_rows")


@dataclasses.dataclass(frozen=True)
class Share:
    """What a source has beside settings of config.data."""

    rate: float = setting(0.0, "share of an epoch's rows beside the rates of the others: 2 and 1 are two thirds and one "
                               "third; 0: by its training rows", low=0)
    cap: int = setting(0, "it counts as so many rows at most; 0: mixture.cap", low=0)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """How an epoch is drawn from several sources (Raffel et al. 2020, section 3.5.2), where they have no rates."""

    rows: int = setting(0, "rows of an epoch, of all sources together; 0: as many as they count as", low=0)
    temperature: float = setting(1.0, "a source is drawn by the T-th root of the rows it counts as: 1 is by its rows, 2 gives "
                                      "small ones more, 1000 is about equal parts", low=1)
    cap: int = setting(0, "a source counts as so many rows at most (T5's artificial limit), though all are drawn from; 0: as "
                          "all it has", low=0)


def check(e) -> None:
    """Rules between the sources of an experiment, or where it has none. Raises: UserError."""
    data, by_source = e.data, e.data.by_source()
    if not data.sources:
        if data.mixture != Mixture():
            raise UserError("config.data.mixture says how an epoch is drawn from several sources, but config.data.sources "
                            "names none. Name them, --config.data.sources.NAME.train=csv:FILE, or leave it unset.")
        return
    if len(by_source) < 2:
        name, = by_source
        raise UserError(f"config.data.sources names {name!r} alone: a mixture has two sources or more. For one set config.data "
                        "itself.")
    if data.train and not any("train" not in own for own in data.sources.values()):
        raise UserError(f"config.data.train={data.train} is read by none of the sources, each of which names its own. Name it "
                        f"as one of them, --config.data.sources.NAME.train={data.train}, or set --config.data.train=''.")
    for name in data.sources:
        if not by_source[name].train:
            raise UserError(f"config.data.sources.{name}.train is empty: name where its training rows are."
                            f"{_meant(name, by_source)}")
    _check_apart(by_source)
    _check_rates(data)
    _check_columns(data, by_source)


def _meant(name: str, by_source: dict) -> str:
    """Asks whether another source is meant, where one has nearly the same name."""
    near = difflib.get_close_matches(name, [other for other in by_source if other != name], n=1, cutoff=0.6)
    return f" Did you mean the source {near[0]!r}?" if near else ""


def _check_rates(data) -> None:
    rated = [name for name, own in data.sources.items() if own.get("rate")]
    capped = [name for name, own in data.sources.items() if own.get("cap")]
    if not rated:
        return
    if len(rated) < len(data.sources):
        other = next(name for name in data.sources if name not in rated)
        raise UserError(f"config.data.sources.{rated[0]} has a rate, {other} has none. Give every source one, "
                        f"--config.data.sources.{other}.rate=1, or none.")
    if capped or data.mixture.cap or data.mixture.temperature != 1:
        where = f"sources.{capped[0]}.cap" if capped else f"mixture.{'cap' if data.mixture.cap else 'temperature'}"
        raise UserError(f"config.data.{where} makes rates of numbers of rows, but the sources have rates. Leave one of the two "
                        "unset.")


def _check_columns(data, by_source: dict) -> None:
    """Sources may name a task's column differently, but all have it or none."""
    common = settings_of_named(_frame(data), Share)
    for field in dataclasses.fields(data):
        if field.name in common or not field.metadata.get("own"):
            continue
        for name, one in by_source.items():
            if bool(getattr(one, field.name)) != bool(getattr(data, field.name)):
                given = bool(getattr(one, field.name))
                raise UserError(f"config.data.sources.{name}.{field.name} is {'set' if given else 'empty'}, config.data."
                                f"{field.name} is {'not' if given else 'set'}. Sources may have such a column by another name, "
                                f"but all of them or none: set config.data.{field.name} too.")


def _frame(data) -> type:
    """The class that all tasks' `data` come from."""
    return next(kind for kind in reversed(type(data).__mro__) if dataclasses.is_dataclass(kind))


def _check_apart(by_source: dict) -> None:
    """No rows are read twice."""
    for split in ("train", "validation", "test"):
        seen: dict[str, tuple[str, Any]] = {}  # source -> (which rows of a file, the file and how it is read)
        for name, data in by_source.items():
            spec = getattr(data, split)
            if not spec or re.fullmatch(r"\s*[\d.]+%\s*", spec):
                continue
            file = dataclasses.replace(data, train=spec, validation="", test="", where="", **dict.fromkeys(LIMITS, 0))
            others = {other: where for other, (where, known) in seen.items() if known == file}
            if other := next((other for other, where in others.items() if bool(where) != bool(data.where)), ""):
                every, part = (other, name) if data.where else (name, other)
                raise UserError(f"config.data.sources: {every} reads all {split} rows of {spec}, {part} some of them."
                                f"{_meant(every, by_source)} A source of its own has its own --config.data.sources.{every}."
                                f"{split}=... or --config.data.sources.{every}.where=COLUMN=VALUE.")
            if other := next((other for other, where in others.items() if where == data.where), ""):
                raise UserError(f"config.data.sources: {other} and {name} have the same {split} rows, {spec}"
                                f"{f' where {data.where}' if data.where else ''}. Give each its own: "
                                f"--config.data.sources.{name}.{split}=... or --config.data.sources.{name}.where=COLUMN=VALUE.")
            seen[name] = data.where, file


def check_metric(e, known: tuple[str, ...]) -> None:
    """eval.metric is one of the task's, or SOURCE/METRIC. Raises: UserError."""
    source, slash, metric = e.eval.metric.rpartition("/") if e.data.sources else ("", "", e.eval.metric)
    if slash and source not in e.data.sources:
        raise UserError(f"config.eval.metric={e.eval.metric}: {unknown('source', source, e.data.sources)}")
    if slash and not e.data.by_source()[source].validation and not e.data.folds.number:
        raise UserError(f"config.eval.metric={e.eval.metric}: this source has no validation rows. Set "
                        f"--config.data.sources.{source}.validation=10%.")
    if metric not in known:
        raise UserError(f"config.eval.metric: {unknown('metric', metric, known)}")


@contextlib.contextmanager
def in_source(name: str, data) -> Iterator[None]:
    """Mistakes of the block are told by the settings of a source: "config.data.where" -> "config.data.sources.imdb.where"."""
    try:
        yield
    except UserError as error:
        if not name:
            raise
        own = "|".join(field.name for field in dataclasses.fields(data) if field.metadata.get("own"))
        told = re.sub(rf"\bconfig\.data\.({own})\b", rf"config.data.sources.{name}.\1", str(error))
        raise UserError(told) from error
