"""Command lines: absl flags and ml_collections configs, with mistakes told before TensorFlow is imported."""

import dataclasses
import difflib
import re
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from tfft.config import Experiment, resolve
from tfft.errors import UserError, exit_code, unknown

OVERRIDE = re.compile(r"--?config\.([\w.]+)(?:=(.*))?", re.DOTALL)


def define_config() -> None:
    """Defines --config=FILE.py[:VARIANT] with its --config.GROUP.FIELD=VALUE overrides."""
    config_flags.DEFINE_config_file("config", None, "Experiment: FILE.py[:VARIANT]; override any field by "
                                    "--config.train.epochs=2")


def run(body: Callable[[], int | None]) -> None:
    """Parses the command line and runs `body`; leaves with its exit code, 2 for a user's mistake."""
    def main(argv):
        if len(argv) > 1:
            return exit_code(lambda: _raise(f"Unexpected argument {argv[1]!r}: values follow a flag, as in "
                                            "--workdir=runs/imdb."))
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbit would tell every step twice
        return exit_code(body)

    app.run(main, flags_parser=_parse)


def experiment() -> Experiment:
    """The checked experiment of --config. Raises: UserError."""
    if flags.FLAGS.config is None:
        raise UserError("Name an experiment: --config=configs/imdb.py:quick, or a copy of configs/my_csv.py.")
    return resolve(flags.FLAGS.config)


def _raise(message: str):
    raise UserError(message)


def _parse(argv: list[str]) -> list[str]:
    """absl's own parsing, its errors turned into one paragraph."""
    def parse():
        _check_config_flags(argv)
        parsed.extend(flags.FLAGS(argv))

    parsed: list[str] = []
    code = exit_code(lambda: _translated(parse, argv))
    if code:
        sys.exit(code)
    return parsed


def _translated(parse: Callable[[], None], argv: list[str]) -> None:
    try:
        parse()
    except UserError:
        raise
    except flags.UnrecognizedFlagError as error:
        raise UserError(str(error)) from error
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError, NameError,
            ImportError) as error:
        raise UserError(_explain(error, argv)) from error


def _explain(error: Exception, argv: list[str]) -> str:
    """Where in the config file or on the command line an error arose."""
    place = next((f"{f.filename}, line {f.lineno}: " for f in reversed(traceback.extract_tb(error.__traceback__))
                  if f.filename == _config_file(argv)), "")
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip().strip('"')
    text = text.rsplit("\n", 1)[-1] if "Traceback" in text else text
    return f"{place}{text}"


def _config_file(argv: list[str]) -> str | None:
    for i, argument in enumerate(argv):
        if argument in ("--config", "-config") and i + 1 < len(argv):
            return argv[i + 1].split(":", 1)[0]
        if argument.startswith(("--config=", "-config=")):
            return argument.split("=", 1)[1].split(":", 1)[0]
    return None


def _check_config_flags(argv: list[str]) -> None:
    """Checks --config's file and every override's name and value against the schema.

    Raises: UserError with the nearest known name.
    """
    path = _config_file(argv)
    if path is not None and not Path(path).is_file():
        folder = Path(path).parent
        near = difflib.get_close_matches(Path(path).name, [p.name for p in folder.glob("*.py")], n=1, cutoff=0.3)
        raise UserError(f"There is no config file {path}."
                        f"{f' Did you mean {folder / near[0]}?' if near else ''} (looked in {folder.resolve()})")
    for i, argument in enumerate(argv):
        match = OVERRIDE.fullmatch(argument)
        if match and path is None:
            raise UserError(f"{argument} overrides a field of a config, but there is no --config=FILE.py before it.")
        if match:
            value = match.group(2)
            if value is None and i + 1 < len(argv):
                value = argv[i + 1]
            _check_override(match.group(1), value)


def _check_override(name: str, value: str | None) -> None:
    schema, walked = Experiment, []
    for part in name.split("."):
        fields = {f.name: f for f in dataclasses.fields(schema)}
        if part not in fields:
            raise UserError(f"--config.{name}: {unknown('setting', part, fields)}{_elsewhere(part)}")
        hint = typing.get_type_hints(schema)[part]
        walked.append(part)
        if dataclasses.is_dataclass(hint):
            schema = hint
            continue
        if walked != name.split("."):
            raise UserError(f"--config.{name}: config.{'.'.join(walked)} is a {_kind(hint)}, not a group.")
        if value is not None and hint in (int, float) and not _parses(hint, value):
            raise UserError(f"--config.{name}={value}: must be {hint.__name__}. ({fields[part].metadata['doc']})")
        if value is not None and hint is bool and value.lower() not in ("true", "false", "1", "0", "t", "f"):
            raise UserError(f"--config.{name}={value}: must be true or false. ({fields[part].metadata['doc']})")
        return
    raise UserError(f"--config.{name} is a group of settings; name one of them: "
                    f"{', '.join(f.name for f in dataclasses.fields(schema))}.")


def _elsewhere(name: str) -> str:
    """' (there is config.train.epochs)' where another group has a setting of this very name."""
    found = []

    def walk(schema, prefix):
        for field_name, hint in typing.get_type_hints(schema).items():
            if dataclasses.is_dataclass(hint):
                walk(hint, f"{prefix}{field_name}.")
            elif field_name == name:
                found.append(f"config.{prefix}{field_name}")

    walk(Experiment, "")
    return f" There is {found[0]}." if found else ""


def _kind(hint) -> str:
    return getattr(hint, "__name__", str(hint))


def _parses(kind, value: str) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True
