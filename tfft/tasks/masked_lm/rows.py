"""The fields of rows to learn masked words from. Imports no TensorFlow."""

import pathlib

from tfft.config import Experiment
from tfft.data import fields
from tfft.data.fields import Field


def row_fields(experiment: Experiment, cache: pathlib.Path) -> tuple[Field, ...]:
    """text: str"""
    return (Field("text", "text_column", experiment.data.text_column, fields.text),)
