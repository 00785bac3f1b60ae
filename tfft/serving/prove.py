"""The gates before an export is published: every op is a server's own, and the answers are the trained model's."""

import base64
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tfft.data.fields import filled
from tfft.data.tokenize import as_bytes, features
from tfft.errors import UserError
from tfft.run.workdir import Run
from tfft.serving import apart
from tfft.serving.prediction import Predictor
from tfft.serving.saved_model import inputs_asked

# Other batch shapes alone make about 1e-6; rounding the weights to 11 or 8 bits makes the rest.
TOLERANCE = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 5e-2}
PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}  # registered in Python's TensorFlow alone
SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Proof:
    """How an export was found to answer: the largest difference of a score or value, and the ops it is made of."""

    rows: int
    batches: int
    largest: float
    tolerance: float
    core_ops: tuple[str, ...]
    text_ops: tuple[str, ...]


def prove(run: Run, folder: Path, dtype: str, calibration: Any, held_out: list[dict[str, str]],
          signature: str = "serving_default") -> Proof:
    """Compares the export with the trained model, row by row, on nasty and held-out rows, in batches of several sizes.

    held_out: rows of asked fields. signature: the one that takes them; with serving_default those that a task has besides are
    asked too. Raises: UserError where it does not load, has an op that servers lack, or answers
    otherwise.
    """
    predictor = Predictor(run, calibration=calibration, plainly=True)  # so that the two have only the weights in common
    nasty, held_out = run.task.nasty(predictor.fields), run.task.as_served(held_out, predictor.encoder)
    columns = {name: filled([*nasty[name], *(_as(nasty[name][0], row[name]) for row in held_out)])
               for name in predictor.fields}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    expected = predictor(rows)
    batches = make_batches(len(rows) - len(held_out), len(rows), run.task.proof_sizes)
    reference = batches[-1]
    asked = [rows[row] for row in reference]
    others = run.task.other_questions(asked) if signature == "serving_default" else {}
    answer = _ask({"folder": str(folder), "signature": signature, "columns": _encoded(columns), "batches": batches,
                   "reference": reference, "tokens": _token_ids(predictor, run, asked),
                   "others": {name: _encoded(inputs) for name, (_, inputs) in others.items()}})
    check_ops(answer["ops"])
    tolerance = TOLERANCE[dtype] * run.task.scale(expected)
    got = [*zip(batches, answer["batches"], strict=True), *((reference, made) for made in answer["signatures"].values())]
    largest = _compare(run.task, got, expected, tolerance, [list(row.values()) for row in rows])
    for name, (other, _) in others.items():
        found = _compare(run.task, [(list(range(len(other))), answer["others"][name])], predictor(other), tolerance,
                         [list(row.values()) for row in other])
        largest = max(largest, found)
    return Proof(len(rows), len(got) + len(others), largest, tolerance, tuple(answer["ops"]["core"]),
                 tuple(answer["ops"]["text"]))


def make_batches(nasty: int, rows: int, sizes: tuple[int, ...]) -> list[list[int]]:
    """Row numbers: nasty rows among themselves and all rows mixed, in batches of each of `sizes`; the last is a mixed one."""
    random = np.random.default_rng(0)
    made = []
    for size in sizes:
        for among in ([np.arange(nasty)] if size > 1 else []) + [random.permutation(rows)]:
            made += [among[begin:begin + size].tolist() for begin in range(0, len(among), size)]
            if len(made[-1]) < size and size == sizes[-1]:  # filled up, so that the largest size is there
                made[-1] = (made[-1] + among.tolist() * size)[:size]
    return made


def check_ops(ops: dict[str, list[str]]) -> None:
    """Raises UserError where a graph has an op that the stock tensorflow/serving image has not."""
    strangers = sorted({*ops["unknown"], *(PYTHON_OPS & set(ops["core"]))})
    if strangers:
        raise UserError(f"The export has ops that TensorFlow Serving lacks: {', '.join(strangers)}. Only those of TensorFlow "
                        "and tensorflow-text are in its image. Nothing was published.")


def _as(kind: int | str | list, text: str) -> int | str | list:
    """A value of a store, which has texts, as the nasty ones are."""
    return int(text) if isinstance(kind, int) else json.loads(text) if isinstance(kind, list) else text


def _ask(question: dict) -> dict:
    # -P: what lies beside the script is not imported. The GPU of this process is not shared with that one.
    answer = apart.RUN([sys.executable, "-P", str(Path(__file__).with_name("check_export.py"))],
                       input=json.dumps(question), capture_output=True, text=True,
                       env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})
    if answer.returncode:
        last = (answer.stderr.strip() or "no message").splitlines()[-1]
        raise UserError(f"The export does not load on its own: {last}. Nothing was published.")
    return json.loads(answer.stdout.strip().splitlines()[-1])


def _encoded(value):
    """Texts as base64, in lists and dicts too."""
    if isinstance(value, dict):
        return {name: _encoded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    return value if isinstance(value, int) else base64.b64encode(as_bytes(value)).decode()


def _token_ids(predictor: Predictor, run: Run, rows: list[dict]) -> dict[str, list]:
    """The inputs of a tokens signature, by the trained model's own encoder."""
    names = inputs_asked(run)
    made = features(predictor.encode(rows)[0], predictor.encoder.pad_id, names, multiple=8)
    return {name: made[name].numpy().tolist() for name in names}


def _compare(task, got: list[tuple[list[int], dict]], expected: dict[str, np.ndarray], tolerance: float,
             texts: list[list]) -> float:
    """The largest difference. Raises: UserError with the worst rows where it is beyond the tolerance, or no number."""
    wrong, largest = {}, 0.0
    for rows, made in got:
        apart = task.difference(expected, made, rows)
        largest = max(largest, float(apart.max()))
        for place, (row, found) in enumerate(zip(rows, apart, strict=True)):
            if found > tolerance and found > wrong.get(row, (0.0,))[0]:
                wrong[row] = float(found), len(rows), {name: values[place] for name, values in made.items()}
    if wrong:
        worst = sorted(wrong.items(), key=lambda item: -item[1][0])[:SHOWN]
        lines = "\n".join(_line(texts[row], size, found, values, {n: v[row] for n, v in expected.items() if n in values})
                          for row, (found, size, values) in worst)
        raise UserError(f"The export answers otherwise than the trained model on {len(wrong):,} of {len(texts):,} texts "
                        f"(allowed: {tolerance:.2g}):\n{lines}\nNothing was published.")
    return largest


def _line(asked: list, size: int, found: float, got: dict, expected: dict) -> str:
    """One row that is answered otherwise."""
    shown = " || ".join(f"{value!r:.60}" for value in asked)
    return f"  {shown} in a batch of {size}: by {found:.2g}, {_shown(got)} instead of {_shown(expected)}"


def _shown(answer: dict) -> str:
    """The numbers of an answer, a few of each."""
    made = []
    for values in answer.values():
        numbers = np.ravel(values)
        if numbers.dtype.kind == "f":
            made.append("[" + ", ".join(f"{v:.4g}" for v in numbers[:4]) + (", ...]" if len(numbers) > 4 else "]"))
    return " ".join(made) or "another answer"
