"""Embeddings from a raw file to a served answer, on a tiny backbone."""

import json
import random

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, killed_is_like_whole, page_of, run
from served import serving, settings

from tfft.data.retrieval import METRICS
from tfft.serving.remote_prediction import predict_texts_remotely

SETTINGS = ["--config.data.max_length=16", "--config.model.dropout=0", "--config.train.global_batch_size=16",
            "--config.task.query_prompt=a ", "--config.task.passage_prompt=the "]


def write_pairs(path, count: int, seed: int = 0) -> None:
    """What belongs to a query has its words in another order; a hard negative has all but one of them."""
    draw = random.Random(seed)
    words, lines = ["good", "bad", "fine", "poor", "film", "a", "the", ",", "."], []
    for i in range(count):
        own = draw.choices(words, k=draw.randrange(3, 8))
        lines.append({"text": " ".join(own), "text_pair": [" ".join(draw.sample(own, len(own))) for _ in range(1 + i % 2)],
                      "negative": " ".join([*own[1:], draw.choice(words)]) if i % 3 else ""})
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")


@pytest.fixture(scope="module")
def trained(tiny_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "pairs.jsonl", 240)
    out, error = run(["train", f"--config={ROOT}/configs/my_pairs.py:{folder}/pairs.jsonl", f"--workdir={folder}/run",
                      f"--config.model.backbone={tiny_preset}", "--config.train.epochs=4", "--config.data.test=10%",
                      "--config.train.peak_learning_rate=0.01", "--config.data.negative_columns=('negative',)",
                      "--config.train.accumulation=2", "--config.task.matryoshka=(4,)", *SETTINGS], str(folder / "cache"))
    return folder, out + error


def test_train_evaluate_predict_and_export(trained, capsys):
    folder, said = trained
    cache = str(folder / "cache")
    assert {"How good", "Slices", "Training", "Data"} <= set(page_of(folder / "run"))
    assert "texts that belong to each" in said and "--text='...'" in said
    out, _ = run(["evaluate", f"--workdir={folder}/run", "--split=validation"], cache)
    report = json.loads((folder / "run" / "evaluation-validation.json").read_text())
    metrics = report["metrics"]
    assert {*METRICS, "loss"} == metrics.keys()
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "validation"]
    assert len(losses) == 4 and min(losses[1:]) < losses[0] and "ndcg_at_10" in out
    assert metrics["mrr_at_10"] > 0.3 and metrics["recall_at_100"] == 1

    out, _ = run(["predict", f"--workdir={folder}/run", "--text=good fine", "--text=bad poor"], cache)
    good, bad = (np.array(json.loads(line)["embedding"]) for line in out.strip().split("\n"))
    assert len(good) == 8 and np.linalg.norm(good) == pytest.approx(1, abs=1e-4)
    out, _ = run(["predict", f"--workdir={folder}/run", "--text_pair=fine good"], cache)
    passage = np.array(json.loads(out)["embedding"])
    out, _ = run(["predict", f"--workdir={folder}/run", "--text=good fine", "--text_pair=fine good", "--text=bad poor",
                  "--text_pair=fine good"], cache)
    scores = [json.loads(line)["score"] for line in out.strip().split("\n")]
    assert scores == pytest.approx([good @ passage, bad @ passage], abs=1e-4) and scores[0] > scores[1]
    run(["predict", f"--workdir={folder}/run", f"--input={folder}/pairs.jsonl", f"--output={folder}/out.jsonl"], cache)
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 240 and all(len(row["embedding"]) == 8 for row in rows)
    _, error = run(["predict", f"--workdir={folder}/run", "--question=who?"], cache, code=2)
    assert "This run answers text" in error

    out, error = run(["export", f"--workdir={folder}/run", f"--output={folder}/models/search"], cache)
    assert "proven on" in out and "similarity: score float32(None,)" in out
    version = folder / "models" / "search" / "1"
    served = tf.saved_model.load(str(version)).signatures
    assert sorted(served) == ["embed", "embed_passage", "serving_default", "similarity"]
    embedded = served["embed"](text=tf.constant(["good fine"]))["embedding"].numpy()[0]
    np.testing.assert_allclose(embedded, good, atol=1e-4)
    np.testing.assert_allclose(served["embed_passage"](text=tf.constant(["fine good"]))["embedding"].numpy()[0], passage,
                               atol=1e-4)
    as_query = served["embed"](text=tf.constant(["fine good"]))["embedding"].numpy()[0]
    assert np.abs(as_query - passage).max() > 1e-4  # the prompts are in the graph
    card = (version / "model_card.md").read_text()
    assert "texts with a vector of 8 values, of length 1" in card and "cut to their first 4 values" in card
    schema = json.loads((version / "signatures.json").read_text())["signatures"]
    assert schema["similarity"]["inputs"].keys() == {"text", "text_pair"}
    with serving(settings(folder / "models" / "search")) as server:
        np.testing.assert_allclose(server.predict(["good fine"], "search")[0], good, atol=1e-4)
        pair = {"text": "good fine", "text_pair": "fine good"}
        assert predict_texts_remotely(f"{server.url}/search", [pair]) == 0
        assert json.loads(capsys.readouterr().out)["score"] == pytest.approx(good @ passage, abs=1e-4)
        assert predict_texts_remotely(f"grpc://127.0.0.1:{server.server.grpc_port}/search", [{"text": "good fine"}]) == 0
        np.testing.assert_allclose(json.loads(capsys.readouterr().out)["embedding"], good, atol=1e-4)


def test_plan(trained, tiny_preset):
    folder, _ = trained
    out, error = run(["plan", f"--config={ROOT}/configs/my_pairs.py:{folder}/pairs.jsonl",
                      f"--config.model.backbone={tiny_preset}", *SETTINGS], str(folder / "cache"))
    assert "pairs: 2" in out and "training speed" in out


@pytest.mark.slow
def test_killed_is_like_whole_with_dropout(trained, tiny_preset, tmp_path):
    folder, _ = trained
    settings = [f"--config={ROOT}/configs/my_pairs.py:{folder}/pairs.jsonl", f"--config.model.backbone={tiny_preset}",
                "--config.data.negative_columns=('negative',)", *SETTINGS, "--config.model.dropout=0.2",
                "--config.train.global_batch_size=8", "--config.train.accumulation=2", "--config.train.epochs=3",
                "--config.train.checkpoint_every_steps=5"]
    killed_is_like_whole(settings, str(folder / "cache"), tmp_path, 30)


@pytest.mark.slow
@pytest.mark.parametrize("columns, name, metric", [
    ("score", "sts", "spearman"), ("label", "labels", "precision_at_1")])
def test_scores_and_labels(tiny_preset, tmp_path, columns, name, metric):
    draw = random.Random(1)
    kinds = [("good", "fine"), ("bad", "poor"), ("film", "s")]
    lines = []
    for _ in range(160):
        a, b = draw.choice(kinds), draw.choice(kinds)
        first, second = (" ".join(draw.choices(kind, k=draw.randrange(1, 6))) for kind in (a, b))
        lines.append({"text": first, "text_pair": second, "score": 5.0 * (a == b)} if columns == "score" else
                     {"text": first, "label": a[0]})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out, error = run(["train", f"--config={ROOT}/configs/my_pairs.py:{tmp_path}/rows.jsonl", f"--workdir={tmp_path}/run",
                      f"--config.data.{columns}_column={columns}", f"--config.model.backbone={tiny_preset}",
                      *(["--config.data.text_pair_column="] if columns == "label" else []),
                      "--config.train.peak_learning_rate=0.02", "--config.train.epochs=4", "--config.data.validation=25%",
                      "--config.task.projection=6", "--config.model.pooling=weighted_mean", *SETTINGS[:3]],
                     str(tmp_path / "cache"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if line["kind"] == "validation"]
    assert judged[-1][metric] > 0.6 and judged[-1]["loss"] < judged[0]["loss"], judged
    out, _ = run(["predict", f"--workdir={tmp_path}/run", "--text=good"], str(tmp_path / "cache"))
    assert len(json.loads(out)["embedding"]) == 6
