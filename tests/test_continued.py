"""A finished run as the start of another: labels, weights, every task, what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_adapter_run import TASKS, experiment, lines

from tfft.config import TokenClassification, any_to_json
from tfft.errors import UserError
from tfft.models.backbone import load_backbone
from tfft.run.continued import check_start
from tfft.run.fine_tune import fine_tune
from tfft.run.judge import judge
from tfft.run.sequence import Sequence, judge_sequence
from tfft.run.workdir import merged, open_run
from tfft.serving.prediction import Predictor
from tfft.tasks.text_classification.labels import Labels, extended
from tfft.tasks.token_classification import tags as tagging
from tfft.tasks.token_classification.tags import Tags
from tfft.tasks.token_classification.task import TokenClassificationTask

TEXTS = ["good film .", "bad film .", "a fine film", "the poor film"]


def test_new_labels_come_behind_the_old_ones():
    before = Labels(("refund", "delivery"), (7, 9), rows=16)
    made = extended(before, Labels(("delivery", "invoice", "return"), (3, 4, 5), rows=12))
    assert made.names == ("refund", "delivery", "invoice", "return") and made.counts == (0, 3, 4, 5) and made.rows == 12
    alike = extended(before, Labels(("Refund", "new"), (2, 1), rows=3, normalisation=("case",)))
    assert alike.names == ("refund", "delivery", "new") and alike.counts == (2, 0, 1)
    assert extended(before, Labels(("refund", "delivery"), (1, 1), rows=2, values="ids")).names == before.names
    named = extended(before, Labels(("refund", "delivery", "invoice"), (1, 2, 3), rows=6, values="ids"))
    assert named.names == ("refund", "delivery", "invoice") and named.counts == (1, 2, 3) and named.values == "ids"
    with pytest.raises(UserError, match="of another table"):
        extended(before, Labels(("0", "1", "2"), (1, 1, 1), rows=3, values="multi_hot"))
    scale = extended(Labels(mean=3.0, deviation=2.0), Labels(mean=5.0, deviation=1.0, rows=4))
    assert (scale.mean, scale.deviation, scale.rows) == (3.0, 2.0, 4)


def test_new_types_come_behind_the_old_ones():
    before = Tags(("O", "B-x", "I-x"), "IOB2", "IOB2", ("x",), (3,), ("asks",), (2,))
    now = Tags(("O", "B-a", "I-a", "B-x", "I-x"), "IOB2", "IOB2", ("a", "x"), (4, 5), ("says",), (1,))
    made = tagging.extended(before, now)
    assert made.names == ("O", "B-x", "I-x", "B-a", "I-a") and made.types == ("x", "a") and made.counts == (5, 4)
    assert made.labels == ("asks", "says") and made.label_counts == (0, 1)
    assert list(made.types_of_tags) == [0, 1, 1, 2, 2]
    with pytest.raises(UserError, match="these rows have none. Name their column"):
        tagging.extended(before, dataclasses.replace(now, labels=(), label_counts=()))
    with pytest.raises(UserError, match="of the scheme IOB2"):
        tagging.extended(before, dataclasses.replace(before, scheme="IOBES"))


@pytest.mark.parametrize("more", [1, 2, 3])
def test_transitions_keep_their_beginning_and_end(more):
    """[T+2,T]: the last two rows are not those of a tag."""
    before = np.arange(1, 16, dtype=np.float32).reshape(5, 3)
    task = TokenClassificationTask(TokenClassification(), Tags(("O", "B-x", "I-x"), "IOB2", "IOB2", ("x",), (3,)))
    made = task.larger("crf/transitions", np.zeros((5 + more, 3 + more), np.float32), before)
    np.testing.assert_array_equal(made[:3, :3], before[:3])
    np.testing.assert_array_equal(made[-2:, :3], before[3:])
    assert not made[3:-2].any() and not made[:, 3:].any()


def rows_of(config: str, folder, text: str = ""):
    path = folder / ("rows.conll" if config == "my_entities" else "rows.jsonl")
    path.write_text(text or TASKS[config])
    return path


def settings(config, preset, tmp_path, **changes):
    return experiment(config, preset, tmp_path / "cache", **{
        "data__validation": "", "train__steps": 3, "adaptation__method": "none", "train__peak_learning_rate": 1e-2, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("config", TASKS)
def test_every_task_goes_on(config, tiny_preset, tmp_path):
    """With a learning rate of 0 the new run is the old one."""
    name = f"{config}:{rows_of(config, tmp_path)}"
    assert fine_tune(settings(name, tiny_preset, tmp_path), str(tmp_path / "a")) == 0
    again = settings(name, tiny_preset, tmp_path, model__start=str(tmp_path / "a"), train__peak_learning_rate=0.0)
    assert fine_tune(again, str(tmp_path / "b")) == 0
    assert f"goes on from step 3 of {tmp_path / 'a'}" in (tmp_path / "b" / "train.log").read_text()
    old, new = (load_file(tmp_path / run / "last" / "weights.safetensors") for run in "ab")
    assert old.keys() == new.keys()
    for path, value in old.items():
        np.testing.assert_array_equal(new[path], value, err_msg=path)


def labelled(words: dict[str, str]) -> str:
    return "".join(f'{{"text": "{text} {i}", "label": "{label}"}}\n' for i in range(6) for text, label in words.items())


@pytest.fixture(scope="module")
def before(tiny_preset, tmp_path_factory):
    """A folder with runs "plain", "lora" and "adapters" that tell neg from pos."""
    folder = tmp_path_factory.mktemp("before")
    rows = rows_of("my_csv", folder, labelled({"good film": "pos", "bad film": "neg", "a fine film": "pos"}))
    for name, method in (("plain", "none"), ("lora", "lora"), ("adapters", "adapters")):
        made = settings("my_csv", tiny_preset, folder, data__train=f"jsonl:{rows}", adaptation__method=method,
                        eval__baseline=False, train__steps=12)
        assert fine_tune(made, str(folder / name)) == 0
    return folder


def going_on(before, tiny_preset, folder, run: str, **changes):
    rows = rows_of("my_csv", folder, labelled({"the poor film": "awful", "bad film": "neg"}))
    return settings("my_csv", tiny_preset, folder, **{
        "data__train": f"jsonl:{rows}", "eval__baseline": False, "train__peak_learning_rate": 0.0,
        "model__start": str(before / run), **changes})


@pytest.mark.parametrize("run, method", [("plain", "none"), ("lora", "none"), ("plain", "dora")])
def test_a_label_is_added(before, tiny_preset, tmp_path, run, method):
    """Old labels keep their weights and their ids; what LoRA had learnt is in the backbone then, DoRA's lengths are those of
    the run before."""
    assert fine_tune(going_on(before, tiny_preset, tmp_path, run, adaptation__method=method), str(tmp_path / "b")) == 0
    assert (tmp_path / "b" / "labels.txt").read_text().splitlines() == ["neg", "pos", "awful"]
    old, new = open_run(before / run), open_run(tmp_path / "b")
    kernel = new.model.get_layer("head").kernel.numpy()
    np.testing.assert_array_equal(kernel[:, :2], old.model.get_layer("head").kernel.numpy())
    assert kernel.shape == (8, 3) and kernel[:, 2].any()
    rows = [{"text": text} for text in TEXTS]
    was, now = (Predictor(one)(rows)["scores"] for one in (old, new))
    np.testing.assert_allclose(now[:, :2] / now[:, :2].sum(1, keepdims=True), was, atol=1e-5)


def test_labels_left_out_keep_their_weights(before, tiny_preset, tmp_path):
    """Those that no row has, pos here; a label that rows have learns."""
    for way in ("wrong", "left_out"):
        made = going_on(before, tiny_preset, tmp_path, "plain", train__peak_learning_rate=1e-2, train__weight_decay=0.0,
                        task__absent_labels=way)
        assert fine_tune(made, str(tmp_path / way)) == 0
    old, wrong, left_out = (open_run(folder).model.get_layer("head").kernel.numpy()
                            for folder in (before / "plain", tmp_path / "wrong", tmp_path / "left_out"))
    np.testing.assert_array_equal(left_out[:, 1], old[:, 1])
    assert (wrong[:, 1] != old[:, 1]).any() and (left_out[:, 0] != old[:, 0]).any()


def test_rows_of_one_new_label_resume_without_the_run_before(before, tiny_preset, tmp_path):
    """Two labels are known already. What has begun needs the other run no more."""
    shutil.copytree(before / "plain", tmp_path / "a")
    rows = rows_of("my_csv", tmp_path, labelled({"the poor film": "awful"}))
    made = settings("my_csv", tiny_preset, tmp_path, data__train=f"jsonl:{rows}", eval__baseline=False,
                    model__start=str(tmp_path / "a"))
    assert fine_tune(made, str(tmp_path / "b")) == 0
    assert (tmp_path / "b" / "labels.txt").read_text().splitlines() == ["neg", "pos", "awful"]
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b" / "last")
    assert fine_tune(made, str(tmp_path / "b")) == 0
    assert "finished already" in (tmp_path / "b" / "train.log").read_text() and (tmp_path / "b" / "last").exists()


def test_the_same_adapters_go_on(before, tiny_preset, tmp_path):
    made = going_on(before, tiny_preset, tmp_path, "adapters", adaptation__method="adapters", adaptation__rate=3.0)
    assert fine_tune(made, str(tmp_path / "b")) == 0
    old, new = (load_file(folder / "last" / "weights.safetensors") for folder in (before / "adapters", tmp_path / "b"))
    assert any(path.endswith("/up") for path in old)
    for path, value in old.items():
        if not path.startswith("head"):
            np.testing.assert_array_equal(new[path], value, err_msg=path)


@pytest.mark.parametrize("changes, match", [
    ({"model__start": "nowhere"}, "nowhere is not the workdir of a run"),
    ({"model__backbone": "hf://a/b"}, "Add --config.model.backbone=/"),
    ({"task__problem": "multi_label", "eval__metric": "auto"}, "Add --config.task.problem=single_label"),
    ({"model__pooling": "cls"}, "Add --config.model.pooling=mean"),
    ({"run": "adapters"}, "adaptation.method=adapters, which stays beside")])
def test_what_does_not_fit_is_refused(before, tiny_preset, tmp_path, changes, match):
    made = going_on(before, tiny_preset, tmp_path, **{"run": "plain", **changes})
    with pytest.raises(UserError, match=match):
        check_start(made)


def test_a_cross_validation_is_refused(tiny_preset, tmp_path):
    rows = rows_of("my_csv", tmp_path, labelled({"good film": "pos", "bad film": "neg"}))
    made = settings("my_csv", tiny_preset, tmp_path, data__train=f"jsonl:{rows}")
    folds = dataclasses.replace(made.data, folds=dataclasses.replace(made.data.folds, number=3))
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "config.json").write_text(any_to_json(dataclasses.replace(made, data=folds)))
    with pytest.raises(UserError, match="is a cross-validation.*config.model.start=.*/all/fold-1"):
        check_start(settings("my_csv", tiny_preset, tmp_path, data__train=f"jsonl:{rows}", model__start=str(tmp_path / "all")))


@pytest.mark.parametrize("run", ["plain", "lora"])
def test_another_task_takes_the_backbone(before, tiny_preset, tmp_path, run):
    """All of it, merged where it must be, and nothing else."""
    pairs = [{"text": "good", "text_pair": "a"}, {"text": "bad", "text_pair": "film"}]
    rows = rows_of("my_pairs", tmp_path, lines(pairs))
    made = settings(f"my_pairs:{rows}", tiny_preset, tmp_path, model__start=str(before / run), model__pooling="cls",
                    train__peak_learning_rate=0.0)
    assert fine_tune(made, str(tmp_path / "b")) == 0
    assert "begins with the backbone of step 12 of" in (log := (tmp_path / "b" / "train.log").read_text())
    assert "(text_classification)" in log
    old, new = merged(open_run(before / run, "last")), open_run(tmp_path / "b", "last")
    values, pretrained = ({v.path: v.numpy() for v in backbone.variables}
                          for backbone in (old.backbone, load_backbone(tiny_preset, precision="float32", dropout=-1)))
    same = [v.path for v in new.model.variables if v.path in pretrained and "seed_generator" not in v.path]
    assert len(same) > 20 and any(not np.array_equal(values[path], pretrained[path]) for path in same)
    for variable in new.model.variables:
        if variable.path in same:
            np.testing.assert_allclose(variable.numpy(), values[variable.path], atol=1e-6, err_msg=variable.path)


def test_adapters_of_another_task_are_refused(before, tiny_preset, tmp_path):
    rows = rows_of("my_pairs", tmp_path, lines([{"text": "good", "text_pair": "a"}]))
    with pytest.raises(UserError, match="adaptation.method=adapters, which stays beside"):
        check_start(settings(f"my_pairs:{rows}", tiny_preset, tmp_path, model__start=str(before / "adapters")))


def test_weights_that_mattered_are_held(before, tiny_preset, tmp_path):
    """Elastic weight consolidation: the anchor is the start, its importance AdamW's second moments with a mean of 1 and 0 for a
    new label. A strong hold keeps these weights; killed or not, the run has the same bits; the next run holds on to both."""
    from tfft.training.checkpoints import read_slots

    made = {name: going_on(before, tiny_preset, tmp_path, "plain", train__peak_learning_rate=1e-2, train__ewc=strength,
                           train__steps=12, train__checkpoint_every_steps=4, train__clip_norm=0.0)
            for name, strength in (("free", 0.0), ("held", 1e3))}
    for name, one in made.items():
        assert fine_tune(one, str(tmp_path / name)) == 0
    old, free, held = (load_file(folder / "last" / "weights.safetensors")
                       for folder in (before / "plain", tmp_path / "free", tmp_path / "held"))
    moments = read_slots(before / "plain" / "checkpoints", "velocity")
    importance, anchor = (read_slots(tmp_path / "held" / "checkpoints", f"anchor/{part}") for part in ("importance", "before"))
    paths = [v.path for v in open_run(tmp_path / "held").model.trainable_variables]
    mean = sum(map(np.sum, moments)) / sum(m.size for m in moments)
    moved = {"free": 0.0, "held": 0.0}
    for path, moment, weight, start in zip(paths, moments, importance, anchor, strict=True):
        kept = weight[..., :moment.shape[-1]] if moment.shape != weight.shape else weight
        np.testing.assert_allclose(kept, moment / mean, rtol=1e-4)
        assert moment.shape == weight.shape or not weight[..., moment.shape[-1]:].any()
        if moment.shape == weight.shape:
            np.testing.assert_array_equal(start, old[path])
            for name, now in (("free", free), ("held", held)):
                moved[name] += float(np.sum(weight * (now[path] - old[path]) ** 2))
    assert moved["held"] < moved["free"] / 10

    shutil.rmtree(tmp_path / "held" / "checkpoints" / "step-0000000012")
    shutil.rmtree(tmp_path / "held" / "last")
    assert fine_tune(made["held"], str(tmp_path / "held")) == 0  # from step 8
    again = load_file(tmp_path / "held" / "last" / "weights.safetensors")
    for path, value in held.items():
        np.testing.assert_array_equal(again[path], value, err_msg=path)

    third = going_on(before, tiny_preset, tmp_path, "plain", model__start=str(tmp_path / "held"), train__ewc=1.0)
    assert fine_tune(third, str(tmp_path / "third")) == 0
    sums = read_slots(tmp_path / "third" / "checkpoints", "anchor/importance")
    assert all((both >= one - 1e-6).all() for both, one in zip(sums, importance, strict=True))
    with pytest.raises(UserError, match="was trained with adaptation.method=lora: config.train.ewc=1 cannot know which"):
        check_start(going_on(before, tiny_preset, tmp_path, "lora", train__ewc=1.0))
    shutil.rmtree(tmp_path / "third" / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoints: config.train.ewc=1 cannot"):
        check_start(going_on(before, tiny_preset, tmp_path, "plain", model__start=str(tmp_path / "third"), train__ewc=1.0))


def test_what_a_sequence_says():
    scores = np.array([[0.9, np.nan, np.nan], [0.7, 0.8, np.nan], [0.8, 0.5, 0.6]])
    figures = Sequence(["a", "b", "c"], "accuracy", scores).figures()
    assert figures == pytest.approx({"average": 1.9 / 3, "forgetting": (0.1 + 0.3) / 2, "backward_transfer": (-0.1 - 0.3) / 2})
    losses = Sequence(["a", "b"], "loss", np.array([[0.2, np.nan], [0.5, 0.4]]), lower=True).figures()
    assert losses == pytest.approx({"average": 0.45, "forgetting": 0.3, "backward_transfer": -0.3})


def test_runs_are_judged_on_each_others_rows(before, tiny_preset, tmp_path, capsys):
    """What a run makes of the other's rows is what evaluate --data says; labels that it does not know are left out."""
    runs = {}
    for name, words, start in (("a", {"good film": "pos", "bad film": "neg"}, ""),
                               ("b", {"the poor film": "awful", "a fine film": "pos"}, "a")):
        rows = rows_of("my_csv", tmp_path, labelled(words)).rename(tmp_path / f"{name}.jsonl")
        runs[name] = str(tmp_path / name)
        made = settings("my_csv", tiny_preset, tmp_path, data__train=f"jsonl:{rows}", data__test=f"jsonl:{rows}",
                        eval__baseline=False, train__steps=6, model__start=runs.get(start, ""))
        assert fine_tune(made, runs[name]) == 0
    capsys.readouterr()
    assert judge_sequence(list(runs.values()), split="", weights="", output="") == 0
    said, report = capsys.readouterr().out, json.loads((tmp_path / "b" / "sequence-test.json").read_text())
    assert report["split"] == "test" and report["scores"][0][1] is None
    for i, j in ((0, 0), (1, 0), (1, 1)):
        name = list(runs)[j]
        judge(list(runs.values())[i], data=f"jsonl:{tmp_path}/{name}.jsonl", split="", weights="",
              output=str(tmp_path / "one.json"), baseline=False)
        assert json.loads((tmp_path / "one.json").read_text())["metrics"]["accuracy"] == report["scores"][i][j]
    assert report["forgetting"] == pytest.approx(report["scores"][0][0] - report["scores"][1][0])
    assert f"average {report['average']:.4f}, forgetting {report['forgetting']:.4f}" in said
    with pytest.raises(UserError, match="does not know all that the test rows of .*b are labelled with"):
        judge_sequence([runs["b"], runs["a"]], split="test", weights="", output="")
    with pytest.raises(UserError, match="lora: The run has no test split"):
        judge_sequence([str(before / "lora"), runs["a"]], split="test", weights="", output="")
