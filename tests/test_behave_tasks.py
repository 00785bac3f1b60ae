"""Tests and noise on runs whose rows are changed in a way of their own: texts with entities, conversations."""

import json

import language
import pytest
from test_masked_lm_run import settings_of

from tfft.behaviour.judging import with_rows
from tfft.behaviour.suite import read_suite
from tfft.run import robustness
from tfft.run.behave import behave
from tfft.run.fine_tune import fine_tune
from tfft.serving.prediction import Predictor
from tfft.tasks.fields import FIELDS, LISTS

pytestmark = pytest.mark.slow
SUITE = """tests:
  - {{name: whatever, kind: minimum, texts: [{row}], expect: {{{expect}}}}}
  - {{name: same, kind: invariance, test_rows: 8, change: [{{typos: 100%}}, upper], {more}}}
"""


def write_lines(path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return f"jsonl:{path}"


USUAL = {"data__max_length": 24, "data__validation": "50%", "train__steps": 2, "train__global_batch_size": 8}


def made(config: str, model, folder, **changes):
    return settings_of(config, model, folder / "cache", **{**USUAL, **changes})


def entities(folder, tiny) -> tuple:
    rows = [{"text": f"the {name} film {i}", "spans": [[4, 4 + len(name), "X"]]} for i in range(30) for name in ("good", "bad")]
    columns = {"data__words_column": "", "data__tags_column": "", "data__text_column": "text", "data__spans_column": "spans"}
    experiment = made("my_entities", tiny, folder, data__train=write_lines(folder / "rows.jsonl", rows),
                      data__window_overlap=4, **columns)
    return experiment, "good film", "entities: {type: X}", "allowed: 1"


def prompts(folder, tiny) -> tuple:
    model = language.write(folder / "model")
    source = write_lines(folder / "rows.jsonl", [{"messages": [
        {"role": "user", "content": f"good bad {i}"}, {"role": "assistant", "content": " bad"}]} for i in range(40)])
    experiment = made(f"my_chat:{source}", model, folder, data__max_length=64, task__max_new_tokens=3, task__sample_rows=2)
    return experiment, "good", "lacks: no such word", "allowed: 1"


@pytest.mark.parametrize("kind", [entities, prompts])
def test_each_task_is_tested_and_judged_under_noise(kind, tiny_preset, tmp_path, monkeypatch):
    experiment, row, expect, more = kind(tmp_path, tiny_preset)
    assert fine_tune(experiment, str(tmp_path / "run")) == 0
    (tmp_path / "tests.yaml").write_text(SUITE.format(row=row, expect=expect, more=more))
    fields = FIELDS[experiment.task.name](experiment, tmp_path / "cache")
    known = [tuple(field.name for field in fields if field.asked and field.column), ("text", "text_pair")]
    monkeypatch.setattr(robustness, "NOISES", (("typos", "typos", 0.9), ("words", "words", 0.5)))
    tests = with_rows(read_suite(str(tmp_path / "tests.yaml")), known, LISTS)
    code = behave(str(tmp_path / "run"), predictor=Predictor, tests=tests, swaps=None, robust=True,
                  split="validation", rows=8, seed=0, weights="", output="")
    found = json.loads((tmp_path / "run" / "behaviour.json").read_text())
    assert [one["cases"] for one in found["tests"]] == [1, 16] and code in (0, 1)
    noise = found["robustness"]
    assert noise["rows"] == noise["noise"][0]["changed"] == 8
    assert noise["metrics"].keys() == noise["noise"][0]["metrics"].keys() and noise["metrics"] != noise["noise"][0]["metrics"]
    assert bool(noise["noise"][1]["metrics"]) == (kind is prompts)
