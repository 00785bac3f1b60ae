"""The gates before an export is published: every op is a server's own, and the answers are the trained model's."""

import base64
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tfft.data.tokenize import features
from tfft.errors import UserError
from tfft.evaluation.calibration import Calibration
from tfft.serving.prediction import Predictor, as_bytes
from tfft.workdir import Run

# what must not differ between the trained model and what is served
NASTY = [
    "", " ", "\n\t \r", "plain words", "two\nlines\ttab", "long " * 20_000, "x" * 100_000, "\u4e2d" * 100_000,
    "emoji \U0001f600 and \U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e6\U0001f1f9 \u2764\ufe0f",
    "caf\u00e9", "cafe\u0301", "\ufb01ne \u212b \uff21\uff22", "zalgo" + "\u0301" * 500, "\u0130\u0131\u1e9e\u00df", "0" * 300,
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627", "\u202eright to left\u202c", "\u4e2d\u6587\u5b57",
    "control \x00\x01\x1f\x7f characters", "\ufeff\u200b\u2028\u0085", "\ufffd\uffff",
    "[CLS] [SEP] <s> </s> [MASK] [PAD] [UNK]", "a[SEP]b", "##s ##ing",
    b"\xff\xfe bad bytes \xc3", b"\xed\xa0\x80 \xf4\x90\x80\x80 half a pair", b"cut in the middle of \xe4\xb8",
]
SIZES = (1, 2, 7, 32)
HELD_OUT = 64
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


def prove(run: Run, folder: Path, dtype: str, calibration: Calibration | None,
          held_out: list[tuple[str, str]]) -> Proof:
    """Compares the export with the trained model, row by row, on nasty and held-out texts, in batches of several sizes.

    held_out: texts with their second texts, which count for pairs alone.
    Raises: UserError where it does not load, has an op that servers lack, or answers otherwise.
    """
    texts = [*NASTY, *(first for first, _ in held_out)]
    second = [*reversed(NASTY), *(other for _, other in held_out)]
    pairs = bool(run.experiment.data.text_pair_column)
    predictor = Predictor(run, temperature=calibration.temperature if calibration else 1.0)
    expected = predictor(texts, second if pairs else None)
    columns = {"text": texts, "text_pair": second} if pairs else {"text": texts}
    batches = make_batches(len(NASTY), len(texts))
    reference = batches[-1]
    encoded = {name: [base64.b64encode(as_bytes(t)).decode() for t in column] for name, column in columns.items()}
    answer = _ask({"folder": str(folder), "columns": encoded, "batches": batches, "reference": reference,
                   "tokens": _token_ids(predictor, run, columns, reference)})
    check_ops(answer["ops"])
    output = "value" if run.task.problem == "regression" else "scores"
    tolerance = TOLERANCE[dtype] * max(1.0, float(np.abs(expected).max()))
    got = [(rows, _matrix(made[output], len(rows))) for rows, made in zip(batches, answer["batches"], strict=True)]
    got += [(reference, _matrix(made.get(output, made.get("outputs")), len(reference)))
            for made in answer["signatures"].values()]
    return Proof(len(texts), len(got), _compare(got, expected, tolerance, texts), tolerance, tuple(answer["ops"]["core"]),
                 tuple(answer["ops"]["text"]))


def make_batches(nasty: int, rows: int) -> list[list[int]]:
    """Row numbers: nasty rows among themselves and all rows mixed, in batches of each of SIZES; the last is a mixed one."""
    random = np.random.default_rng(0)
    made = []
    for size in SIZES:
        for among in ([np.arange(nasty)] if size > 1 else []) + [random.permutation(rows)]:
            made += [among[begin:begin + size].tolist() for begin in range(0, len(among), size)]
            if len(made[-1]) < size and size == SIZES[-1]:  # filled up, so that the largest size is there
                made[-1] = (made[-1] + among.tolist() * size)[:size]
    return made


def check_ops(ops: dict[str, list[str]]) -> None:
    """Raises UserError where a graph has an op that the stock tensorflow/serving image has not."""
    strangers = sorted({*ops["unknown"], *(PYTHON_OPS & set(ops["core"]))})
    if strangers:
        raise UserError(f"The export has ops that TensorFlow Serving lacks: {', '.join(strangers)}. Only those of TensorFlow "
                        "and tensorflow-text are in its image. Nothing was published.")


def _ask(question: dict) -> dict:
    # -P: what lies beside the script is not imported. The GPU of this process is not shared with that one.
    answer = subprocess.run([sys.executable, "-P", str(Path(__file__).with_name("check_export.py"))],
                            input=json.dumps(question), capture_output=True, text=True,
                            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})
    if answer.returncode:
        last = (answer.stderr.strip() or "no message").splitlines()[-1]
        raise UserError(f"The export does not load on its own: {last}. Nothing was published.")
    return json.loads(answer.stdout.strip().splitlines()[-1])


def _token_ids(predictor: Predictor, run: Run, columns: dict[str, list], rows: list[int]) -> dict[str, list]:
    """The inputs of the tokens signature, by the trained model's own tokenizer."""
    tokens = predictor.tokens(*([column[row] for row in rows] for column in columns.values()))
    made = features(tokens, predictor.text_tokenizer.pad_id, tuple(run.model.input), multiple=8)
    return {name: made[name].numpy().tolist() for name in run.model.input}


def _matrix(values: list, rows: int) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(rows, -1)


def _compare(got: list[tuple[list[int], np.ndarray]], expected: np.ndarray, tolerance: float, texts: list) -> float:
    """The largest difference. Raises: UserError with the worst rows where it is beyond the tolerance, or no number."""
    wrong, largest = {}, 0.0
    for rows, values in got:
        difference = np.abs(values - expected[rows]).max(axis=1)
        difference[~np.isfinite(difference)] = np.inf
        largest = max(largest, float(difference.max()))
        for row, value, found in zip(rows, values, difference, strict=True):
            if found > tolerance and found > wrong.get(row, (0.0,))[0]:
                wrong[row] = float(found), len(rows), value
    if wrong:
        worst = sorted(wrong.items(), key=lambda item: -item[1][0])[:SHOWN]
        lines = "\n".join(f"  {texts[row][:60]!r} in a batch of {size}: by {found:.2g}, {_shown(value)} instead of "
                          f"{_shown(expected[row])}" for row, (found, size, value) in worst)
        raise UserError(f"The export answers otherwise than the trained model on {len(wrong):,} of {len(texts):,} texts "
                        f"(allowed: {tolerance:.2g}):\n{lines}\nNothing was published.")
    return largest


def _shown(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{v:.4g}" for v in values[:4]) + (", ...]" if len(values) > 4 else "]")
