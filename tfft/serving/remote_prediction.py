"""Texts in, answers out, from a server: what tfft.serving.prediction does, without the run."""

import contextlib
import dataclasses
from collections.abc import Sequence

from tfft.assets import cache_folder
from tfft.config import Data
from tfft.data.fields import Field, text
from tfft.errors import UserError
from tfft.files import local_path
from tfft.run.judge import check_writable
from tfft.run.other_rows import OWN_FLAGS, TRAINING_ADVICE, with_flags
from tfft.serving.asked_rows import AskedRows
from tfft.serving.client import Client
from tfft.serving.prediction import answer_rows, print_answers
from tfft.tasks.fields import LISTS
from tfft.tasks.table import TASKS


class RemotePredictor:
    """A served model that tfft exported, where a Predictor may stand: rows -> answers under the same names."""

    separator = ","  # the run's own is not known here

    def __init__(self, client: Client, signature: str = ""):
        self._client, self._signature = client, signature
        self.fields = tuple(client.inputs(signature))
        known = {name for kind in TASKS.values() for name in kind.asked}
        if not known.issuperset(self.fields):
            raise UserError(f"The {client.address} takes {', '.join(self.fields)}, not {' or '.join(sorted(known))}: it is no "
                            "export of tfft's.")

    def answers(self, rows: Sequence[dict[str, str]]) -> list[tuple[dict, dict[str, float]]]:
        """Each row's answer, and each label's probability where there are labels."""
        if not rows:
            return []
        made = self._client.ask({name: [row[name] for row in rows] for name in self.fields}, self._signature)
        kind = next((kind for kind in TASKS.values() if kind.recognises(set(made))), None)
        if kind is None:
            raise UserError(f"The {self._client.address} answers {', '.join(sorted(made))}, which no task of tfft's does: it "
                            "is no export of tfft's, or an old one. Export the run again.")
        return kind.answers(made)


def predict_texts_remotely(address: str, rows: list[dict[str, str]]) -> int:
    """Prints one JSON line for each row."""
    with Client(address) as client:
        predictor = _predictor(client, tuple(rows[0]))
        _check_fields(predictor, tuple(rows[0]))
        return print_answers(predictor, rows)


def predict_file_remotely(address: str, source: str, output: str, *, columns: dict[str, str], probabilities: bool,
                          batch_size: int, on_broken_row: str, reading: dict[str, str] | None = None) -> int:
    """Streams rows to a csv or jsonl file as `predict_file` does; which columns hold what is asked is said here."""
    target = local_path(output, "--output")
    check_writable(target)
    data = dataclasses.replace(Data(), on_broken_row="error" if on_broken_row == "error" else "skip", **(reading or {}))
    fields = tuple(Field(name, f"{name}_column", column, LISTS.get(name, text)) for name, column in columns.items() if column)
    with Client(address, batch_size=batch_size) as client:
        try:
            rows = AskedRows(source, data, fields, cache_folder(), keep=on_broken_row == "empty")
            given = tuple(field.name for field in fields)
            predictor = _predictor(client, given)
            _check_fields(predictor, given, "_column")
            return answer_rows(predictor, rows, target, probabilities, in_flags)
        except UserError as error:
            raise UserError(in_flags(str(error))) from error


def _predictor(client: Client, given: tuple[str, ...]) -> RemotePredictor:
    """Of a model that takes single texts the signature for two, if it has one and two are given: how alike they are."""
    predictor = RemotePredictor(client)
    if set(given) == {"text", "text_pair"} and predictor.fields == ("text",):
        with contextlib.suppress(UserError):
            return RemotePredictor(client, "similarity")
    return predictor


def in_flags(message: str) -> str:
    """A message about rows by the flags of this command: "config.data.text_column" -> "--text_column"."""
    message = with_flags(message, rf"{OWN_FLAGS}|\w+_column")
    return TRAINING_ADVICE.sub("", message).replace("config.data.", "")


def _check_fields(predictor: RemotePredictor, given: tuple[str, ...], ending: str = "") -> None:
    """ending: of the flags that name fields."""
    if set(predictor.fields) == set(given):
        return
    if set(predictor.fields) - {"text", "text_pair"}:
        flags = ", ".join(f"--{name}{ending}" for name in predictor.fields)
        raise UserError(f"This model takes {', '.join(predictor.fields)}: give {flags}.")
    if "text_pair" in predictor.fields:
        raise UserError(f"This model takes pairs of texts: give --text_pair{ending or ' for each --text'}.")
    raise UserError(f"This model takes single texts: leave --text_pair{ending} out.")
