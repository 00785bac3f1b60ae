"""The folders of token stores in the cache: a store, or a shard of one, is written beside its place, and renamed when it
is whole."""

import contextlib
import errno
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.files import is_remote, store_errors


def open_store(cache: Path, name: str, build: Callable[[Path], None]) -> TokenStore:
    """Opens the store called `name`, building it first where it is absent or damaged.

    Raises: UserError where the disk is full or the cache cannot be written.
    """
    folder = cache / "stores" / name
    store = whole(folder)
    if store is not None:
        return store
    write_folder(cache, folder, build)
    return TokenStore(folder)


def write_folder(cache: Path, folder: Path, build: Callable[[Path], None]) -> None:
    """Has a store, or a shard of one, built beside its folder, and renames it when it is whole.

    Raises: UserError where the disk is full or the cache cannot be written.
    """
    stores = cache / "stores"
    with told_errors(stores):
        stores.mkdir(parents=True, exist_ok=True)
        _clean(stores)
        with temporary_folder(cache) as temporary:
            made = Path(temporary) / "store"
            made.mkdir()
            build(made)
            publish(made, folder)


@contextlib.contextmanager
def told_errors(stores: Path) -> Iterator[None]:
    """What the file system refuses, as a UserError."""
    try:
        with store_errors() if is_remote(stores) else contextlib.nullcontext():
            yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"The disk is full: no room for the token store in {stores}. Free some space, or "
                            "name another folder with TFFT_CACHE or --config.data.cache.") from error
        raise UserError(f"Cannot write the token store in {stores}: {error}. Name another folder with "
                        "TFFT_CACHE or --config.data.cache.") from error


def temporary_folder(cache: Path) -> tempfile.TemporaryDirectory:
    """A folder beside the stores that lives no longer than this process: another one removes what it leaves when killed."""
    (cache / "stores").mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=f".making-{os.getpid()}-{socket.gethostname()}-", dir=cache / "stores")


def remove_store(cache: Path, name: str) -> None:
    """Removes a store if it is there; processes that have it open keep reading it."""
    shutil.rmtree(cache / "stores" / name, ignore_errors=True)


def whole(folder: Path) -> TokenStore | None:
    """The store in a folder, or None where it is absent or damaged."""
    try:
        return TokenStore(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish(made: Path, folder: Path) -> None:
    """Renames a finished store into its place. A damaged one there gives way; another run's whole one stays."""
    if folder.exists() and whole(folder) is None:
        with contextlib.suppress(FileNotFoundError):  # another run moved it already
            folder.rename(made.with_name("damaged"))
    try:
        made.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _clean(folder: Path) -> None:
    """Removes what runs of this host that no longer live left half made."""
    ours = re.compile(rf"\.making-(\d+)-{re.escape(socket.gethostname())}-[^-]*")
    for path in folder.glob(".making-*"):
        match = ours.fullmatch(path.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            shutil.rmtree(path, ignore_errors=True)
