"""What notebooks and scripts call (docs/python.md); no TensorFlow is imported until something is computed."""

import contextlib
import functools
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfft.config import Experiment, MultiTask, resolve_any, shipped
from tfft.errors import UserError, unknown
from tfft.files import to_path
from tfft.notebook import in_notebook
from tfft.run.leaks import without_leaks

# flags that are arguments or settings here; not those of a command that is named whole
FLAGS = re.compile(r"((?:python -m )?tfft[. ]\w+(?: --\S+)+)|--(?=(?:config\.|workdir|data|split|output|weights|calibrated|"
                   r"on_broken_row|encoding|quoting|delimiter|\w+_column|learn)\b)")
ROWS = 1024  # answered at once
_trainings = 0  # in this process: each clears what TensorFlow keeps of SentencePiece tokenizers


@contextlib.contextmanager
def _in_python() -> Iterator[None]:
    """Mistakes are told in Python's words, not in a command's; what is said of progress is plain output in a notebook."""
    with contextlib.ExitStack() as stack:
        if in_notebook():
            stack.enter_context(contextlib.redirect_stderr(sys.stdout))
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "IProgress not found")  # of libraries' bars, which are not shown
        stack.enter_context(without_leaks())
        try:
            yield
        except UserError as error:
            raise UserError(FLAGS.sub(lambda found: found[1] or "", str(error))) from None


def load_config(name: str):
    with _in_python():
        return shipped.load(name)


def guess_config(file: str, learn: str = "", **known: Any):
    with _in_python():
        from tfft.run.guess import Sketch

        sketch = Sketch(file, known, learn)
        print(sketch.told())
        return sketch.config()


def fine_tune(config: Any, workdir: str = "") -> "Run | dict[str, Run]":
    global _trainings
    config = load_config(config) if isinstance(config, str) else config
    with _in_python():
        experiment = config if isinstance(config, Experiment | MultiTask) else resolve_any(config)
        workdir = str(workdir) or f"runs/{experiment.name}"

        from tfft.run.fine_tune import fine_tune

        _trainings += 1
        code = fine_tune(experiment, workdir)
        if code:
            raise KeyboardInterrupt if code == 130 else SystemExit(code)
        if isinstance(experiment, MultiTask):
            return {name: Run(f"{workdir}/{name}") for name in experiment.tasks}
        return Run(workdir)


class Run:
    """A trained run. It is opened with the first call that computes.

    workdir: its path; experiment: its settings.
    """

    def __init__(self, workdir: str, weights: str = ""):
        from tfft.run.workdir import Workdir

        if weights not in ("", "best", "last"):
            raise UserError(f"weights={weights!r} must be 'best', 'last', or '' for what config.export.weights says.")
        self._weights = weights
        with _in_python():
            self._folder = Workdir(str(workdir))
            self.workdir, self.experiment = self._folder.path, self._folder.experiment()
        self._opened: tuple | None = None

    def __repr__(self) -> str:
        return f"<{self.experiment.task.name} run in {self.workdir}>"

    @property
    def history(self) -> list[dict]:
        """metrics.jsonl: a dict for each point of the training curve and each evaluation."""
        return [json.loads(line) for line in self._folder.metrics.read_text("utf-8").splitlines()]

    def predict(self, rows: Any, *, probabilities: bool = False) -> Any:
        """The answer to a row, or the list of answers to several: what was given, and the answer's own values.

        rows: a text, a dict of a row's columns, or a list (or pandas DataFrame or Series) of them; a pair of texts, or a
        question with its context, may be a tuple. A text that is missing or blank has an answer of None values.
        probabilities: with each label's, where there are labels.
        """
        if alone := isinstance(rows, (str, dict, tuple)):
            rows = [rows]
        with _in_python():
            rows = [self._named(row, number) for number, row in enumerate(_records(rows), 1)]
            made, bar = [], _bar("answering", len(rows))
            for begin in range(0, len(rows), ROWS):
                made += self._answers(rows[begin:begin + ROWS], begin, probabilities)
                bar.advance(len(made), "")
            bar.stop()
        return made[0] if alone else made

    def evaluate(self, data: Any = "", *, split: str = "", on_broken_row: str = "", **reading: str) -> "Evaluation":
        """Judges the run on a source of labelled rows ("csv:more.csv"), on a list of dicts or a DataFrame, or, without data,
        on a split of its own: the test rows where it has some, else the validation rows.

        on_broken_row: "error" or "skip", '' is the run's own; reading: encoding, delimiter, quoting of a source's files.
        """
        for known, given, all_of in (("way to read", reading, ("encoding", "delimiter", "quoting")),
                                     ("split", [split] if split else [], ("train", "validation", "test")),
                                     ("on_broken_row", [on_broken_row] if on_broken_row else [], ("error", "skip"))):
            for name in given:
                if name not in all_of:
                    raise UserError(unknown(known, name, all_of))
        with _in_python(), contextlib.ExitStack() as stack:
            name = data if isinstance(data, str) else "the rows given"
            if not isinstance(data, str):
                records, data = _records(data), str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "rows.jsonl")
                with open(data, "w", encoding="utf-8") as file:
                    file.writelines(json.dumps(record, default=_plain) + "\n" for record in records)
            if data and split:
                raise UserError("Give data or split, not both.")
            name = name or split or ("test" if self.experiment.data.specs("test") else "validation")
            opened = self._open()[0]

            from tfft.run.judge import examine, told
            from tfft.training.summaries import Console

            report = examine(opened, data, name, on_broken_row, Console(), reading)
            return Evaluation(report, told(opened, name, report))

    def export(self, output: str = "", *, dtype: str = "float32", calibrated: bool = False) -> Path:
        """Writes the next version of a SavedModel that takes raw text, proven to answer as the run does; returns its folder.

        output: the folder of versions, '' is <workdir>/export; dtype: what weights are kept in: float32, bfloat16, float16.
        """
        folder = to_path(output) if output else self._folder.export
        weights = ",".join(filter(None, (self._weights, dtype)))
        with _in_python():
            from tfft.serving.apart import export_apart, newest

            print(export_apart(str(self.workdir), f"--output={folder}", f"--weights={weights}",
                               *(["--calibrated"] if calibrated else [])))
            return newest(folder)

    def _open(self) -> tuple:
        """(run, predictor), opened once; again where a training has come between."""
        if self._opened is None or self._opened[-1] != _trainings:
            from tfft.run.workdir import open_run
            from tfft.serving.prediction import Predictor

            opened = open_run(self.workdir, self._weights)
            self._opened = opened, Predictor(opened), _trainings
        return self._opened[:2]

    @functools.cached_property
    def _fields(self) -> list:
        """The fields that are asked."""
        from tfft.assets import cache_folder
        from tfft.tasks.fields import FIELDS

        cache = cache_folder(self.experiment.data.cache)
        return [field for field in FIELDS[self.experiment.task.name](self.experiment, cache) if field.asked and field.column]

    def _named(self, row: Any, number: int) -> dict[str, Any]:
        """A row as a dict: "A text." -> {"text": "A text."}. Raises: UserError."""
        names = [field.name for field in self._fields]
        if isinstance(row, dict):
            for field in self._fields:
                if not {field.name, field.column, field.otherwise} & row.keys():
                    raise UserError(f"Row {number} has no {field.column!r}: this run answers {' with '.join(names)}. It has "
                                    f"{', '.join(map(repr, row)) or 'nothing'}.")
            return row
        values = row if isinstance(row, tuple) else (row,)
        if len(values) != len(names):
            shown = ", ".join(f"{name!r}: ..." for name in names)
            raise UserError(f"Row {number} has {len(values)} value{'s'[:len(values) > 1]}, but this run answers "
                            f"{' with '.join(names)}: give rows such as {{{shown}}}.")
        return dict(zip(names, values))

    def _answers(self, rows: list[dict], before: int, probabilities: bool) -> list[dict]:
        """Each row with its answer."""
        from tfft.serving.prediction import nothing_asked

        predictor = self._open()[1]
        values = [self._values(row) for row in rows]
        made = iter(predictor.answers([each for each in values if each]))
        nothing = {} if all(values) else dict.fromkeys(nothing_asked(predictor)[0])
        answered = []
        for number, (row, each) in enumerate(zip(rows, values, strict=True), before + 1):
            answer, shares = next(made) if each else (nothing, {})
            if taken := answer.keys() & row.keys():
                raise UserError(f"Row {number}: its column {min(taken)!r} has the name of a column of the answers. Rename it.")
            answered.append({**row, **answer, **({"probabilities": shares or None} if probabilities else {})})
        return answered

    def _values(self, row: dict) -> dict[str, Any] | None:
        """The asked fields' values; None where one is missing or blank."""
        from tfft.data.fields import Unusable, read_all

        try:
            return read_all(self._fields, row, lambda field: next(
                name for name in (field.column, field.otherwise, field.name) if name in row))
        except Unusable:
            return None


class Evaluation:
    """What an evaluation found. metrics: {name: value}; report: all of it; as text, what `tfft evaluate` prints."""

    def __init__(self, report: Any, text: str):
        self.metrics, self.report, self._text = report.metrics, report, text

    def __repr__(self) -> str:
        return self._text


def _bar(what: str, rows: int):
    """A console with a bar; a quiet one where one go does for all rows."""
    from tfft.training.summaries import Console

    console = Console(quiet=rows <= ROWS)
    console.start(what, rows)
    return console


def _records(rows: Any) -> list:
    """The rows of a list, or of a pandas DataFrame or Series."""
    return rows.rename(columns=str).to_dict("records") if hasattr(rows, "columns") else list(rows)


def _plain(value: Any) -> Any:
    """A value of numpy or pandas as JSON has it."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
