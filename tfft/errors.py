"""The one exception for a user's mistake, and the words it is told in."""

import difflib
import errno
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable

# what a message may end with and need no stop: a stop, or a command, setting, path or address to be copied
ENDING = re.compile(r"[.?!)]$|(?:--\S+|pip install (?:\S+ ?)+|\S*[=/:#*]\S*)$")


class UserError(Exception):
    """A mistake the user can mend. The message says what is wrong, where, and what to do, in one paragraph. It ends with a
    stop, which others' words in it may lack, or with what is to be copied."""

    def __init__(self, message: str):
        message = message.rstrip()
        super().__init__(message if ENDING.search(message) else f"{message}.")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Says that `name` is no known `kind` and names the nearest one.

    unknown("pooling", "maen", ["cls", "mean"]) -> "Unknown pooling 'maen'. Did you mean 'mean'? Known: cls, mean."
    """
    known = [str(k) for k in known]
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known[:30]) + (f", ... ({len(known)} in all)" if len(known) > 30 else "")
    return f"Unknown {kind} {name!r}.{hint} Known: {listed or 'none'}."


def exit_code(call: Callable[[], int | None]) -> int:
    """Runs a command's body. A UserError, a full disk or Ctrl-C becomes one paragraph on standard error and an exit code."""
    try:
        return call() or 0
    except UserError as error:
        return _tell(str(error), 2)
    except KeyboardInterrupt:
        print("\ntfft: interrupted", file=sys.stderr, flush=True)
        return 130
    except BrokenPipeError:  # of a pipe to head or less, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell has it: 128 + SIGPIPE
    except (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        if not error.filename:
            raise
        return _tell(f"{error.filename}: {error.strerror}.", 2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _tell(f"the disk is full ({error.filename or 'no file named'}). Free some space and run the same command again; "
                     "what was saved before is whole.", 2)


def _tell(message: str, code: int) -> int:
    text = "\n".join(textwrap.fill(line, 110, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
                     if len(line) > 110 else line for line in message.split("\n"))
    print(f"\ntfft: error: {text}", file=sys.stderr, flush=True)
    return code
