"""How a notebook shows what a run says: a line there is drawn over in place, without carriage returns."""

import sys
import time

WIDTH = 30  # characters of a bar
SECONDS = 0.25  # between two states of a line


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this. Imports nothing."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")


class Line:
    """One line of a cell's output; what is saved with the notebook is its last state."""

    def __init__(self):
        from IPython.display import display

        self._display, self._shown, self._last, self._text = display, None, 0.0, ""

    def show(self, text: str) -> None:
        """Shows it in place of the last, a few times a second."""
        self._text = text
        if time.monotonic() - self._last >= SECONDS:
            self.finish()

    def finish(self) -> None:
        """Shows what was to be shown last."""
        self._last, data = time.monotonic(), {"text/plain": self._text}
        if self._shown is None:
            self._shown = self._display(data, raw=True, display_id=True)
        else:
            self._shown.update(data, raw=True)


def bar(share: float) -> str:
    """0.5 -> a bar of which half is full."""
    full = round(WIDTH * min(1.0, share))
    return "\u2588" * full + "\u2591" * (WIDTH - full)
