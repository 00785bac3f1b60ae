"""Command lines: absl flags and ml_collections configs, with mistakes told before TensorFlow is imported."""

import ast
import dataclasses
import functools
import re
import sys
import traceback
import typing
from collections.abc import Callable

from absl import app, flags, logging
from ml_collections import config_flags

from tfft.config import Experiment, MultiTask, classes_of, in_task, resolve, resolve_any, shipped
from tfft.config.mixture import Share
from tfft.config.multi_task import OWN, PARTS
from tfft.config.schema import settings_of_named
from tfft.data.dialect import dialect
from tfft.data.encodings import known
from tfft.errors import UserError, exit_code, unknown

# What a user's own config file, or a value that ml_collections cannot parse, raises. Others are told if they arise in the file.
EXPECTED = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError, NameError, ImportError)
CACHE_ADVICE = re.compile(r"--config\.data\.cache=FOLDER or | or --config\.data\.cache\b")
OVERRIDE = re.compile(r"--?config\.([\w.]+)(?:=(.*))?", re.DOTALL)
OF_SOURCE = re.compile(r"--?config\.data\.sources\.([^=]*?)\.(\w+)(?:=(.*))?", re.DOTALL)
_of_sources: list[tuple[str, str, typing.Any]] = []  # (source, setting, value) of the command line


flags.disclaim_key_flags()  # --help lists --config among the flags of the command that defines it


def define_config() -> None:
    """Defines --config=NAME[:VARIANT], or FILE.py[:VARIANT], with its --config.GROUP.FIELD=VALUE overrides."""
    config_flags.DEFINE_config_file("config", None, "Experiment: FILE.py[:VARIANT], or one that comes with tfft: imdb:quick; "
                                    "override any field by --config.train.epochs=2")


def define_reading(of: str) -> Callable[[], dict[str, str]]:
    """Defines --encoding, --delimiter and --quoting of the files that the flag `of` names; returns what gives those that were
    given, as settings of config.data. That raises UserError where they cannot be, or there is no such file."""
    for name, doc in (("encoding", "what it is encoded in, e.g. cp1252; '': UTF-8, and lines that are none as in the training"),
                      ("delimiter", "csv and tsv: the one character between fields, or tab; '': as the file shows"),
                      ("quoting", "csv and tsv: double, backslash or none; '': as the file shows")):
        flags.DEFINE_string(name, "", f"How --{of} is read: {doc}.")

    def given() -> dict[str, str]:
        found = {name: value for name in ("encoding", "delimiter", "quoting") if (value := flags.FLAGS[name].value)}
        for name in found if not flags.FLAGS[of].value else ():
            raise UserError(f"--{name} goes with --{of}.")
        try:
            resolve({"data": {"train": "csv:train.csv", **found}})
            known(found.get("encoding", "utf-8"))
            dialect([], "csv", found.get("delimiter", "auto"), "double", header=True)
        except UserError as error:
            raise UserError(str(error).replace("config.data.", "--")) from error
        return found

    return given


class Judged(typing.NamedTuple):
    """The flags of a command that judges runs. reading: as of `define_reading`, when all of them go together."""

    data: flags.FlagHolder
    split: flags.FlagHolder
    weights: flags.FlagHolder
    on_broken_row: flags.FlagHolder
    reading: Callable[[], dict[str, str]]


def define_judged(several: bool = False) -> Judged:
    """Defines --data with how it is read, --split, --weights and --on_broken_row, of one run or of several together."""
    were, each, has, own = ("runs were", "each run", "all have", "the runs' own splits are read as their configs say") \
        if several else ("run was", "the run", "the run has", "the run's own splits are read as its config says")
    data = flags.DEFINE_string("data", "", f"A source of labelled rows with the columns the {were} trained with, e.g. "
                               "csv:more.csv.")
    split = flags.DEFINE_enum("split", "", ["", "train", "validation", "test"], f"Which split of {each}; '' is test where "
                              f"{has} one, else validation.")
    weights = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")
    on_broken_row = flags.DEFINE_enum("on_broken_row", "", ["", "error", "skip"], "What a row of --data without text or label, "
                                      "or against its format, does; '' is what config.data.on_broken_row says.")
    reading = define_reading("data")

    def checked() -> dict[str, str]:
        if data.value and split.value:
            raise UserError("Give --data or --split, not both.")
        if on_broken_row.value and not data.value:
            raise UserError(f"--on_broken_row goes with --data: {own}.")
        return reading()

    return Judged(data, split, weights, on_broken_row, checked)


def run(body: Callable[..., int | None], takes: int = 0) -> None:
    """Parses the command line and runs `body`, with what stands beside the flags where it takes so many arguments; leaves with
    its exit code, 2 for a user's mistake."""
    if takes:
        flags.FLAGS.set_gnu_getopt()  # flags may follow arguments

    def main(argv):
        if len(argv) > 1 + takes:
            return exit_code(lambda: _raise(f"Unexpected argument {argv[1 + takes]!r}: values follow a flag, as in "
                                            "--workdir=runs/imdb."))
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbit would tell every step twice
        call = functools.partial(body, *argv[1:])
        return exit_code(call if "config" in flags.FLAGS else lambda: _without_config(call))

    app.run(main, flags_parser=_parse)


def _without_config(body: Callable[[], int | None]) -> int | None:
    """Runs a command that has no --config: advice to set one is left out where another way is named."""
    try:
        return body()
    except UserError as error:
        raise UserError(CACHE_ADVICE.sub("", str(error))) from error


def experiment() -> Experiment:
    """The checked experiment of --config. Raises: UserError, also where that is of several tasks."""
    made = experiment_or_tasks()
    if isinstance(made, MultiTask):
        raise UserError(f"--config={_config_file(sys.argv)} is of several tasks ({', '.join(made.tasks)}), which tfft train, "
                        "plan and preflight take. Give this command the config of one.")
    return made


def experiment_or_tasks() -> Experiment | MultiTask:
    """The checked experiment of --config, or the several tasks that it is of. Raises: UserError."""
    if not flags.FLAGS["config"].present:
        raise UserError("Name an experiment: --config=imdb:quick, or a config file of your own, which tfft init FILE "
                        f"writes for a file of rows. These come with tfft: {', '.join(shipped.names())}.")
    return resolve_any(values())


def values() -> dict:
    """The nested values of --config, with what else the command line sets, before they are checked."""
    try:
        config = flags.FLAGS.config
        config = config.to_dict() if hasattr(config, "to_dict") else config
        if _of_sources:
            if "data" not in config:
                raise UserError(f"--config.data.sources.{_of_sources[0][0]}: the config is of several tasks. Name the sources "
                                "of one of them in the config file.")
            for source, name, value in _of_sources:
                config["data"]["sources"].setdefault(source, {})[name] = value
        return config
    except OSError as error:  # raised by the config file; ml_collections keeps it until the first look
        raise UserError(_explain(error, sys.argv)) from error


def config_file() -> str:
    """The file of --config, without its variant."""
    return _config_file(sys.argv) or ""


def _raise(message: str):
    raise UserError(message)


def _parse(argv: list[str]) -> list[str]:
    """absl's own parsing, its errors turned into one paragraph."""
    def parse():
        argv[:] = _with_config_file(argv)
        _check_config_flags(argv)
        argv[:] = _without_sources(argv)
        parsed.extend(flags.FLAGS(argv))

    parsed: list[str] = []
    try:
        code = exit_code(lambda: _translated(parse, argv))
    except SystemExit:  # --help was answered; absl would leave with 1
        sys.exit(0)
    if code:
        sys.exit(code)
    return parsed


def _translated(parse: Callable[[], None], argv: list[str]) -> None:
    try:
        parse()
    except UserError:
        raise
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"{error}.{_elsewhere(error.flagname)}".replace("?.", "?").replace("'..", "'.")) from error
    except Exception as error:
        if not isinstance(error, EXPECTED) and not _place(error, argv):
            raise  # a defect, not a mistake of the user
        raise UserError(_explain(error, argv)) from error


def _explain(error: Exception, argv: list[str]) -> str:
    """What went wrong, and where in the config file."""
    text = str(error)
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    if text.endswith("has no attribute 'get_config'"):
        return f"{_config_file(argv)} defines no get_config(variant)."
    place = _place(error, argv)
    near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
    missing = near[2] if near else (re.findall(r'Key "(\w+)" does not exist|^"?\'(\w+)\'"?$', text) or [("", "")])[0]
    missing = missing if near else "".join(missing)
    if missing:
        own = {"task": "task", "data": "data"} | {name: f"{key}.{name}" for key, names in OWN.items() for name in names}
        if missing in own:  # all tasks' configs have it
            return f"{place}Unknown setting {missing!r}. Each of several tasks has its own: --config.tasks.NAME.{own[missing]}"
        return f"{place}Unknown setting {missing!r}.{f' Did you mean {near[1]!r}?' if near else ''}{_elsewhere(missing)}"
    if "Traceback" in text:  # ml_collections wraps what the file raised
        text = text.strip().rsplit("\n", 1)[-1]
    elif place:
        text = f"{type(error).__name__}: {text}"
    return f"{place}{text}"


def _place(error: BaseException | None, argv: list[str]) -> str:
    """'FILE.py, line 7: ' where an error, or one behind it, arose in the config file; '' elsewhere."""
    path = _config_file(argv)
    while error:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename == path:
                return f"{path}, line {frame.lineno}: "
        error = error.__cause__ or error.__context__
    return ""


def _with_config_file(argv: list[str]) -> list[str]:
    """The command line with the file of --config in place of its name: --config=imdb -> --config=.../configs/imdb.py.

    Raises: UserError where there is no such file.
    """
    made = list(argv)
    for i, argument in enumerate(argv):
        if argument in ("--config", "-config") and i + 1 < len(argv):
            made[i + 1] = shipped.find(argv[i + 1])
        elif argument.startswith(("--config=", "-config=")):
            flag, _, spec = argument.partition("=")
            made[i] = f"{flag}={shipped.find(spec)}"
    return made


def _config_file(argv: list[str]) -> str | None:
    for i, argument in enumerate(argv):
        if argument in ("--config", "-config") and i + 1 < len(argv):
            return argv[i + 1].split(":", 1)[0]
        if argument.startswith(("--config=", "-config=")):
            return argument.split("=", 1)[1].split(":", 1)[0]
    return None


def _check_config_flags(argv: list[str]) -> None:
    """Checks every override's name and value against the schema.

    Raises: UserError with the nearest known name.
    """
    path = _config_file(argv)
    for i, argument in enumerate(argv):
        match, of_source = OVERRIDE.fullmatch(argument), OF_SOURCE.fullmatch(argument)
        if (match or of_source) and path is None:
            raise UserError(f"{argument} overrides a field of a config, but there is no --config before it.")
        if match and not of_source:
            _check_override(match.group(1), match.group(2), argv[i + 1] if i + 1 < len(argv) else None)


def _without_sources(argv: list[str]) -> list[str]:
    """The command line without settings of sources, which are kept: ml_collections knows no names that no config has.

    Raises: UserError with the nearest known name.
    """
    known = {name: found for kind in classes_of(("data",)) for name, found in settings_of_named(kind, Share).items()}
    made, arguments = [], iter(argv)
    _of_sources.clear()
    for argument in arguments:
        match = OF_SOURCE.fullmatch(argument)
        if not match:
            made.append(argument)
            continue
        source, name, value = match.groups()
        flag = f"--config.data.sources.{source}.{name}"
        if name not in known:
            told = f" All sources have one: --config.data.{name}." if name in _fields(("data",)) else ""
            raise UserError(f"{flag}: {unknown('setting', name, known)}{told}")
        field, hint = known[name]
        if value is None:
            value = "true" if hint is bool else next(arguments, "")
        if wanted := _misfit(hint, value):
            raise UserError(f"{flag}={value}: must be {wanted}. ({field.metadata['doc']})")
        _of_sources.append((source, name, _read(hint, value)))
    return made


def _read(hint, value: str):
    """A value of the command line as the type of its field, which it fits."""
    if hint is bool:
        return value.lower() in ("true", "1", "t")
    if hint in (int, float, str):
        return hint(value)
    return ast.literal_eval(value) if "," in value else (value,)


def _check_override(name: str, value: str | None, following: str | None) -> None:
    """Checks --config.NAME=VALUE, or --config.NAME `following` where value is None (but a bool stands alone)."""
    *groups, last = parts = name.split(".")
    if parts[0] == "tasks":
        _check_override_of_task(parts[1:], value, following)
        return
    if parts[:2] == ["data", "sources"]:
        raise UserError(f"--config.{name} is no setting: config.data.sources has sources by their names. Name one and its "
                        "setting, such as --config.data.sources.NAME.train=csv:FILE")
    for depth in range(len(groups)):
        known = _fields(tuple(groups[:depth]))
        if groups[depth] not in known:
            raise UserError(f"--config.{name}: {unknown('setting', groups[depth], known)}{_elsewhere(groups[depth])}")
        if not classes_of(tuple(groups[:depth + 1])):
            hint = known[groups[depth]][1]
            raise UserError(f"--config.{name}: config.{'.'.join(groups[:depth + 1])} is a {_kind(hint)}, not a group.")
    known = _fields(tuple(groups))
    if last not in known:
        raise UserError(f"--config.{name}: {unknown('setting', last, known)}{_elsewhere(last)}")
    if classes_of(tuple(parts)):
        raise UserError(f"--config.{name} is a group of settings; name one of them: {', '.join(_fields(tuple(parts)))}.")
    field, hint = known[last]
    if value is None and hint is not bool:
        value = following
    wanted = "" if value is None else _misfit(hint, value)
    if wanted:
        raise UserError(f"--config.{name}={value}: must be {wanted}. ({field.metadata['doc']})")


def _check_override_of_task(parts: list[str], value: str | None, following: str | None) -> None:
    """Checks --config.tasks.NAME.GROUP.FIELD=VALUE; whether there is a task of that name the config knows."""
    if len(parts) < 2:
        raise UserError("--config.tasks has tasks by their names. Name one and its setting, such as "
                        "--config.tasks.NAME.data.train=csv:FILE")
    task, key, *rest = parts
    if key in PARTS and not rest:
        if wanted := _misfit(float, following or "" if value is None else value):
            raise UserError(f"--config.tasks.{task}.{key}={value}: must be {wanted}. ({PARTS[key].metadata['doc']})")
        return
    if key not in ("task", "data", *OWN):
        common = f" All tasks have one: --config.{'.'.join(parts[1:])}." if key in _fields(()) else ""
        raise UserError(f"--config.tasks.{task}.{key}: {unknown('setting', key, ('task', 'data', *OWN, *PARTS))}{common}")
    if key in OWN and rest and rest[0] not in OWN[key] and rest[0] in _fields((key,)):
        raise UserError(f"--config.tasks.{task}.{key}.{rest[0]}: all tasks have one. Set --config.{key}.{rest[0]}.")
    if [key, *rest][:2] == ["data", "sources"]:
        raise UserError(f"--config.tasks.{'.'.join(parts)}: name the sources of one of several tasks in the config file.")
    with in_task(task):
        _check_override(".".join([key, *rest]), value, following)


def _fields(path: tuple[str, ...]) -> dict[str, tuple[dataclasses.Field, type]]:
    """(field, type) by name of a group's settings, of all tasks' where it is one of a task."""
    return {field.name: (field, typing.get_type_hints(kind)[field.name])
            for kind in classes_of(path) for field in dataclasses.fields(kind)}


def _elsewhere(name: str) -> str:
    """' (there is config.train.epochs)' where another group has a setting of this very name."""
    found = []

    def walk(path):
        for part in _fields(path):
            if classes_of((*path, part)):
                walk((*path, part))
            elif part == name:
                found.append(".".join(("config", *path, part)))

    walk(())
    return f" There is {found[0]}." if found else ""


def _kind(hint) -> str:
    return getattr(hint, "__name__", str(hint))


def _misfit(hint, value: str) -> str:
    """What a value must be, where it cannot be read as the type of its field; else ''."""
    if hint is bool:
        return "" if value.lower() in ("true", "false", "1", "0", "t", "f") else "true or false"
    literal = hint not in (int, float, str)  # a tuple; ml_collections takes a lone word for its only member
    if hint is str or (literal and "," not in value):
        return ""
    try:
        ast.literal_eval(value) if literal else hint(value)
    except (ValueError, SyntaxError):
        return "a tuple such as ('a','b'), in quotes for the shell, or one flag for each member" if literal else hint.__name__
    return ""
