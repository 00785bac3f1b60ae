"""Evaluation of tagged words: seqeval's figures, over windows, however rows are grouped and wherever units lie."""

import json
import warnings

import numpy as np
import pytest
import seqeval.metrics as seqeval
import tensorflow as tf
from test_token_rows import conll, experiment, prepared
from test_token_targets import sentence

from tfft.config import Model
from tfft.data import scratch
from tfft.evaluation.evaluator import Evaluator
from tfft.evaluation.slices import by_length
from tfft.models import crf
from tfft.models.backbone import load_backbone
from tfft.tasks.base import Judged
from tfft.tasks.token_classification import judging
from tfft.tasks.token_classification.decode import TRANSITIONS

LENGTHS = (*range(1, 40, 2), 70, 1, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    (folder / "a.conll").write_text(conll(*(sentence(length, i) for i, length in enumerate(LENGTHS))))
    return folder


def evaluator_of(folder, tiny_tokenizer, tiny_preset, file="a.conll", task=None, batch_size=5, **data):
    columns = {"words_column": "0", "tags_column": "1", "tags_scheme": "IOB2"} if file == "a.conll" else {}
    task, splits = prepared(experiment(f"{folder}/{file}", task, **{**columns, **data}), tiny_tokenizer, folder / "cache")
    model = task.build_model(load_backbone(tiny_preset, precision="float32", dropout=0.0), Model(), seed=0)
    draw = np.random.default_rng(0)
    for layer in ("head", *(["label"] if task.lead else [])):
        model.get_layer(layer).kernel.assign(draw.normal(0, 2, model.get_layer(layer).kernel.shape))
    if task.crf:
        model.get_layer(TRANSITIONS).table.assign(draw.normal(0, 1, model.get_layer(TRANSITIONS).table.shape))
    split = splits.get("validation", splits["train"])
    return Evaluator(model, task, split.store, split.rows, pad_id=0, batch_size=batch_size, max_length=16,
                     strategy=tf.distribute.get_strategy())


def answers(evaluator) -> list[list[str]]:
    """Each row's tags, computed a window at a time, without anything of tfft's evaluation."""
    task, store, model, made = evaluator._task, evaluator._store, evaluator._model, []
    for row in evaluator.rows:
        emissions = []
        for example in store.examples_of(np.array([row])):
            tokens = np.array([store.values("tokens", example)], np.int32)
            outputs = model({"token_ids": tokens, "segment_ids": 0 * tokens, "padding_mask": 0 * tokens + 1})
            emissions.append(np.asarray(outputs["logits"])[0, store.values("places", example)])
        emissions = np.concatenate(emissions)
        if task.crf:
            emissions = np.concatenate([emissions, 0 * emissions[:1]])[None]  # TensorFlow cannot run loops of no step
            tags = crf.viterbi(emissions, [emissions.shape[1] - 1], np.asarray(outputs[TRANSITIONS])[:1])[0].numpy()[0, :-1]
        else:
            tags = emissions.argmax(axis=1)
        made.append([task.tags.names[tag] for tag in tags])
    return made


def right_tags(evaluator) -> list[list[str]]:
    store, tags = evaluator._store, evaluator._task.tags
    return [[tags.names[i] for i in evaluator._task.gold(store).of(row)] for row in evaluator.rows]


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_figures_are_seqevals(folder, tiny_tokenizer, tiny_preset, head):
    evaluator = evaluator_of(folder, tiny_tokenizer, tiny_preset, task={"head": head})
    metrics = evaluator.evaluate()
    true, given = right_tags(evaluator), answers(evaluator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = seqeval.classification_report(true, given, output_dict=True, zero_division=0)
        expected = {"f1": seqeval.f1_score(true, given), "precision": seqeval.precision_score(true, given),
                    "recall": seqeval.recall_score(true, given), "macro_f1": report["macro avg"]["f1-score"],
                    "token_accuracy": seqeval.accuracy_score(true, given)}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert 0 < metrics["f1"] < 1 and evaluator.report.judged == len(LENGTHS)
    types = {line["type"]: line for line in evaluator.report.details["types"]}
    assert {kind: types[kind]["f1"] for kind in "XY"} == pytest.approx({kind: report[kind]["f1-score"] for kind in "XY"})
    assert sum(evaluator.report.details["errors"].values()) > 0
    assert [table.title for table in evaluator.report.tables] == ["types", "errors"]


def test_neither_grouping_nor_place_matters(folder, tiny_tokenizer, tiny_preset, monkeypatch):
    one = evaluator_of(folder, tiny_tokenizer, tiny_preset, task={"head": "crf"}, batch_size=64)
    one.evaluate()
    monkeypatch.setattr(scratch, "IN_MEMORY", 99)
    monkeypatch.setattr(judging, "AT_ONCE", 3)
    monkeypatch.setattr(judging, "WORDS", 20)
    seen = []
    original = judging._some_rows

    def noted(judged: Judged):
        assert isinstance(judged.units, np.memmap)
        for some in original(judged):
            seen.append(len(some[0]))
            yield some

    monkeypatch.setattr(judging, "_some_rows", noted)
    other = evaluator_of(folder, tiny_tokenizer, tiny_preset, task={"head": "crf"}, batch_size=3)
    assert other.evaluate() == pytest.approx(one.report.metrics, rel=1e-5)
    assert sum(seen) == len(LENGTHS) and set(seen) == {1, 2, 3}
    assert [m[0] for m in other.report.mistakes] == [m[0] for m in one.report.mistakes] and len(one.report.mistakes) == 20
    assert other.report.details == one.report.details


def test_mistakes_show_entities_as_they_stand_in_the_text(folder, tiny_tokenizer, tiny_preset):
    evaluator = evaluator_of(folder, tiny_tokenizer, tiny_preset)
    evaluator.evaluate()
    place, text, right, given = evaluator.report.mistakes[0]
    assert place.startswith(f"{folder}/a.conll:") and set(text.split()) <= set("good bad fine poor film a the films".split())
    words = [entity.rpartition(" ")[0] for entity in right.split(", ")]
    assert words and all(word in text for word in words) and right != given
    worst = [sum(len(told.split(", ")) for told in mistake[2:]) for mistake in evaluator.report.mistakes]
    assert worst[0] >= max(worst) - 8  # those with most wrong stand first


def test_slices_have_every_metric_and_add_up(folder, tiny_tokenizer, tiny_preset):
    evaluator = evaluator_of(folder, tiny_tokenizer, tiny_preset)
    metrics = evaluator.evaluate()
    evidence = evaluator.report.evidence
    assert evidence.figures(np.arange(len(LENGTHS))) == pytest.approx(metrics) and evidence.score.shape == (len(LENGTHS),)
    mistakes = {place: (right, given) for place, _, right, given in evaluator.report.mistakes}
    told = {evaluator._store.place(row): (evidence.right(i), evidence.given(i)) for i, row in enumerate(evidence.rows.tolist())}
    assert mistakes.items() <= told.items()
    assert [place for place in told if told[place][0] != told[place][1]] == [
        place for i, place in enumerate(told) if evidence.score[i] < 1]
    slices = by_length(evidence, lambda rows: np.asarray(evaluator._store.column("full_length")[rows]))
    assert sum(part["rows"] for part in slices) == len(LENGTHS) and 3 <= len(slices) <= 4
    assert all(part["metrics"].keys() == metrics.keys() for part in slices)
    true, given = right_tags(evaluator), answers(evaluator)
    full = evaluator._store.column("full_length")[evaluator.rows]
    low, high = map(int, slices[1]["slice"].removesuffix(" tokens").split(" to "))
    mine = [i for i, length in enumerate(full) if low <= length <= high]
    assert slices[1]["rows"] == len(mine)
    assert slices[1]["metrics"]["f1"] == pytest.approx(seqeval.f1_score([true[i] for i in mine], [given[i] for i in mine]))
    words = [sum(len(true[i]) for i, n in enumerate(full) if lo <= n <= hi) for lo, hi in (
        map(int, part["slice"].removesuffix(" tokens").split(" to ")) for part in slices)]
    assert np.average([part["metrics"]["loss"] for part in slices], weights=words) == pytest.approx(metrics["loss"], rel=1e-5)


def rows(folder, name, lines):
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_words_of_unknown_types_are_left_out(folder, tiny_tokenizer, tiny_preset):
    rows(folder, "train.jsonl", [{"words": ["good", "bad"], "tags": ["B-X", "O"]}])
    rows(folder, "other.jsonl", [{"words": ["good"] * 3, "tags": ["B-X", "B-Q", "O"]}, {"words": ["bad"], "tags": ["B-Q"]}])
    evaluator = evaluator_of(folder, tiny_tokenizer, tiny_preset, "train.jsonl", validation=f"jsonl:{folder}/other.jsonl")
    evaluator.evaluate()
    types = {line["type"]: line for line in evaluator.report.details["types"]}
    assert types["X"]["support"] == 1 and types["X"]["predicted"] <= 2
    evaluator._model.get_layer("head").bias.assign([0, 1e6, 0])  # B-X everywhere
    metrics = evaluator.evaluate()
    assert metrics["recall"] == 1 and metrics["token_accuracy"] == metrics["precision"] == 0.5  # of the two words known


def test_parts_of_speech(folder, tiny_tokenizer, tiny_preset):
    """Unknown ones are no mistakes, and every metric that may choose the best weights is there."""
    rows(folder, "train.jsonl", [{"words": ["good", "bad"], "tags": ["A", "N"]}])
    rows(folder, "other.jsonl", [{"words": ["good"] * 4, "tags": ["A", "A", "N", "Q"]}])
    evaluator = evaluator_of(folder, tiny_tokenizer, tiny_preset, "train.jsonl", validation=f"jsonl:{folder}/other.jsonl")
    evaluator._model.get_layer("head").bias.assign([1e6, 0])
    metrics = evaluator.evaluate()
    assert metrics["token_accuracy"] == metrics["f1"] == pytest.approx(2 / 3)
    types = {line["type"]: (line["right"], line["predicted"], line["support"]) for line in evaluator.report.details["types"]}
    assert types == {"A": (2, 3, 2), "N": (0, 0, 1)}
    assert [table.title for table in evaluator.report.tables] == ["types"]


def test_sentence_labels(folder, tiny_tokenizer, tiny_preset):
    rows(folder, "train.jsonl", [{"words": ["good"], "tags": ["B-X"], "label": "a"},
                                 {"words": ["bad"] * 3, "tags": ["O"] * 3, "label": "b"}])
    rows(folder, "other.jsonl", [
        {"words": ["good"], "tags": ["B-X"], "label": "a"}, {"words": ["good"] * 30, "tags": ["B-X"] * 30, "label": "a"},
        {"words": ["bad", "film"], "tags": ["B-X", "O"], "label": "a"}, {"words": ["bad"], "tags": ["B-X"], "label": "b"},
        {"words": ["bad"], "tags": ["B-X"], "label": "new"}])
    evaluator = evaluator_of(folder, tiny_tokenizer, tiny_preset, "train.jsonl", label_column="label",
                             validation=f"jsonl:{folder}/other.jsonl")
    evaluator._model.get_layer("head").bias.assign([0, 1e6, 0])  # B-X everywhere
    evaluator._model.get_layer("label").bias.assign([1e6, 0])    # and a
    metrics = evaluator.evaluate()
    assert metrics["sentence_accuracy"] == 3 / 4 and metrics["exact"] == 2 / 4  # the new label cannot be judged
    assert metrics["recall"] == 1 and metrics["precision"] == pytest.approx(34 / 35)
    evaluator._model.get_layer("label").bias.assign([0, 1e6])
    assert evaluator.evaluate()["sentence_accuracy"] == 1 / 4


def test_a_texts_label_is_that_of_its_first_window(folder, tiny_tokenizer, tiny_preset):
    rows(folder, "train.jsonl", [{"words": ["good"] * n, "tags": ["B-X"] * n, "label": label}
                                 for n, label in ((1, "a"), (40, "b"), (20, "a"), (3, "b"))])
    evaluator = evaluator_of(folder, tiny_tokenizer, tiny_preset, "train.jsonl", label_column="label")
    evaluator.evaluate()
    judged = evaluator._judged()
    leads = []
    for part in judging._some_rows(judged):
        leads += judging._gathered(evaluator._task, judged, *part[1:])[2].tolist()
    for row, lead in enumerate(leads):
        example = evaluator._store.examples_of(np.array([row]))[0]
        tokens = np.array([evaluator._store.values("tokens", example)], np.int32)
        outputs = evaluator._model({"token_ids": tokens, "segment_ids": 0 * tokens, "padding_mask": 0 * tokens + 1})
        np.testing.assert_allclose(lead, np.asarray(outputs["label"])[0], rtol=1e-4, atol=1e-5)


def test_a_row_that_fits_nowhere_is_judged_alone(folder, tiny_tokenizer, tiny_preset, monkeypatch):
    evaluator = evaluator_of(folder, tiny_tokenizer, tiny_preset)
    judged = evaluator._judged()
    monkeypatch.setattr(judging, "WORDS", 1)
    assert [len(some) for some, *_ in judging._some_rows(judged)] == [1] * len(LENGTHS)
