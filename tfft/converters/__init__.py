"""Checkpoints in a lone file of another format -> folders in Hugging Face's layout, made once and kept."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from tfft.converters import e5, gguf
from tfft.errors import UserError

KNOWN = {e5.MAGIC: (e5.convert, ""), gguf.MAGIC: (gguf.convert, "-2")}  # and what its folders' names end with: counted up
# where another version made other files of the same checkpoint


def converted(path: Path, kept: Path) -> Path | None:
    """The folder that a checkpoint file was converted to, under `kept`; None where the file is of no known format.

    Raises: UserError where the file is damaged.
    """
    with open(path, "rb") as file:
        convert, version = KNOWN.get(file.read(4), (None, ""))
        if convert is None:
            return None
        file.seek(0)
        folder = kept / (hashlib.file_digest(file, "sha256").hexdigest() + version)
    if folder.is_dir():
        return folder
    kept.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=kept))
    try:
        convert(path, making)
        if not folder.is_dir():  # another process may have been faster
            os.replace(making, folder)
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"{path} begins like a checkpoint that can be converted, but is damaged ({error}). Fetch it "
                        "anew.") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder
