"""Rows that a run was not trained on: by which settings they are read, and how what is wrong with them is told by commands that
have flags of their own and no --config."""

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tfft.config import Data
from tfft.data.fields import Field
from tfft.data.sources import Source
from tfft.data.spec import parse, split_slice
from tfft.errors import UserError

LOOKED_AT = 200  # rows that a file's dialect is tried on
DIALECT = ("delimiter", "quoting")
# advice of the readers that a command on a trained run cannot follow: it takes no --config flags
TRAINING_ADVICE = re.compile(
    r" (?:If|The first line) [^.]*--config\.data\.header=False(?:, and columns 0, 1, \.\.\.|\.)"
    r"| \([^()]*--config\.[^()]*\)"
    r"| Set config\.\S+(?: for numbers set config\.\S+)?(?=\s|$)")
OWN_FLAGS = "on_broken_row|encoding|quoting|delimiter"
NAMED = re.compile(r"which config\.data\.(\w+) names")


@contextlib.contextmanager
def other_rows(data: Data, on_broken_row: str) -> Iterator[Data]:
    """The settings that read rows which a run was not trained on: its columns, without what chose its own rows.

    Raises: the block's UserErrors, in words that fit commands without --config flags.
    """
    try:
        yield dataclasses.replace(data, where="", id_column="", group_column="", on_broken_row=on_broken_row)
    except UserError as error:
        raise UserError(in_own_words(str(error))) from error


def by_its_own_rule(data: Data, spec: str, fields: tuple[Field, ...], cache: Path, asked_only: bool, given: dict[str, str],
                    say: Callable[[str], None]) -> Data:
    """`data` with how a source's files are to be read: as `given` says, else by the rule of their format.

    What the run was told of the delimiter and the quotes of its own files holds for others of the same format only where it
    fits their first rows no worse than what these show of themselves.
    """
    as_trained = dataclasses.replace(data, **given)
    own = dataclasses.replace(as_trained, **{name: "auto" for name in DIALECT if name not in given})
    if own == as_trained or not _is_table(spec):
        return as_trained
    kinds = [_kind(trained) for trained in data.specs("train")]
    if _kind(spec) in kinds and _misfits(as_trained, spec, fields, cache, asked_only) <= _misfits(
            own, spec, fields, cache, asked_only):
        return as_trained
    told = " and ".join(f"{name}={getattr(data, name)}" for name in DIALECT if getattr(own, name) != getattr(as_trained, name))
    say(f"{spec}: it is read as its first rows show, not with {told} as the rows of the training (to decide: "
        f"{', '.join(f'--{name}' for name in DIALECT)})")
    return own


def _kind(spec: str) -> str:
    return parse(split_slice(spec.strip())[0], spec)[0]


def _is_table(spec: str) -> bool:
    return _kind(spec) in ("csv", "tsv")


def _misfits(data: Data, spec: str, fields: tuple[Field, ...], cache: Path, asked_only: bool) -> float:
    """How many of a source's first rows cannot be read."""
    source = Source(split_slice(spec.strip())[0], dataclasses.replace(data, on_broken_row="skip"), fields, cache)
    try:
        read = sum(1 for _ in itertools.islice(source.rows(asked_only), LOOKED_AT))
    except UserError:
        return float("inf")
    return source.broken_count / max(1, read + source.broken_count)


def in_own_words(message: str) -> str:
    """A message about rows as evaluate and predict tell it: without advice to set what the training has fixed.

    "a.csv: config.data.text_column: Unknown column 'text'. Known: x." -> "a.csv: text_column: Unknown column 'text'. Known: x.
    Columns and settings are those that the run was trained with."
    """
    message = with_flags(message, OWN_FLAGS)
    own = TRAINING_ADVICE.sub("", message).replace("config.data.", "").replace("--config.", "config.")
    if own == message:
        return own
    return f"{own}{'' if own.endswith(('.', '?')) else '.'} Columns and settings are those that the run was trained with."


def with_flags(message: str, names: str) -> str:
    """A message by the flags that a command has: "--config.data.encoding=cp1252" -> "--encoding=cp1252". names: a regular
    expression."""
    message = NAMED.sub(r"which --\1, or else the training's config, names", message)
    message = message.replace("--config.data.tfds_data_dir=FOLDER", "TFDS_DATA_DIR=FOLDER in the environment")
    message = message.replace("in config.data.tfds_data_dir", "where TFDS_DATA_DIR in the environment says")
    return re.sub(rf"(?:--)?config\.data\.({names})\b", r"--\1", message)
