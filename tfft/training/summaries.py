"""What a person reads of a run: TensorBoard, the progress bar, the log file, the tables. TensorFlow is imported with the
first point on the board."""

import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tfft.files import Lines
from tfft.notebook import Line, bar, in_notebook

LINE_SECONDS = 20  # between two lines of progress where there is no terminal


class Console:
    """Says things on standard error and in a log file; draws a bar with ETA where standard error is a terminal or a notebook
    shows it. A quiet one only logs."""

    def __init__(self, log: Path | None = None, quiet: bool = False):
        self._quiet = quiet
        self._log = Lines(log) if log else None
        self._bar: tqdm | None = None
        self._line: Line | None = None
        self._last_line = 0.0

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)
        self.log(text)
        if self._bar is not None:
            self._bar.refresh()

    def log(self, text: str) -> None:
        if self._log:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            self._log.add("".join(f"{now} {line}\n" for line in text.split("\n")))

    def flush(self) -> None:
        """Writes what of the log waits to be."""
        if self._log:
            self._log.flush()

    def now_and_then(self, text: str) -> None:
        """Says it unless something was said or moved in the last LINE_SECONDS."""
        if time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            self.say(text)

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Begins a bar of `total` steps."""
        self.stop()
        if in_notebook() and not self._quiet:
            self._line = Line()
        elif sys.stderr.isatty() and not self._quiet:
            self._bar = tqdm(total=total, initial=done, desc=what, unit="step", dynamic_ncols=True, smoothing=0.05)
        self._what, self._total, self._first, self._begin = what, total, done, time.monotonic()
        self._last_line = time.monotonic()

    def advance(self, done: int, note: str) -> None:
        """Moves the bar; without a terminal writes a line now and then."""
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
        now = time.monotonic()
        left = (now - self._begin) / max(1, done - self._first) * (self._total - done)
        place = f"{done:,}/{self._total:,} ({done / self._total:.0%})"
        state = "  ".join(part for part in (place, note, f"{duration(left)} left") if part)
        if self._line is not None:
            self._line.show(f"{self._what} {bar(done / self._total)} {state}")
        if now - self._last_line < LINE_SECONDS and done < self._total:
            return
        self._last_line = now
        line = f"{self._what} {state}"
        if self._bar is None and self._line is None and not self._quiet:
            print(line, file=sys.stderr, flush=True)
        self.log(line)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._line is not None:
            self._line.finish()
        self._bar = self._line = None


class Board:
    """TensorBoard writers for the train and validation curves."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def scalars(self, kind: str, step: int, values: dict[str, float]) -> None:
        import tensorflow as tf

        with self._writer(kind).as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def text(self, kind: str, step: int, name: str, markdown: str) -> None:
        import tensorflow as tf

        with self._writer(kind).as_default(step=step):
            tf.summary.text(name, markdown)

    def hparams(self, values: dict[str, bool | float | str], trial: str) -> None:
        """What a run differs in, for TensorBoard's tab that compares runs by it."""
        from tensorboard.plugins.hparams import api

        with self._writer("").as_default():
            api.hparams(values, trial_id=trial)

    def flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, kind: str):
        import tensorflow as tf

        if kind not in self._writers:
            self._writers[kind] = tf.summary.create_file_writer(str(self._folder / kind))
        return self._writers[kind]


def duration(seconds: float) -> str:
    """75 -> '1m 15s'."""
    seconds = int(round(seconds))
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {seconds % 60:02d}s" if minutes else f"{seconds}s"


def table(rows: list[tuple], header: tuple[str, ...] = ()) -> str:
    """Columns aligned for a terminal; numbers to the right."""
    cells = [tuple(_cell(v) for v in row) for row in ([header] if header else []) + rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    numeric = [all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(widths))]
    lines = ["  " + "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)).rstrip()
             for row in cells]
    return "\n".join(lines)


def markdown(rows: list[tuple], header: tuple[str, ...]) -> str:
    """A table for TensorBoard's text tab; what would break it is escaped."""
    def clean(value):
        return _cell(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")

    return "\n".join(["| " + " | ".join(clean(v) for v in row) + " |" for row in [header]]
                     + ["|" + " --- |" * len(header)] + ["| " + " | ".join(clean(v) for v in row) + " |" for row in rows])


def _cell(value) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
