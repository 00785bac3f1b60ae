"""A config for a file of rows: python -m tfft.init tickets.csv [--output=tickets.py] [--yes]

Looks at the file, says what it takes for what and why, asks, and writes a config file that runs.
"""

import shlex
import sys
from pathlib import Path

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError
from tfft.run.guess import COLUMNS, SPLITS, Sketch, Tie, choice

YES = flags.DEFINE_bool("yes", False, "Write what is guessed without asking; nothing where guesses are equally good.")
OUTPUT = flags.DEFINE_string("output", "", "The config file to write; '' is the data file's name with .py.")
LEARN = flags.DEFINE_string("learn", "", "What is to be learnt, where the file leaves it open; a wrong word lists the choices.")
SPLITS = {name: flags.DEFINE_string(name, "", f"Another file, or a share such as 20%, for the {name} rows.") for name in SPLITS}
READING = {
    "encoding": flags.DEFINE_string("encoding", "", "What the file is encoded in, e.g. cp1252; '' finds out."),
    "delimiter": flags.DEFINE_string("delimiter", "", "The one character between fields, or tab; '' finds out."),
    "quoting": flags.DEFINE_string("quoting", "", "double, backslash or none; '' finds out."),
    "on_broken_row": flags.DEFINE_enum("on_broken_row", "", ["", "error", "skip"], "skip leaves out what cannot be read; ''"
                                       " leaves out rows without a text or label, and says so."),
    "header": flags.DEFINE_bool("header", None, "Whether the first line names the columns; by default that is found out."),
}
GIVEN = {name: flags.DEFINE_string(name, "", f"The column that is config.data.{name}.") for name in COLUMNS}


def main(file: str = "") -> int:
    if not file:
        raise UserError("Name a file of rows: tfft init tickets.csv")
    given = {name: flag.value for name, flag in (GIVEN | READING | SPLITS).items() if flag.value not in ("", None)}
    asked = not YES.value
    if asked and not sys.stdin.isatty():
        raise UserError("There is no terminal to ask in. Add --yes to write what is guessed.")
    try:
        sketch = _settled(file, given, LEARN.value, asked)
    except UserError as error:
        raise UserError(str(error).replace("--config.data.", "--")) from error
    path = OUTPUT.value or f"{sketch.name}.py"
    if Path(path).exists():
        raise UserError(f"{path} exists already. Name another file with --output=FILE.py.")
    print(sketch.told())
    if asked and input(f"\nWrite {path}? [Y/n] ").strip().lower() not in ("", "y", "yes"):
        print("nothing written; flags change the guess: tfft init --help")
        return 0
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(sketch.text(path), "utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}. Name another file with --output.") from error
    shown, name = shlex.quote(path), sketch.name
    print(f"\nwritten: {path}\nnext:\n  tfft plan --config={shown}        rows, lengths, steps and time, before any training\n"
          f"  tfft train --config={shown} --workdir=runs/{name}\n  tfft serve --workdir=runs/{name}")
    return 0


def _settled(file: str, given: dict, learn: str, asked: bool) -> Sketch:
    """The guess; the user's choice where several are equally good."""
    try:
        return Sketch(file, given, learn)
    except Tie as tie:
        if not asked:
            raise
        choices = tie.guesses
    print(f"{file} can be taken for several things:")
    for number, guess in enumerate(choices, 1):
        print(f"  {number}  {guess.what}: {choice(guess, choices)}")
    answer = ""
    while not (answer.isdigit() and 1 <= int(answer) <= len(choices)):
        answer = input(f"Which one? [1-{len(choices)}] ").strip()
    chosen = choices[int(answer) - 1]
    columns = {name: value for name in COLUMNS if (value := chosen.settings.get(f"data.{name}"))}
    return Sketch(file, {**given, **columns}, chosen.learn)


if __name__ == "__main__":
    command_line.run(main, takes=1)
