"""Backbones and tokenizers of every encoder family; pretrained folders; what a work directory rebuilds them from."""

import json
import subprocess
import sys

import families
import numpy as np
import pytest
import tensorflow as tf

from tfft.config import Experiment, TextClassification, TextClassificationData
from tfft.data.tokenize import TextTokenizer
from tfft.errors import UserError
from tfft.models.backbone import (
    describe,
    load_backbone,
    load_tokenizer,
    open_tokenizer,
    pooled_output,
    rebuild,
    save_tokenizer,
    sequence_output,
    tokenizer_fingerprint,
)
from tfft.run.workdir import Run
from tfft.serving.saved_model import ServedModel
from tfft.tasks.text_classification.labels import Labels
from tfft.tasks.text_classification.task import TextClassificationTask

FAMILIES = list(families.FAMILIES)
TEXTS = ["the film was good", "", "bad, bad film", "\u00e9 \U0001f600 x"]


def tokenise(tokenizer, texts, max_length=12) -> list[list[int]]:
    made = TextTokenizer(tokenizer, max_length=max_length, truncation="head", head_fraction=0.5, pairs=False)
    return tf.function(lambda t: made(t).token_ids)(tf.constant(texts)).to_list()


@pytest.mark.parametrize("family", FAMILIES)
def test_describe_and_rebuild_give_the_same_outputs(family):
    first = families.backbone(family)
    second = rebuild(describe(first), "float32")
    assert [v.path for v in second.trainable_variables] == [v.path for v in first.trainable_variables]
    for a, b in zip(first.trainable_variables, second.trainable_variables, strict=True):
        b.assign(a)
    x = families.inputs(first, [[2, 5, 6, 3], [2, 7, 3, 0]], [4, 3])
    a, b = first(x), second(x)
    assert families.WIDTH == (a["sequence_output"] if isinstance(a, dict) else a).shape[-1]
    tf.nest.map_structure(lambda u, v: np.testing.assert_array_equal(u, v), a, b)


@pytest.mark.parametrize("family", [pytest.param(f, marks=pytest.mark.slow) if f == "roberta" else f for f in FAMILIES])
def test_tokenizer_round_trip_in_a_graph(family, tmp_path):
    first = families.tokenizer(family)
    save_tokenizer(first, tmp_path / "tokenizer")
    second = open_tokenizer(tmp_path / "tokenizer")
    ids = tokenise(first, TEXTS)
    assert tokenise(second, TEXTS) == ids
    assert tokenizer_fingerprint(second) == tokenizer_fingerprint(first)
    start, end = first.start_token_id, first.end_token_id
    assert ids[1] == [start, end]  # the empty text
    for row in ids:
        assert row[0] == start and row[-1] == end and 2 <= len(row) <= 12
        assert all(0 <= i < first.vocabulary_size() for i in row)
    assert ids[0] != ids[2]
    assert len({first.pad_token_id, start, end}) == 3


def test_fingerprint_follows_what_the_tokenizer_answers():
    made = [families.models.BertTokenizer(vocabulary=words, lowercase=lower) for words, lower in (
        (families.WORDPIECES, True), (families.WORDPIECES, True), (families.WORDPIECES, False),
        ([*families.WORDPIECES, "new"], True))]
    prints = [tokenizer_fingerprint(t) for t in made]
    assert prints[0] == prints[1] and len(set(prints)) == 3


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """{family: (folder of a SavedModel, its texts' scores before)}."""
    made = {}
    for family in FAMILIES:
        backbone, tokenizer = families.backbone(family), families.tokenizer(family)
        task = TextClassificationTask(TextClassification(loss="cross_entropy"), Labels(("neg", "pos"), (1, 1)))
        experiment = Experiment(data=TextClassificationData(train="csv:x", max_length=12), task=task.settings)
        model = task.build_model(backbone, experiment.model, seed=0)
        model.get_layer("head").kernel.assign(np.linspace(-3, 3, 2 * families.WIDTH).reshape(families.WIDTH, 2))
        served = ServedModel(Run(None, experiment, task, model, tokenizer, 0, None))
        folder = tmp_path_factory.mktemp("export") / family
        served.save(folder)
        made[family] = (str(folder), served.signatures["serving_default"](text=tf.constant(TEXTS))["scores"].numpy())
    return made


LOAD = """
import json, sys
import tensorflow as tf, tensorflow_text
folders, texts = json.load(sys.stdin)
print(json.dumps({n: tf.saved_model.load(f).signatures["serving_default"](text=tf.constant(texts))["scores"]
                  .numpy().tolist() for n, f in folders.items()}))
"""


@pytest.mark.slow
def test_every_family_is_served_by_a_process_without_tfft(exported):
    question = json.dumps([{name: folder for name, (folder, _) in exported.items()}, TEXTS])
    answer = subprocess.run([sys.executable, "-c", LOAD], input=question, capture_output=True, text=True, check=True)
    answers = json.loads(answer.stdout.strip().splitlines()[-1])
    for family, (_, expected) in exported.items():
        assert np.ptp(expected[:, 0]) > 1e-3, f"{family}: the texts are answered alike, nothing is compared"
        np.testing.assert_allclose(answers[family], expected, atol=1e-6, err_msg=family)


def test_preset_folder_loads_with_its_weights(tiny_preset):
    made = load_backbone(tiny_preset, precision="float32", dropout=-1)
    again = load_backbone(tiny_preset, precision="float32", dropout=0.3)
    for a, b in zip(made.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert made.dropout == 0.1 and again.dropout == 0.3
    assert load_tokenizer(tiny_preset).vocabulary_size() == 15


def test_precision_of_the_backbone(tiny_preset):
    made = load_backbone(tiny_preset, precision="mixed_bfloat16", dropout=-1)
    assert all(v.dtype == "float32" for v in made.trainable_variables)
    assert sequence_output(made).dtype == "bfloat16"
    assert sequence_output(rebuild(describe(made), "float32")).dtype == "float32"


def test_uncased_hugging_face_tokenizer_strips_accents(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*families.WORDPIECES, "cafe", "caf\u00e9"]) + "\n", encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({
        "model_type": "bert", "vocab_size": 18, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    assert tokenise(load_tokenizer(str(tmp_path)), ["Caf\u00e9"]) == [[2, 16, 3]]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "strip_accents": False}))
    assert tokenise(load_tokenizer(str(tmp_path)), ["Caf\u00e9"]) == [[2, 17, 3]]


def test_what_is_no_preset_is_said(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="(?s)Cannot load .* It must be a folder in KerasHub format"):
        load_backbone(str(tmp_path), precision="float32", dropout=-1)
    with pytest.raises(UserError, match="(?s)Cannot load .* It must be a folder in KerasHub format"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("kind, settings, inputs", [
    ("ViTBackbone", {"image_shape": (8, 8, 3), "patch_size": 4, "num_layers": 1, "num_heads": 1, "hidden_dim": 4,
                     "mlp_dim": 4}, "images"),
    ("T5Backbone", {"vocabulary_size": 9, "num_layers": 1, "num_heads": 1, "hidden_dim": 4, "intermediate_dim": 4},
     "decoder_padding_mask, decoder_token_ids, encoder_padding_mask, encoder_token_ids"),
], ids=["images", "encoder_decoder"])
def test_a_model_that_is_no_encoder_is_refused(tmp_path, kind, settings, inputs):
    getattr(families.models, kind)(**settings).save_to_preset(str(tmp_path))
    with pytest.raises(UserError, match=f"is a {kind}, which takes {inputs}: not a text encoder"):
        load_backbone(str(tmp_path), precision="float32", dropout=-1)


def test_incomplete_tokenizer_folder_is_named(tmp_path):
    save_tokenizer(families.tokenizer("bert"), tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "assets" / "vocabulary.txt").unlink()
    with pytest.raises(UserError, match="Cannot read the tokenizer in .*tokenizer"):
        open_tokenizer(tmp_path / "tokenizer")


def test_backbone_without_pooler_says_so():
    assert pooled_output(families.backbone("bert")).shape == (None, families.WIDTH)
    with pytest.raises(UserError, match="DistilBertBackbone has no pooler. Use mean, cls or max"):
        pooled_output(families.backbone("distilbert"))
