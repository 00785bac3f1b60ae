"""Apache Beam as what makes the shards of token stores: processes of this machine, or workers of a cluster."""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfft.config import Data, named_sources
from tfft.data.spec import parse, split_slice
from tfft.errors import UserError, unknown
from tfft.files import is_remote, to_path, write_text

RUNNERS = ("DirectRunner", "DataflowRunner", "FlinkRunner", "SparkRunner")
LOOK_SECONDS = 2


class OnBeam:
    """A tfft.run.prepare.Runner. options: as Beam's own commands take them, "--name=value" each.

    Raises: UserError where Beam is not installed, or knows no such runner or option.
    """

    def __init__(self, runner: str, options: list[str]):
        if runner not in RUNNERS:
            raise UserError(f"--runner: {unknown('runner', runner, RUNNERS)}")
        self.runner, self._options = runner, _options(options)

    def check_paths(self, data: Data, stores: str, shared: bool) -> None:
        """Raises: UserError where other machines would look for files that this one has."""
        if self.runner == "DirectRunner" or shared:
            return
        here = [spec for spec in named_sources(data) if not _reachable(spec, data)]
        here += ["the folder of stores"] * (not is_remote(stores))
        if here:
            raise UserError(f"--runner={self.runner} works on other machines, and {' and '.join(here)} "
                            f"{'are' if here[1:] else 'is'} on this one. Put data in an object store "
                            "(csv:gs://bucket/rows/*.csv) and name a folder there for the stores: --stores=gs://bucket/stores. "
                            "Or put data and cache on a file system that all of them have mounted at the same place, and say "
                            "so with --shared_files.")

    def __call__(self, work, job, items: list, console) -> None:
        """Does the work of each item. What a worker refuses is left in the folder of the store, as a file; Beam would tell it
        under a traceback, after several attempts."""
        beam = _beam()
        folder = job.making().folder
        for refused in _refused(folder):
            refused.unlink()
        # DirectRunner would first ask for a program of Go to be downloaded
        name = "FnApiRunner" if self.runner == "DirectRunner" else self.runner
        log = (job.making().preparer.cache / "stores" / f"{job.name}.beam.log") if is_remote(folder) else folder / "beam.log"
        with _errors_to(log), _told(folder, len(items), console):
            with beam.Pipeline(runner=name, options=self._options) as pipeline:
                _ = (pipeline | beam.Create(list(enumerate(items))) | beam.Reshuffle()
                     | beam.Map(_attempt, work, job, str(folder)))
        log.unlink(missing_ok=True)
        if refused := _refused(folder):
            raise UserError(refused[0].read_text("utf-8"))


def _attempt(item: tuple[int, Any], work, job, folder: str) -> None:
    """A worker's part."""
    number, what = item
    try:
        work(job, what)
    except UserError as error:
        write_text(to_path(folder) / f"refused-{number:06}.txt", str(error).encode("utf-8", "backslashreplace").decode())


def _refused(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith("refused-"))


@contextlib.contextmanager
def _told(folder: Path, items: int, console) -> Iterator[None]:
    """Says how many of so many items have come into a folder."""
    def there() -> int:
        return sum(path.name.startswith(("shard-", "counts-")) for path in folder.iterdir())

    def watch() -> None:
        shown = 0
        while not done.wait(LOOK_SECONDS):
            if (now := min(items, there() - before)) > shown:
                shown = now
                console.advance(shown, "")

    before, done = there(), threading.Event()
    console.start("preparing", items)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        console.stop()


@contextlib.contextmanager
def _errors_to(log: Path) -> Iterator[None]:
    """Has a file take what Beam and its processes log, which they do by the page; sys.stderr stays what it is."""
    sys.stderr.flush()
    terminal, before = os.dup(2), sys.stderr
    with open(log, "ab") as file, open(terminal, "w", buffering=1, encoding="utf-8", errors="backslashreplace") as shown:
        os.dup2(file.fileno(), 2)
        sys.stderr = shown if before is sys.__stderr__ else before
        try:
            yield
        except Exception as error:
            error.add_note(f"What Beam and its workers logged: {log}")
            raise
        finally:
            sys.stderr = before
            os.dup2(shown.fileno(), 2)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Of clouds whose libraries are not there, and of what is told below."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _beam():
    try:
        with _without_warnings():
            import apache_beam
    except ImportError as error:
        raise UserError(f"--runner needs Apache Beam ({error}), which has a stack of its own: in another virtual environment, "
                        "pip install -e \".[beam]\" -c constraints/beam.txt") from error
    return apache_beam


def _options(given: list[str]):
    """Beam's options. Raises: UserError for one that none of its runners knows."""
    _beam()
    from apache_beam.options.pipeline_options import PipelineOptions

    with _without_warnings():
        options = PipelineOptions(given)
        known = options.get_all_options()
    names = [option.partition("=")[0].removeprefix("--") for option in given if option.startswith("--")]
    for name in names:
        if name not in known and name.removeprefix("no_") not in known:
            raise UserError(f"--beam_options: {unknown('option', name, known)}")
    return options


def _reachable(spec: str, data: Data) -> bool:
    """Whether every machine can read a source."""
    kind, body, _ = parse(split_slice(spec)[0], spec)
    return body.startswith("pypi:") or is_remote(data.tfds_data_dir if kind == "tfds" else body)
