"""Texts in, answers out, from a server: what tfft.serving.prediction does, without the run."""

import dataclasses

import numpy as np

from tfft.assets import cache_folder
from tfft.config import Data
from tfft.errors import UserError
from tfft.evaluation.judge import TRAINING_ADVICE, check_writable
from tfft.files import local_path
from tfft.serving.client import Client
from tfft.serving.prediction import AskedRows, answer_rows, print_answers


class RemotePredictor:
    """A served model that tfft exported, where a Predictor may stand: texts -> answers under the same names."""

    def __init__(self, client: Client):
        self._client = client
        inputs = client.inputs()
        if inputs not in (["text"], ["text", "text_pair"]):
            raise UserError(f"The {client.address} takes {', '.join(inputs)}, not text: it is no export of tfft's.")
        self.pairs = len(inputs) == 2

    def answers(self, texts: list[str], second: list[str] | None) -> list[tuple[dict, dict[str, float]]]:
        """Each text's answer, and each label's probability."""
        made = self._client.predict(texts, second)
        if not texts:
            return []
        if "value" in made:
            return [({"predicted_value": float(value)}, {}) for value in made["value"].reshape(-1)]
        if not made.keys() >= {"label", "scores", "label_names"}:
            raise UserError(f"The {self._client.address} answers {', '.join(sorted(made))}, where an export of tfft's has "
                            "label, scores and label_names. Export the run again.")
        return [self._of_labels({name: values[i] for name, values in made.items()}) for i in range(len(texts))]

    @staticmethod
    def _of_labels(made: dict[str, np.ndarray]) -> tuple[dict, dict[str, float]]:
        scores = dict(zip(made["label_names"].tolist(), map(float, made["scores"])))
        if "selected" in made:
            chosen = [name for name, taken in zip(scores, made["selected"]) if taken]
            return {"predicted_labels": chosen, "probability": [scores[name] for name in chosen]}, scores
        return {"predicted_label": made["label"], "probability": max(scores.values())}, scores


def predict_texts_remotely(address: str, texts: list[str], second: list[str] | None) -> int:
    """Prints one JSON line for each text."""
    with Client(address) as client:
        predictor = RemotePredictor(client)
        _check_pairs(predictor, bool(second), "--text_pair for each --text")
        return print_answers(predictor, texts, second)


def predict_file_remotely(address: str, source: str, output: str, *, text_column: str, text_pair_column: str,
                          probabilities: bool, batch_size: int, on_broken_row: str) -> int:
    """Streams rows to a csv or jsonl file as `predict_file` does; which columns hold the text is said here."""
    target = local_path(output, "--output")
    check_writable(target)
    data = dataclasses.replace(Data(), text_column=text_column, text_pair_column=text_pair_column,
                               on_broken_row="error" if on_broken_row == "error" else "skip")
    with Client(address, batch_size=batch_size) as client:
        try:
            rows = AskedRows(source, data, cache_folder(), keep=on_broken_row == "empty")
            predictor = RemotePredictor(client)
            _check_pairs(predictor, bool(text_pair_column), "--text_pair_column")
            return answer_rows(predictor, rows, target, probabilities, in_flags)
        except UserError as error:
            raise UserError(in_flags(str(error))) from error


def in_flags(message: str) -> str:
    """A message about rows by the flags of this command: "config.data.text_column" -> "--text_column"."""
    for name in ("on_broken_row", "text_column", "text_pair_column"):
        message = message.replace(f"--config.data.{name}", f"--{name}").replace(f"config.data.{name}", f"--{name}")
    return TRAINING_ADVICE.sub("", message).replace("config.data.", "")


def _check_pairs(predictor: RemotePredictor, given: bool, flag: str) -> None:
    if predictor.pairs != given:
        raise UserError(f"This model takes pairs of texts: give {flag}." if predictor.pairs else
                        f"This model takes single texts: leave {flag.split()[0]} out.")
