"""Weights alone, in one safetensors file that is whole or absent: what evaluation chose, and what is served."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from tfft.errors import UserError
from tfft.files import copy_file, is_remote, local_copy, remove_tree, save_tensors, store_errors


def save_weights(path: Path, variables: list, metadata: dict[str, str]) -> None:
    """Writes every weight among the variables by its path, and string metadata.

    Raises: UserError where the disk is full or cannot be written; what was there before stays.
    """
    values = {v.path: np.ascontiguousarray(v.numpy()) for v in _weights(variables)}
    remote = is_remote(path)
    temporary = Path(tempfile.mkdtemp()) / path.name if remote else path.with_suffix(".making")
    try:
        with store_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(values, temporary, metadata)
        if remote:
            copy_file(temporary, path)
        else:
            os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot write the weights to {path}: {error}. Is the disk full? Free some space and run the same "
                        "command again.") from error
    finally:
        if remote:
            remove_tree(temporary.parent)
        with contextlib.suppress(OSError):
            temporary.unlink()


def load_weights(path: Path, variables: list, partly: bool = False) -> dict[str, str]:
    """Assigns the weights of a file to variables of the same paths and shapes and returns the metadata. partly: the file
    may have others too.

    Raises: UserError where the file is missing, damaged, or of another model.
    """
    try:
        with local_copy(path) as here, safe_open(str(here), "np") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            wanted = {v.path for v in variables} if partly else found.keys()
            _check(path, {name: found[name] for name in found.keys() & wanted}, variables)
            for variable in _weights(variables):
                variable.assign(file.get_tensor(variable.path))
            return file.metadata() or {}
    except FileNotFoundError as error:
        raise UserError(f"There are no weights at {path}. Has the run finished an evaluation? Run its train command "
                        "again.") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot read the weights at {path}: {error}. Restore that file, or train again in a new "
                        "--workdir.") from error


def _check(path: Path, found: dict[str, tuple], variables: list) -> None:
    """Raises UserError where the file has not just these weights, each of its shape."""
    expected = {v.path: tuple(v.shape) for v in _weights(variables)}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise UserError(f"The weights at {path} are of another model: {name} has shape {found.get(name, 'none')} there and "
                            f"{expected.get(name, 'none')} here.")


def fingerprint(variables: list) -> str:
    """A hash of weights: their paths, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for variable in sorted(_weights(variables), key=lambda v: v.path):
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{variable.path} {value.shape} {value.dtype}".encode() + value.tobytes())
    return digest.hexdigest()


def _weights(variables: list) -> list:
    """All variables but the seed states of dropout."""
    return [v for v in variables if "seed_generator" not in v.path]
