"""Tensors of checkpoints in Hugging Face's layout."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from tfft.errors import UserError


class Checkpoint:
    """The tensors of safetensors files, by name."""

    def __init__(self, files: list[Path]):
        self._file = {}
        try:
            self._open = [safe_open(str(path), "np") for path in files]
            for file in self._open:
                self._file |= dict.fromkeys(file.keys(), file)
        except (OSError, SafetensorError) as error:
            raise UserError(f"Cannot read {', '.join(map(str, files))}: {error}. Copy the model anew.") from error

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self._file[name].get_tensor(name).astype(np.float32)
        except TypeError as error:  # bfloat16, which NumPy has not
            raise UserError(f"{name} cannot be read with NumPy ({error}). Save the model in float32.") from error
