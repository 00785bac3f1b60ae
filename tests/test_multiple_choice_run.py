"""Multiple choice from raw files to served answers, on a tiny backbone.

As a script it trains, judges, predicts and exports in one process, and prints what came of it.
"""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import choices
import numpy as np
import pytest
from commands import ROOT, killed_is_like_whole, page_of

from tfft.config import shipped
from tfft.errors import UserError

SETTINGS = {"data.max_length": 16, "model.dropout": 0.0, "model.head_dropout": 0.0, "train.global_batch_size": 16,
            "train.peak_learning_rate": 0.02, "data.validation": "20%"}
ASKED = [{"question": "the film", "choices": ["poor", "the bad film", "fine a"]},
         {"question": "a", "choices": ["bad the", "good"]}]


def config(file: Path, preset: str, cache: Path, **more):
    made = shipped.load(f"{ROOT}/configs/my_choices.py:{file}")
    for name, value in {**SETTINGS, "model.backbone": preset, "data.cache": str(cache), **more}.items():
        group, _, field = name.partition(".")
        setattr(made[group], field, value)
    return made


def write_pairs(path: Path, count: int) -> None:
    """One candidate a row; every fifth question has no right one."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "sentence", "relevant"])
        for i, row in enumerate(choices.rows(count, seed=1, several=True)):
            writer.writerows([row["question"], text, int(k in row["label"] and i % 5 > 0)]
                             for k, text in enumerate(row["choices"]))


def main(folder: Path, preset: str) -> None:
    """Both runs: candidates in a list with softmax, one a row with binary cross-entropy."""
    import tfft
    from tfft.config import resolve
    from tfft.run.fine_tune import resolve_assets
    from tfft.run.forecast import forecast
    from tfft.serving.export import export
    from tfft.serving.prediction import predict_file

    choices.write(folder / "quiz.jsonl", choices.rows(160))
    write_pairs(folder / "pairs.csv", 60)
    cache, out, found = folder / "cache", io.StringIO(), {}
    listed = config(folder / "quiz.jsonl", preset, cache, **{"train.epochs": 5, "train.accumulation": 2})
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        forecast(resolve(listed), *resolve_assets(resolve(listed)), 0)
        run = tfft.fine_tune(listed, str(folder / "quiz"))
        evaluation = run.evaluate(split="validation")
        made = evaluation.report.evidence
        found |= {"metrics": evaluation.metrics, "of all": made.figures(np.arange(len(made.rows))),
                  "slices": evaluation.report.details["slices"], "told": repr(evaluation),
                  "predicted": run.predict([*ASKED, {"question": "good?", "choices": []}]),
                  "tuple": run.predict(("the film", ["bad", "fine"]))}
        export(str(folder / "quiz"), str(folder / "models" / "quiz"), "")
        run = tfft.fine_tune(config(folder / "pairs.csv", preset, cache, **{
            "data.choice_column": "sentence", "data.label_column": "relevant", "task.loss": "binary",
            "train.epochs": 1}), str(folder / "pairs"))
        found |= {"pairs": run.evaluate(split="validation").metrics}
        predict_file(str(folder / "pairs"), "", f"csv:{folder}/pairs.csv", str(folder / "out.jsonl"), probabilities=False,
                     batch_size=64, on_broken_row="empty")
    print(json.dumps({**found, "said": out.getvalue()}))


@pytest.fixture(scope="module")
def trained(tiny_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("choices")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT}/tests", "TF_CPP_MIN_LOG_LEVEL": "3",
                   "CUDA_VISIBLE_DEVICES": ""}
    made = subprocess.run([sys.executable, __file__, str(folder), tiny_preset], env=environment, text=True, capture_output=True)
    assert made.returncode == 0, made.stderr[-4000:]
    return folder, json.loads(made.stdout.splitlines()[-1])


@pytest.mark.slow
def test_what_is_learnt_and_told(trained):
    folder, found = trained
    said = found["said"]
    assert found["metrics"].keys() == {"accuracy", "mrr", "map", "loss"} and found["metrics"]["accuracy"] > 0.8
    assert "candidates: " in said and "labels: indices from 0 (" in said and "steps in all" in said
    assert "is better than that of " in found["told"] and "place of the candidate" in found["told"]
    assert found["slices"] and found["slices"][0]["metrics"].keys() == found["metrics"].keys()
    assert {"How good", "Details", "Training", "Data"} <= set(page_of(folder / "quiz"))
    assert found["of all"] == pytest.approx(found["metrics"])
    assert "--question='...' --choices='...'" in said and "serving_default: choice string(None,)" in said
    assert "proven on" in said and "have no right candidate" in said and "1 or 0 for each candidate (" in said
    assert found["pairs"].keys() == found["metrics"].keys()
    card = (folder / "models" / "quiz" / "1" / "model_card.md").read_text()
    assert "a question and its candidates with the best one" in card and "their scores add up to 1" in card
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 60 and all(row["predicted_choice"] == row["sentence"][row["predicted_position"]] for row in rows)
    assert all(len(row["choice_probabilities"]) == len(row["sentence"]) for row in rows)


@pytest.mark.slow
def test_answers_of_the_run_and_of_its_export(trained, capsys):
    import numpy as np
    from served import serving, settings

    from tfft.serving.remote_prediction import predict_texts_remotely

    folder, found = trained
    first, second, nothing = found["predicted"]
    assert (first["predicted_choice"], first["predicted_position"]) == ("fine a", 2) and first["probability"] > 0.5
    assert sum(first["choice_probabilities"]) == pytest.approx(1, abs=1e-4) and nothing["predicted_choice"] is None
    assert second["predicted_position"] == 1 and found["tuple"]["predicted_choice"] == "fine"
    schema = json.loads((folder / "models" / "quiz" / "1" / "signatures.json").read_text())["signatures"]["serving_default"]
    assert schema["inputs"]["choices"] == {"dtype": "string", "shape": [None, None]}
    with serving(settings(folder / "models" / "quiz")) as served:
        rows = [{**row, "choices": [*row["choices"], *[""] * (3 - len(row["choices"]))]} for row in ASKED]
        answers = served.predict(rows, "quiz")
        for made, own in zip(answers, (first, second), strict=True):
            assert (made["choice"], made["position"]) == (own["predicted_choice"], own["predicted_position"])
            own = own["choice_probabilities"]
            np.testing.assert_allclose(made["scores"][:len(own)], own, atol=1e-4)
        assert answers[1]["scores"][2] == 0
        for address in (f"{served.url}/quiz", f"grpc://127.0.0.1:{served.server.grpc_port}/quiz"):
            assert predict_texts_remotely(address, ASKED) == 0
            told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert [line["predicted_position"] for line in told] == [2, 1]
            assert [len(line["choice_probabilities"]) for line in told] == [3, 2]


@pytest.mark.slow
def test_killed_is_like_whole(trained, tiny_preset, tmp_path):
    folder, _ = trained
    settings = [f"--config={ROOT}/configs/my_choices.py:{folder}/quiz.jsonl", f"--config.model.backbone={tiny_preset}",
                *(f"--config.{name}={value}" for name, value in SETTINGS.items()), "--config.model.head_dropout=0.1",
                "--config.train.epochs=3", "--config.train.global_batch_size=8", "--config.train.checkpoint_every_steps=5",
                "--config.task.max_choices=3"]
    killed_is_like_whole(settings, str(folder / "cache"), tmp_path, 10)


def test_candidates_on_the_command_line():
    from tfft.given import _listed
    from tfft.predict import ASKED

    assert ASKED.fields.keys() >= {"question", "context", "choices"}
    assert _listed("choices", '["red", "blue"]') == ["red", "blue"]
    with pytest.raises(UserError, match="--choices='red': column 'choices' holds 'red', which is no list of candidates"):
        _listed("choices", "red")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
