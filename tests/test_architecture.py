"""A task is one folder: the one of docs/architecture.md, whole, in the frame that knows nothing of it."""

import dataclasses
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from served import serving, settings

from tfft import config
from tfft.run.fine_tune import fine_tune
from tfft.run.judge import judge
from tfft.serving.export import export
from tfft.serving.prediction import predict_texts
from tfft.tasks import fields, table

PAGE = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text("utf-8")
CODE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.mark.slow
def test_the_example_of_the_docs_is_a_whole_task(tiny_preset, tmp_path, monkeypatch, capsys):
    assert len(CODE.strip().split("\n")) <= 80
    (tmp_path / "shouting.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    shouting = importlib.import_module("shouting")
    monkeypatch.setitem(config.TASKS, "shouting", shouting.CONFIG)
    monkeypatch.setitem(fields.FIELDS, "shouting", shouting.row_fields)
    monkeypatch.setitem(table.TASKS, "shouting", shouting.ShoutingTask)
    draw = np.random.default_rng(0)
    words = ["good", "bad"]
    texts = [" ".join(draw.choice(words, draw.integers(2, 12))) for _ in range(800)]
    lines = [json.dumps({"message": text, "share": text.split().count("bad") / len(text.split())}) for text in texts]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    chosen = config.default_config("shouting")
    chosen.data.train, chosen.data.message_column = f"jsonl:{tmp_path}/rows.jsonl", "message"
    chosen.data.max_length, chosen.data.cache = 16, str(tmp_path / "cache")
    chosen.model.backbone, chosen.model.dropout = tiny_preset, 0.0
    chosen.train.epochs, chosen.train.peak_learning_rate = 4, 0.03
    experiment = config.resolve(chosen)
    assert dataclasses.asdict(experiment.task) == {"name": "shouting"} and experiment.eval.metric == "error"
    run = str(tmp_path / "run")
    assert fine_tune(experiment, run) == 0
    assert judge(run, data="", split="validation", weights="", output="") == 0
    report = json.loads((tmp_path / "run" / "evaluation-validation.json").read_text())
    assert report["metrics"]["error"] < 0.1 and report["rows"] > 5  # 0.15 where every text gets the mean
    assert predict_texts(run, "", [{"message": "bad bad bad"}, {"message": "good film"}]) == 0
    loud, calm = (json.loads(line) for line in capsys.readouterr().out.strip().split("\n")[-2:])
    assert loud["share"] > calm["share"] + 0.3
    assert export(run, str(tmp_path / "models" / "shouting"), "") == 0
    with serving(settings(tmp_path / "models" / "shouting")) as served:
        status, answer = served.ask("/v1/models/shouting:predict", {"instances": ["bad bad bad", "good film"]})
        assert status == 200
        np.testing.assert_allclose(answer["predictions"], [loud["share"], calm["share"]], atol=1e-5)
