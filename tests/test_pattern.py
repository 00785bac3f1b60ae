"""Texts in a pattern, classified by the word that is guessed in it: tokens, logits, replicas, a run and what is refused.

As a script it trains on logical CPUs and prints what came of it: python tests/test_pattern.py FOLDER PRESET 1 2
"""

import dataclasses
import json
from pathlib import Path

import by_replicas
import families
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from conftest import WORDS
from forked import Forked
from test_adapter_run import answers
from test_masked_lm_run import settings_of, write_texts

from tfft.config import Model, TextClassification, resolve
from tfft.errors import UserError
from tfft.models.backbone import load_backbone
from tfft.models.masked_lm import head_weights, logits_at, masked_lm, put_head
from tfft.run.continued import check_start
from tfft.run.fine_tune import fine_tune
from tfft.run.workdir import open_run
from tfft.serving.backbone_folder import export_backbone
from tfft.serving.export import export
from tfft.serving.prediction import Predictor
from tfft.tasks.text_classification.labels import Labels
from tfft.tasks.text_classification.pattern import PatternTokenizer, with_words
from tfft.tasks.text_classification.task import TextClassificationTask

GIVEN = {"pattern": "{text}, a {mask} film.", "words": ("neg=bad", "pos=good")}
UNK, CLS, SEP, MASK, GOOD, BAD, FINE, POOR, FILM, A, THE, SS, COMMA, DOT = range(1, len(WORDS))
AROUND = [COMMA, A, MASK, FILM, DOT, SEP]
MORE = ["good film", "a [MASK] film [MASK]", ""]


def encoded(tokenizer, pattern: str, *texts: list[str], **given) -> tuple[list[list[int]], list[int]]:
    """(token ids, tokens before truncation) by the graph path."""
    made = PatternTokenizer(tokenizer, pattern, **{"max_length": 12, "truncation": "head", "head_fraction": 0.5,
                                                   "pairs": len(texts) > 1, **given})
    tokens = tf.function(lambda *columns: made(*columns, counted=True), autograph=False)(*map(tf.constant, texts))
    assert tokens.first_length.numpy().tolist() == [len(row) for row in tokens.token_ids.to_list()]
    assert tokens.unknown.shape == (len(texts[0]), 4)
    return tokens.token_ids.to_list(), tokens.full_length.numpy().tolist()


# ---- tokens

@pytest.mark.parametrize("truncation, kept", [
    ("head", [GOOD, BAD, FINE, POOR, THE]), ("tail", [POOR, THE, THE, A, FILM]), ("head_tail", [GOOD, BAD, THE, A, FILM])])
def test_the_text_is_shortened_and_never_the_pattern(tiny_tokenizer, truncation, kept):
    ids, whole = encoded(tiny_tokenizer, GIVEN["pattern"], ["good bad fine poor the the a film", "good"], truncation=truncation)
    assert ids == [[CLS, *kept, *AROUND], [CLS, GOOD, *AROUND]] and whole == [15, 8]


def test_pairs_are_shortened_where_they_are_longest(tiny_tokenizer):
    pattern = "{text} {mask}, {text_pair}"
    texts = ["good good good good", "a"], ["bad bad bad bad bad bad", "the"]
    ids, whole = encoded(tiny_tokenizer, pattern, *texts, max_length=10)
    assert ids == [[CLS, GOOD, GOOD, GOOD, MASK, COMMA, BAD, BAD, BAD, SEP], [CLS, A, MASK, COMMA, THE, SEP]]
    assert whole == [14, 6]


def test_a_mask_in_a_text_is_none():
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=WORDS, lowercase=True, special_tokens_in_strings=True)
    assert MASK in tf.function(tokenizer, autograph=False)(tf.constant(["a [MASK] film"])).to_list()[0]
    assert encoded(tokenizer, GIVEN["pattern"], ["a [MASK] film"])[0] == [[CLS, A, UNK, FILM, *AROUND]]


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_pieces_are_those_of_the_whole_sentence(family):
    tokenizer = families.tokenizer(family)
    mask, of = tokenizer.mask_token_id, tf.function(lambda text: tokenizer(text), autograph=False)
    found, _ = encoded(tokenizer, "the {text} was {mask} film", [f"good film {tokenizer.mask_token}", "good"], max_length=60)
    assert [row.count(mask) for row in found] == [1, 1]
    at = found[1].index(mask)
    assert found[1][1:at] == of(tf.constant(["the good was"])).to_list()[0]
    after = of(tf.constant(["a film"])).to_list()[0][len(of(tf.constant(["a"])).to_list()[0]):]
    assert found[1][at + 1:-1] == after


def test_words_are_those_at_the_mask():
    """ĠGOOD is one token of this vocabulary where a blank stands before, as in Ġfilm; good is one without."""
    tokenizer, labels = families.roberta_tokenizer(), Labels(("a", "b"))
    word = TextClassification(pattern="{text} {mask}", words=("a=film", "b=!"))
    with pytest.raises(UserError, match=r"config.task.words: '!', for the label 'b', is 2 tokens \(Ġ, !\) of this backbone's"):
        with_words(labels, word, tokenizer)
    made = with_words(labels, dataclasses.replace(word, pattern="{text}:{mask}", words=("a=good", "b=!")), tokenizer)
    assert made.words == {"a": tokenizer.token_to_id("good"), "b": tokenizer.token_to_id("!")}
    made = with_words(labels, dataclasses.replace(word, pattern="{mask} {text}", words=("a=good", "b=!")), tokenizer)
    assert made.words["a"] == tokenizer.token_to_id("good") and made.mask == tokenizer.mask_token_id


# ---- model

def task_of(names=("neg", "pos")) -> TextClassificationTask:
    settings = TextClassification(loss="cross_entropy", **GIVEN)
    return TextClassificationTask(settings, Labels(names, (4, 4), rows=8, mask=MASK, words={"neg": BAD, "pos": GOOD}))


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_logits_are_those_of_the_whole_head(family):
    """Of the words alone, in the order of the labels, at the first mask of each text."""
    draw = np.random.default_rng(0)
    whole = masked_lm(families.backbone(family, 0.0), seed=1)
    head = {name: draw.normal(size=value.shape).astype("f4") for name, value in head_weights(whole).items()}
    task, backbone = task_of(("pos", "neg")), families.backbone(family, 0.0)
    model = task.build_model(backbone, Model(), seed=0)
    assert put_head(whole, head) and task.take(model, head) and not task.take(model, {})
    ids = draw.integers(5, 14, (3, 7))
    for row, place in enumerate((2, 5, 3)):
        ids[row, place] = MASK
    ids[0, 4] = MASK
    inputs = families.inputs(backbone, ids, [7, 7, 6])
    expected = logits_at(whole(inputs), tf.constant([[2], [5], [3]]))[:, 0]
    np.testing.assert_allclose(model(inputs), tf.gather(expected, [GOOD, BAD], axis=1), rtol=1e-5, atol=1e-6)
    assert {v.path for v in model.variables if v.path.startswith("masked_lm")} == \
        {v.path for v in whole.variables if v.path.startswith("masked_lm")}


def test_the_head_learns_as_fast_as_the_backbone():
    task, model = task_of(), task_of().build_model(families.backbone("bert"), Model(), seed=0)
    rates = {v.path.split("/")[0]: task.learning_rate_multiplier(v.path) for v in model.variables}
    assert [rates[name] for name in ("masked_lm_dense", "masked_lm_norm", "masked_lm_output")] == [1.0] * 3
    assert rates["token_embedding"] is None


def train(strategy, preset: str) -> dict:
    from steps import Rig, batches

    task = task_of()
    with strategy.scope():
        model = task.build_model(load_backbone(preset, precision="float32", dropout=0.0), Model(), seed=0)
    marked = batches(3).map(lambda inputs, *rest: ({**inputs, "token_ids": tf.tensor_scatter_nd_update(
        inputs["token_ids"], [[0, 1], [1, 2], [2, 0], [3, 1]], [MASK] * 4)}, *rest))
    rig = Rig(strategy.experimental_distribute_dataset(marked), strategy, model=model, loss=task.loss, clip_norm=0.1)
    outputs = [rig.train(1) for _ in range(3)]
    return {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
            "weights": {path: value.tolist() for path, value in rig.weights().items()}}


def test_replicas_train_like_one(thin_preset, tmp_path):
    found = json.loads(Forked([__file__, tmp_path, thin_preset, "1", "2"]).output().splitlines()[-1])
    one, two = found["1"], found["2"]
    assert len(set(one["losses"])) == 3
    for name in ("losses", "norms"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5)
    for path, value in one["weights"].items():
        np.testing.assert_allclose(two["weights"][path], value, atol=1e-6, err_msg=path)


# ---- runs

@pytest.fixture(scope="module")
def trained(thin_preset, reviews, tmp_path_factory):
    """A folder with runs "words" (masked_lm) and "labels" (from a new head)."""
    folder = tmp_path_factory.mktemp("pattern")
    made = settings_of(f"my_corpus:{write_texts(folder / 'texts.txt', 16)}", thin_preset, folder / "cache", data__max_length=16,
                       data__validation="", train__epochs=1, train__global_batch_size=8, train__peak_learning_rate=0.01)
    assert fine_tune(made, str(folder / "words")) == 0
    assert fine_tune(labelled(thin_preset, folder / "cache", reviews, train__steps=120, train__peak_learning_rate=0.03),
                     str(folder / "labels")) == 0
    return folder


def labelled(preset: str, cache, reviews: str, **changes):
    return settings_of("my_csv", preset, cache, **{
        "data__train": f"csv:{reviews}", "data__max_length": 16, "data__validation": "", "train__steps": 2,
        "train__peak_learning_rate": 0.01, "train__global_batch_size": 16, "eval__baseline": False,
        **{f"task__{name}": value for name, value in GIVEN.items()}, **changes})


def test_from_labels_to_a_served_answer(trained, tmp_path, capsys):
    log = (trained / "labels" / "train.log").read_text()
    assert "warning: its head for masked words is new, as the checkpoint has none" in log
    run = open_run(trained / "labels")
    expected = answers(run)
    assert expected[0, 1] > 0.7 and expected[1, 1] < 0.3 and run.task.learnt.words == {"neg": BAD, "pos": GOOD}
    assert export(str(trained / "labels"), str(tmp_path / "models"), "") == 0
    assert "proven on" in capsys.readouterr().out
    served = tf.saved_model.load(str(tmp_path / "models" / "1")).signatures["serving_default"]
    np.testing.assert_allclose(served(text=tf.constant(MORE))["scores"],
                               Predictor(run)([{"text": text} for text in MORE])["scores"], atol=1e-5)
    card = next((tmp_path / "models").rglob("model_card.md")).read_text()
    assert "pattern `{text}, a {mask} film.`, whose mask is one of the words `neg=bad`, `pos=good`." in card


def test_a_run_of_masked_words_gives_its_head(trained, thin_preset, reviews, tmp_path):
    made = labelled(thin_preset, trained / "cache", reviews, model__start=str(trained / "words"), train__peak_learning_rate=0.0)
    assert fine_tune(made, str(tmp_path / "run")) == 0
    assert "(masked_lm) and its head for masked words" in (tmp_path / "run" / "train.log").read_text()
    old, new = open_run(trained / "words", "last"), open_run(tmp_path / "run", "last")
    values = {v.path: v.numpy() for v in old.model.variables if "seed_generator" not in v.path}
    assert values["masked_lm_output/bias"].any()
    for variable in new.model.variables:
        if "seed_generator" not in variable.path:
            np.testing.assert_array_equal(variable.numpy(), values[variable.path], err_msg=variable.path)


def test_its_head_goes_with_an_exported_backbone(trained, tmp_path):
    assert export_backbone(str(trained / "labels"), str(tmp_path / "backbone"), "", "backbone") == 0
    run, model = open_run(trained / "labels"), task_of().build_model(
        load_backbone(str(tmp_path / "backbone"), precision="float32", dropout=-1), Model(), seed=4)
    assert "the checkpoint's" in run.task.adopt(model, str(tmp_path / "backbone"))
    for name, value in head_weights(run.model).items():
        np.testing.assert_array_equal(head_weights(model)[name], value)


def test_new_labels_need_words(trained, thin_preset, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "the poor film", "label": "awful"}\n{"text": "a good film", "label": "pos"}\n' * 4)
    made = labelled(thin_preset, tmp_path / "cache", "", data__train=f"jsonl:{path}", train__peak_learning_rate=0.0,
                    model__start=str(trained / "labels"))
    with pytest.raises(UserError, match="config.task.words: Unknown label 'neg'"):
        fine_tune(dataclasses.replace(made, model=dataclasses.replace(made.model, start="")), str(tmp_path / "alone"))
    with pytest.raises(UserError, match="config.task.words has no word for the label 'awful'. Add 'awful=WORD'."):
        fine_tune(made, str(tmp_path / "run"))
    made = dataclasses.replace(made, task=dataclasses.replace(made.task, words=(*GIVEN["words"], "awful=poor")))
    assert fine_tune(made, str(tmp_path / "run")) == 0
    before, now = answers(open_run(trained / "labels")), answers(open_run(tmp_path / "run"))
    np.testing.assert_allclose(now[:, :2] / now[:, :2].sum(axis=1, keepdims=True), before, atol=1e-5)
    with pytest.raises(UserError, match="Add --config.task.pattern={text}, a {mask} film."):
        check_start(dataclasses.replace(made, task=dataclasses.replace(made.task, pattern="{mask}: {text}")))


# ---- mistakes

@pytest.mark.parametrize("changes, message", [
    ({"words": ()}, "go together, and config.task.words says what word stands for which label"),
    ({"pattern": ""}, "go together, and config.task.words needs the sentence"),
    ({"problem": "multi_label"}, "is for problem=single_label: there is one word in its place, and several may hold"),
    ({"problem": "regression"}, "is for problem=single_label: a number has no word"),
    ({"pattern": "{text} is good"}, "has no {mask}; it must have it once"),
    ({"pattern": "{text} {mask} {mask}"}, "has {mask} 2 times; it must have it once"),
    ({"pattern": "It was {mask}."}, "has no {text}; it must"),
    ({"pattern": "{text} {text_pair} {mask}"}, "has {text_pair}, and there is no second text: set config.data.text_pair_col"),
    ({"pattern": "{txt} {mask}"}, "Unknown place 'txt'. Did you mean 'text'?"),
    ({"words": ("neg=bad", "pos")}, "config.task.words: 'pos' is not LABEL=WORD, such as 'pos=great'."),
    ({"words": ("neg=bad", "pos=")}, "config.task.words: 'pos=' is not LABEL=WORD"),
    ({"words": ("neg=bad",)}, "config.task.words has one label only"),
    ({"words": ("neg=bad", "neg=poor")}, "config.task.words names a label twice"),
    ({"words": ("neg=bad", "pos=bad")}, "config.task.words has the word 'bad' for two labels"),
])
def test_config_mistakes(changes, message):
    with pytest.raises(UserError) as error:
        resolve({"data": {"train": "csv:a.csv"}, "task": {**GIVEN, **changes}})
    assert message in str(error.value)


def test_a_pair_needs_both_places():
    data = {"train": "csv:a.csv", "text_pair_column": "b"}
    with pytest.raises(UserError, match="has no {text_pair}"):
        resolve({"data": data, "task": GIVEN})
    resolve({"data": data, "task": {**GIVEN, "pattern": "{text} {mask} {text_pair}"}})


@pytest.mark.parametrize("word, message", [
    ("goods", r"'goods', for the label 'pos', is 2 tokens \(good, ##s\) of this backbone's vocabulary, and at the mask stands"),
    ("great", "'great', for the label 'pos', is not in this backbone's vocabulary"),
    ("Bad", "'Bad', for the label 'pos', is the same token as the word of another label")])
def test_mistakes_of_words(tiny_tokenizer, word, message):
    settings = TextClassification(**{**GIVEN, "words": ("neg=bad", f"pos={word}")})
    with pytest.raises(UserError, match=message):
        with_words(Labels(("neg", "pos")), settings, tiny_tokenizer)


def test_mistakes_of_tokenizers(tiny_tokenizer):
    with pytest.raises(UserError, match="max_length=8 leaves no room for a text beside 2 special tokens and the 6 of config"):
        encoded(tiny_tokenizer, "{text}, a {mask} film . .", ["a"], max_length=8)
    without = keras_hub.models.GPT2Tokenizer(vocabulary={"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}, merges=["a b"])
    with pytest.raises(UserError, match="config.task.pattern needs a mask token, which this backbone's GPT2Tokenizer has not"):
        with_words(Labels(("neg", "pos")), TextClassification(**GIVEN), without)


def find(strategies: dict, folder: Path, preset: str) -> dict:
    return {str(count): train(strategy, preset) for count, strategy in strategies.items()}


if __name__ == "__main__":
    by_replicas.main(find)
