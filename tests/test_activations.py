"""What frozen layers make, kept on disk: the values, where it is refused, and that training is as without."""

import dataclasses
import errno
import json

import families
import numpy as np
import pytest
from commands import ROOT, killed_is_like_whole, run
from safetensors.numpy import load_file
from test_adapter_run import TASKS, experiment, lines

from tfft.config import Adaptation, Model, Train
from tfft.data import activations
from tfft.data.activations import open_activations
from tfft.errors import UserError
from tfft.models.adaptation import choose_trained
from tfft.models.heads import pooled_classifier
from tfft.models.split import HIDDEN, split
from tfft.run.activations import check_size
from tfft.run.fine_tune import fine_tune

LENGTHS = np.array([3, 1, 4, 2, 5])
EXAMPLES = np.array([2, 3, 7, 8, 9])
BATCHES = [np.array([1, 3]), np.array([0]), np.array([2, 4])]


@pytest.mark.parametrize("frozen", [1, -1])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_two_parts_are_the_model(family, frozen):
    backbone = families.backbone(family, 0.0)
    choose_trained(backbone, Model(frozen_layers=frozen), Adaptation(), 5)
    model = pooled_classifier(backbone, Model(head_dropout=0.0), 2, seed=0)
    lower, upper = split(backbone, model)
    inputs = families.inputs(model, np.random.default_rng(0).integers(5, 14, (3, 7)), [7, 4, 1])
    np.testing.assert_array_equal(upper({**inputs, HIDDEN: lower(inputs)}), model(inputs))
    assert [v.path for v in upper.trainable_variables] == [v.path for v in model.trainable_variables]
    trained = {v.path for v in model.trainable_variables}
    assert not trained & {v.path for v in lower.variables}
    other = {**inputs, "token_ids": inputs["token_ids"] * 0 + 6}
    if family != "deberta_v3":  # whose relative positions are made where the embeddings are
        assert not {v.path for v in upper.variables} & {v.path for v in lower.variables}
    np.testing.assert_array_equal(upper({**other, HIDDEN: lower(inputs)}), model(inputs))


def kept(folder, compute, name="x", dtype=np.float32, progress=lambda done, total: None):
    return open_activations(folder, name, np.dtype(dtype), 2, EXAMPLES, LENGTHS, BATCHES, compute, progress)


def hidden(places: np.ndarray) -> np.ndarray:
    """float[b,6,2]: 10 x the place, and the position."""
    return np.stack([np.stack([np.full(6, 10.0 * place), np.arange(6)], -1) for place in places])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_is_kept_is_read(tmp_path, dtype):
    told = []
    made = kept(tmp_path, hidden, dtype=dtype, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    read = made(np.array([7, -1, 3, 9]), 5)
    assert read.dtype == dtype and read.shape == (4, 5, 2)
    for row, place, count in ((0, 2, 4), (2, 1, 1), (3, 4, 5)):
        np.testing.assert_array_equal(read[row, :count], hidden(np.array([place]))[0, :count])
        assert not read[row, count:].any()
    assert not read[1].any()
    assert made(np.zeros(0, np.int64), 3).shape == (0, 3, 2)
    np.testing.assert_array_equal(kept(tmp_path, None, dtype=dtype)(np.array([7]), 4), made(np.array([7]), 4))


def test_one_that_was_killed_goes_on(tmp_path, monkeypatch):
    """What was written is not computed again, and what was half written is."""
    monkeypatch.setattr(activations, "NOTED", 0)
    seen = []

    def stops(places):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(places)
        return hidden(places)

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path, stops)
    with open(tmp_path / "activations" / "x" / "values.bin", "ab") as file:
        file.write(b"half of")
    again = []
    made = kept(tmp_path, lambda places: again.append(places) or hidden(places))
    assert [list(places) for places in again] == [[2, 4]]
    whole = kept(tmp_path, hidden, "y")
    np.testing.assert_array_equal(made(EXAMPLES, 5), whole(EXAMPLES, 5))


@pytest.mark.parametrize("name", ["values.bin", "begins.bin", "meta.json"])
def test_a_damaged_one_is_made_again(tmp_path, name):
    expected = kept(tmp_path, hidden)(EXAMPLES, 5)
    path = tmp_path / "activations" / "x" / name
    path.write_bytes(path.read_bytes()[:-8])
    calls = []
    made = kept(tmp_path, lambda places: calls.append(places) or hidden(places))
    assert len(calls) == 3
    np.testing.assert_array_equal(made(EXAMPLES, 5), expected)


def test_a_stranger_is_no_neighbour(tmp_path):
    for stranger in (1, 5, 10):
        with pytest.raises(KeyError):
            kept(tmp_path, hidden)(np.array([3, stranger]), 5)


def test_what_is_there_already_needs_no_room(tmp_path):
    config = Train(activation_cache="float32", activation_cache_gb=0.1)
    check_size(config, 90_000_000, 80_000_000, 20_000_000, tmp_path)
    with pytest.raises(UserError, match=r"need 0.09 GB, and 0.0 GB are free in .* Half of it"):
        check_size(config, 90_000_000, 60_000_000, 20_000_000, tmp_path)


def test_a_full_disk_is_told(tmp_path):
    def full(places):
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(UserError, match="the disk is full. Free some space"):
        kept(tmp_path, full)


def reviewed(preset, cache, reviews, **changes):
    return experiment("my_csv", preset, cache, **{
        "data__train": f"csv:{reviews}", "eval__baseline": False, "train__steps": 12, "adaptation__method": "none",
        "model__frozen_layers": 1, "train__peak_learning_rate": 1e-3, **changes})


def trained(made, folder) -> tuple[dict, list]:
    """(weights, what metrics.jsonl says of losses and validation)"""
    assert fine_tune(made, str(folder)) == 0
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return load_file(folder / "last" / "weights.safetensors"), [(one["step"], one["kind"], one["loss"]) for one in told]


def assert_alike(one, other, tolerance: float) -> None:
    assert [place[:2] for place in one[1]] == [place[:2] for place in other[1]]
    np.testing.assert_allclose([loss for *_, loss in one[1]], [loss for *_, loss in other[1]], rtol=tolerance)
    assert one[0].keys() == other[0].keys()
    for path, value in one[0].items():
        np.testing.assert_allclose(other[0][path], value, atol=tolerance, err_msg=path)


@pytest.mark.parametrize("changes", [
    {}, {"model__frozen_layers": -1}, {"train__accumulation": 2, "model__head_dropout": 0.2},
    {"train__precision": "mixed_bfloat16", "train__activation_cache": "bfloat16"},
    {"adaptation__method": "lora", "adaptation__rank": 2}], ids=["half", "all", "micro-batches", "bfloat16", "lora"])
def test_training_is_as_without(tiny_preset, reviews, tmp_path, changes):
    changes = {"train__activation_cache": "float32", **changes}
    with_it = reviewed(tiny_preset, tmp_path / "cache", reviews, **changes)
    without = dataclasses.replace(with_it, train=dataclasses.replace(with_it.train, activation_cache="none"))
    made = trained(with_it, tmp_path / "with")
    assert "activation cache: 0.00 GB" in (tmp_path / "with" / "train.log").read_text()
    # in bfloat16 what a batch's other texts are, and how much padding, is in the last of 8 bits
    assert_alike(trained(without, tmp_path / "without"), made, 2e-6 if with_it.train.precision == "float32" else 1e-2)
    again = trained(with_it, tmp_path / "again")  # the second run computes nothing
    assert "computed before" in (tmp_path / "again" / "train.log").read_text()
    assert_alike(made, again, 0)


@pytest.mark.slow
@pytest.mark.parametrize("config", [name for name in TASKS if name != "my_corpus"])
def test_every_task(config, tiny_preset, tmp_path):
    rows = tmp_path / ("rows.conll" if config == "my_entities" else "rows.jsonl")
    rows.write_text(TASKS[config] if config != "my_answers" else lines([
        {"question": word, "context": f"{word} good film . bad the a fine film the poor film {'a film the good ' * 4}",
         "answers": "fine"} for word in ("good", "bad", "a", "the", "film", "poor")]))  # several windows each
    parts = [experiment(f"{config}:{rows}", tiny_preset, tmp_path / "cache", train__steps=4, adaptation__method="none",
                        model__frozen_layers=1, train__peak_learning_rate=1e-3, train__activation_cache=kind,
                        data__validation="40%") for kind in ("none", "float32")]
    assert_alike(*(trained(part, tmp_path / str(i)) for i, part in enumerate(parts)), 2e-6)


@pytest.mark.slow
def test_two_replicas_are_like_one(tiny_preset, reviews, tmp_path):
    one = trained(reviewed(tiny_preset, tmp_path / "cache", reviews, train__activation_cache="float32", model__dropout=0.0,
                           model__head_dropout=0.0), tmp_path / "one")
    run(["train", f"--config={ROOT}/configs/my_csv.py:{reviews}", f"--config.model.backbone={tiny_preset}",
         "--config.data.max_length=16", "--config.train.global_batch_size=8", "--config.train.steps=12",
         "--config.eval.baseline=false", "--config.model.frozen_layers=1", "--config.train.peak_learning_rate=1e-3",
         "--config.train.activation_cache=float32", "--config.distribution.cpu_replicas=2", "--config.model.dropout=0",
         "--config.model.head_dropout=0", f"--workdir={tmp_path}/two"], str(tmp_path / "cache"))
    two = load_file(tmp_path / "two" / "last" / "weights.safetensors")
    for path, value in one[0].items():
        np.testing.assert_allclose(two[path], value, atol=1e-5, err_msg=path)


@pytest.mark.slow
def test_killed_is_like_whole(tiny_preset, reviews, tmp_path):
    killed_is_like_whole([
        f"--config={ROOT}/configs/my_csv.py:{reviews}", f"--config.model.backbone={tiny_preset}", "--config.model.dropout=0.2",
        "--config.data.max_length=16", "--config.train.activation_cache=float32", "--config.model.frozen_layers=1",
        "--config.train.epochs=3", "--config.train.global_batch_size=8", "--config.train.checkpoint_every_steps=5",
        "--config.eval.baseline=False"], str(tmp_path / "cache"), tmp_path, 20)


@pytest.mark.parametrize("changes, match", [
    ({"model__frozen_layers": 0}, "none are frozen"), ({"adaptation__method": "prompt"}, "see a prompt that is trained"),
    ({"distribution__strategy": "tpu"}, "is for CPUs and GPUs")])
def test_where_it_is_refused(tiny_preset, reviews, tmp_path, changes, match):
    with pytest.raises(UserError, match=f"config.train.activation_cache=float16 .*{match}"):
        reviewed(tiny_preset, tmp_path, reviews, **{"train__activation_cache": "float16", **changes})


def test_texts_that_change_are_refused(tiny_preset, tmp_path):
    from tfft.config import resolve
    from tfft.config.shipped import load

    for config, match in (("my_corpus:a.txt", "masks other words"), ("my_csv:a.csv", "augmentation changes it")):
        made = load(config)
        made.model.frozen_layers, made.train.activation_cache = 1, "float32"
        if config == "my_csv:a.csv":
            made.data.augmentation.swap = 0.1
        with pytest.raises(UserError, match=match):
            resolve(made)


def test_the_limit_of_the_disk_is_told_before_anything_is_computed(tiny_preset, reviews, tmp_path):
    made = reviewed(tiny_preset, tmp_path / "cache", reviews, train__activation_cache="float32",
                    train__activation_cache_gb=1e-6)
    limit = "--config.train.activation_cache_gb=1e-06"
    with pytest.raises(UserError, match=rf"need 0\.\d+ GB, and {limit} is the limit. Half of it"):
        fine_tune(made, str(tmp_path / "run"))
    assert not list((tmp_path / "cache").glob("activations/*"))
