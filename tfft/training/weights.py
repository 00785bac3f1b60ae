"""Weights alone, in one safetensors file that is whole or absent: what evaluation chose, and what is served."""

import os
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from tfft.errors import UserError


def save_weights(path: Path, model, metadata: dict[str, str]) -> None:
    """Writes every weight by its path, and string metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".making")
    save_file({v.path: np.ascontiguousarray(v.numpy()) for v in _weights(model)}, str(temporary), metadata)
    os.replace(temporary, path)


def load_weights(path: Path, model) -> dict[str, str]:
    """Assigns the weights of a file to a model of the same shape and returns the metadata.

    Raises: UserError where the file is missing, damaged, or of another model.
    """
    try:
        with safe_open(str(path), "np") as file:
            for variable in _weights(model):
                variable.assign(file.get_tensor(variable.path))
            return file.metadata() or {}
    except FileNotFoundError as error:
        raise UserError(f"There are no weights at {path}. Has the run finished an evaluation? Run its train command "
                        "again.") from error
    except Exception as error:  # safetensors raises its own exceptions, derived from Exception alone
        raise UserError(f"Cannot read the weights at {path}: {error}") from error


def _weights(model) -> list:
    """All variables but the seed states of dropout."""
    return [v for v in model.variables if "seed_generator" not in v.path]
