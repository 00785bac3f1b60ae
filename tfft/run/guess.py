"""A first config for a file of rows: what `tfft init` writes. Imports no TensorFlow."""

import dataclasses
import itertools
import pprint
import re
from pathlib import Path
from typing import Any

from tfft.assets import cache_folder
from tfft.config import MULTILINGUAL, classes_of, default_config, named_sources, resolve, shipped
from tfft.data.look import Column, Guess, Look, look, script, tokens
from tfft.data.sources import Source
from tfft.errors import UserError, unknown
from tfft.tasks.fields import FIELDS
from tfft.tasks.guesses import GUESSES

TEMPLATES = {"text_classification": "my_csv", "token_classification": "my_entities", "question_answering": "my_answers",
             "embedding": "my_pairs", "multiple_choice": "my_choices", "causal_lm": "my_chat",
             "seq2seq": "my_rewrites"}
TIE = 0.15          # scores that differ by less are equally good
LENGTHS = (64, 96, 128, 192, 256, 384, 512)
READ = 200_000      # rows that are tried
SHOWN = 6           # guesses of a refusal
SPLITS = ("validation", "test")  # sources beside the file's, or shares of it, that may be given
READING = ("encoding", "delimiter", "quoting", "header", "on_broken_row")  # settings of config.data that may be given
# what of config.data names a column, of any task: what may be given
COLUMNS = tuple(dict.fromkeys(field.name for kind in classes_of(("data",)) for field in dataclasses.fields(kind)
                              if field.name.endswith("_column") and field.name not in ("id_column", "group_column")))
FILE = """{head}

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config({task!r})
    config.name = {name!r}

{settings}
    return config
"""


class Tie(UserError):
    """Several guesses are equally good: `guesses`."""

    def __init__(self, message: str, guesses: list[Guess]):
        super().__init__(message)
        self.guesses = guesses


class Sketch:
    """What a file is taken for, by the settings that say so.

    given: what is known, by the name of its setting in config.data: COLUMNS, READING, SPLITS; learn: what is to be learnt, by a
    guess's word. Raises: UserError where there is nothing to learn from; Tie.
    """

    def __init__(self, file: str, given: dict[str, Any], learn: str = ""):
        cache = cache_folder()
        for setting in given:
            if setting not in COLUMNS + READING + SPLITS:
                raise UserError(unknown("setting", setting, COLUMNS + READING + SPLITS))
        columns = {setting: column for setting, column in given.items() if setting in COLUMNS}
        self.look = look(file, cache, **{setting: value for setting, value in given.items() if setting in READING})
        for setting, column in columns.items():
            if column not in self.look.columns:
                raise UserError(f"--{setting}={column}: {unknown('column', column, self.look.columns)}")
        self.guess = _best(self.look, columns, learn)
        self.name = re.sub(r"\W+", "_", Path(self.look.file).stem).strip("_") or "mine"
        self.settings, self.why = self._settings({f"data.{name}": given[name] for name in SPLITS if given.get(name)})
        self._try(cache)

    def config(self):
        """A ConfigDict."""
        config = default_config(self.guess.task)
        config.name = self.name
        for setting, value in self.settings.items():
            group, _, field = setting.partition(".")
            setattr(config[group], field, value)
        return config

    def told(self) -> str:
        """What was found, for a person."""
        seen, guess = self.look, self.guess
        lines = [f"{seen.file}: {seen.kind}, {seen.rows:,} rows looked at, columns {', '.join(seen.columns)}", *seen.words, "",
                 f"{guess.what[0].upper()}{guess.what[1:]} ({guess.task}):"]
        width = max(map(len, self.settings))
        for setting, value in self.settings.items():
            why = self.why.get(setting, "")
            lines.append(f"  {setting:{width}}  {value!r}{f'  # {why}' if why else ''}")
        used = {column for value in self.settings.values() for column in (value if isinstance(value, tuple) else (value,))}
        if unread := [column for column in seen.columns if column not in used and seen.kind != "conll"]:
            lines.append(f"  not read: {', '.join(unread)}")
        return "\n".join(lines)

    def text(self, path: str) -> str:
        """The config file that is to lie at a path."""
        lines, group = [], "data"
        for setting, value in self.settings.items():
            lines += [""] if setting.split(".")[0] != group else []
            group = setting.split(".")[0]
            made = pprint.pformat(value, width=10_000)
            note = f"  # {_one_line(self.why[setting])}" if setting in self.why else ""
            lines.append(f"    config.{setting} = {made}{note}" if len(made) + len(note) < 100 else
                         f"    {note.strip()}\n    config.{setting} = {made}")
        commands = [f"    tfft {command} --config={path}{more}" for command, more in (
            ("plan", "      look first: rows, labels, lengths, time"), ("train", f" --workdir=runs/{self.name}"))]
        about = _one_line(f"{self.guess.what}, from {self.look.spec}")
        head = "\n".join([f"{about[0].upper()}{about[1:]}. Written by tfft init.", "", *commands, ""])
        head = f'"""{_no_quotes(head)}"""'
        return FILE.format(head=head, task=self.guess.task, name=self.name, settings="\n".join(lines))

    def _settings(self, splits: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        """({setting: value}, {setting: why}) of all that differs from the defaults."""
        seen, guess = self.look, self.guess
        spec = seen.spec if re.match(r"\w+:", seen.spec) else f"{seen.kind}:{seen.spec}"
        known = {f"data.{field.name}" for field in dataclasses.fields(type(resolve_data(guess.task)))}
        made = {"data.train": spec, **{key: value for name, value in seen.settings.items() if (key := f"data.{name}") in known},
                **guess.settings, "data.validation": "10%", **splits}
        why = {**{f"data.{name}": reason for name, reason in seen.why.items()}, **guess.why,
               "data.validation": "of the rows, split off by a stable hash", **dict.fromkeys(splits, "as given")}
        template = shipped.load(TEMPLATES[guess.task])
        if guess.texts:
            made["data.max_length"], why["data.max_length"] = self._max_length()
        else:
            made["data.max_length"] = template.data.max_length
        default = default_config(guess.task)
        for group in ("model", "adaptation", "train", "export"):
            for field, value in template[group].items():
                if value != default[group][field]:
                    made[f"{group}.{field}"] = value
                    why[f"{group}.{field}"] = f"as in {TEMPLATES[guess.task]}, which comes with tfft"
        if guess.task != "causal_lm" and (reason := self._no_english()):
            made["model.backbone"], why["model.backbone"] = MULTILINGUAL, reason
        groups = ("data", "task", "model", "adaptation", "train", "export")
        return dict(sorted(made.items(), key=lambda item: groups.index(item[0].split(".")[0]))), why

    def _no_english(self) -> str:
        """Why the default encoder knows too little of the texts; '' where most letters are Latin."""
        settings = self.guess.settings
        asked = [*self.guess.texts, *(settings[f"data.{name}"] for name in ("question_column", "context_column")
                                      if f"data.{name}" in settings)]
        found, share = script([text for column in asked for text in _as_texts(self.look.columns[column].values[:500])])
        if found == "LATIN" or share < 0.5:
            return ""
        return f"{share:.0%} of the letters are {found.lower()}; the default encoder is an English one"

    def _max_length(self) -> tuple[int, str]:
        """(data.max_length, why): what nearly all texts need, as far as it can be told without their tokens."""
        longest = 0
        for column in self.guess.texts:
            lengths = sorted(tokens(_as_texts(self.look.columns[column].values)))
            longest += lengths[int(0.95 * (len(lengths) - 1))]
        chosen = next((length for length in LENGTHS if length >= longest), LENGTHS[-1])
        return chosen, f"in tokens: 95% of the texts have about {longest:,} or fewer (tfft plan counts them)"

    def _try(self, cache: Path) -> None:
        """Reads the rows as training will. Raises: UserError where none can be."""
        experiment = resolve(self.config())
        data = dataclasses.replace(experiment.data, on_broken_row="skip")
        source = Source(data.train, data, FIELDS[experiment.task.name](experiment, cache), cache)
        for spec in named_sources(data)[1:]:
            Source(spec, data, source.fields, cache).look()
        good = sum(1 for _ in itertools.islice(source.rows(), READ))
        if not good:
            raise UserError(f"No row of {self.look.file} can be read as {self.guess.what}. {source.broken_report()}")
        if report := source.broken_report():
            self.settings = {"data.train": self.settings["data.train"], "data.on_broken_row": "skip", **self.settings}
            self.why["data.on_broken_row"] = report


def resolve_data(task: str):
    """The task's settings of config.data, with their defaults."""
    return resolve({"task": {"name": task}, "data": {"train": "csv:any.csv"}}).data


def _best(seen: Look, columns: dict[str, str], learn: str) -> Guess:
    """The one guess that is best. Raises: UserError where there is none; Tie."""
    made = [guess for guesses in GUESSES.values() for guess in guesses(seen, columns)]
    made = sorted((guess for guess in made if _has(guess, columns)), key=lambda guess: -guess.score)
    if learn:
        kinds = list(dict.fromkeys(guess.learn for guess in made))
        made = [guess for guess in made if guess.learn == learn]
        if kinds and not made:
            raise UserError(f"--learn={learn}: {unknown('kind of thing to learn', learn, kinds)}")
    if not made:
        columns = "; ".join(_seen(column) for column in list(seen.columns.values())[:12])
        raise UserError(f"Nothing in {seen.file} looks like texts with labels, words with tags, questions with answers, or "
                        f"pairs: {columns}. Name the columns, as in --text_column=NAME --label_column=NAME.")
    best = [guess for guess in made if guess.score > made[0].score - TIE]
    if len(best) > 1:
        told = "; ".join(f"{guess.what}: {choice(guess, best)}" for guess in best[:SHOWN])
        raise Tie(f"{seen.file} can be taken for several things, none better than the others: {told}. Add the flags of the one "
                  "that is meant.", best)
    return best[0]


def _has(guess: Guess, columns: dict[str, str]) -> bool:
    return all(guess.settings.get(f"data.{setting}") == column for setting, column in columns.items())


def choice(guess: Guess, among: list[Guess]) -> str:
    """The flags that choose a guess among others: "--label_column=queue"."""
    flags = [f"--{setting.removeprefix('data.')}={value}" for setting, value in guess.settings.items()
             if setting.removeprefix("data.") in COLUMNS and value and any(
                 other.settings.get(setting) != value for other in among)]
    if any(other is not guess and all(other.settings.get(setting) == value for setting, value in guess.settings.items()
                                      if setting.removeprefix("data.") in COLUMNS) for other in among):
        flags.append(f"--learn={guess.learn}")
    return " ".join(flags) or f"--learn={guess.learn}"


def _seen(column: Column) -> str:
    """A column in a few words: body (texts of 23 words)."""
    if column.lists:
        numbers = all(isinstance(one, (int, float)) for each in column.lists for one in each)
        what = "lists of numbers" if numbers else "lists"
    elif column.is_text and column.words > 3:
        what = f"texts of {column.words:.0f} words"
    else:
        what = "numbers" if column.numbers else f"{len(column.counts):,} different value{'s'[:len(column.counts) != 1]}"
    return f"{column.name} ({what})"


def _no_quotes(text: str) -> str:
    """What can stand in a docstring."""
    return text.replace('"' * 3, "'" * 3).replace("\\", "/")


def _as_texts(values: list) -> list[str]:
    return [" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values]


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
