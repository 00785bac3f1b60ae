"""The fields of a text that is read and of the one that is written. Imports no TensorFlow."""

import pathlib
from typing import Any

from tfft.config import Experiment
from tfft.data import fields
from tfft.data.fields import Field, Unusable


def row_fields(experiment: Experiment, cache: pathlib.Path) -> tuple[Field, ...]:
    """text: str, the source; target: str."""
    data = experiment.data
    return (Field("text", "source_column", data.source_column, fields.text),
            Field("target", "target_column", data.target_column, _target, asked=False))


def _target(value: Any, column: str) -> str:
    try:
        return fields.text(value, column)
    except Unusable as error:
        raise Unusable(str(error).replace("(its text)", "(the target)")) from error
