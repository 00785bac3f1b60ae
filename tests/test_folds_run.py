"""Cross-validation through the command line, and its runs as one model, on the tiny backbone."""

import csv
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from commands import arguments, run, saved, start, wait_for
from conftest import write_reviews
from safetensors.numpy import load_file

from tfft.assets import cache_folder
from tfft.checks.rows import together
from tfft.data.prepare import Preparer, open_splits
from tfft.data.splits import split_hash
from tfft.errors import UserError
from tfft.run.check_data import beliefs
from tfft.run.workdir import open_run
from tfft.serving.export import export
from tfft.serving.prediction import Predictor
from tfft.training.summaries import Console

pytestmark = pytest.mark.slow
SHORT = ("--config.train.epochs=1", "--config.data.test=20%", "--config.data.group_column=author", "--config.data.id_column=id")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """150 reviews, the same text under two ids now and then, by 30 authors; a csv file."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    write_reviews(path, 140)
    with open(path, encoding="utf-8") as file:
        made = list(csv.DictReader(file))
    made += made[:10]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "author", "text", "label"])
        writer.writerows([i, f"author {i % 30}", row["text"], row["label"]] for i, row in enumerate(made))
    return str(path)


@pytest.fixture(scope="module")
def folder(tiny_preset, rows, tmp_path_factory):
    """(work directory of three folds, cache): stopped in the second fold, and gone on with."""
    folder = tmp_path_factory.mktemp("folds")
    cache = str(folder / "cache")
    command = arguments(tiny_preset, rows, folder / "cv", "--folds=3", *SHORT, "--config.train.checkpoint_every_steps=1")
    process = start(command, cache)
    wait_for(lambda: saved(folder / "cv" / "fold-2") >= 2, process)
    process.kill()
    process.communicate()
    before = (folder / "cv" / "fold-1" / "fold.json").stat().st_mtime_ns
    out, error = run(command, cache)
    assert "fold 1 of 3" not in out and "fold 2 of 3 (2 of 3 runs)" in out and "continuing at step" in error
    assert (folder / "cv" / "fold-1" / "fold.json").stat().st_mtime_ns == before
    assert "3 runs, each judged on the rows it held out" in out and "Bengio & Grandvalet 2004" in out
    return folder / "cv", cache


def answers(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_out_of_fold_answers_are_complete_in_order_and_grouped(folder, rows):
    workdir, _ = folder
    source, found = answers(rows), answers(workdir / "out_of_fold.csv")
    tested = {row["author"] for row in source if split_hash(f"group {row['author']}", 0) > 0.8 * 2**64}
    expected = [row for row in source if row["author"] not in tested]
    assert [(row["id"], row["text"], row["label"]) for row in expected] == [
        (row["id"], row["text"], row["truth"]) for row in found]
    folds = {}
    for row, given in zip(expected, found, strict=True):
        assert folds.setdefault(row["author"], given["fold"]) == given["fold"]
        assert folds.setdefault(row["text"], given["fold"]) == given["fold"]
    assert {row["fold"] for row in found} == {"1", "2", "3"}
    report = json.loads((workdir / "cv.json").read_text())
    for one in report["runs"]:
        own = [row for row in found if row["fold"] == str(one["fold"])]
        right = np.mean([row["truth"] == row["predicted_label"] for row in own])
        assert one["metrics"]["accuracy"] == pytest.approx(right) and one["rows"] == len(own)
    values = [one["metrics"]["accuracy"] for one in report["runs"]]
    assert report["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert report["weights"] == "last" and "no weights were chosen" in report["chosen"]


def test_a_fold_is_the_run_that_its_config_says(folder, tiny_preset, rows, tmp_path):
    """Trained by itself in a new process, which no other fold came before and nothing interrupted."""
    workdir, cache = folder
    run(arguments(tiny_preset, rows, tmp_path / "one", *SHORT, "--config.data.folds.number=3", "--config.data.folds.held_out=2",
                  "--config.train.checkpoint_every_steps=1"), cache)
    for which in ("best", "last"):
        ours, theirs = (load_file(f / which / "weights.safetensors") for f in (workdir / "fold-2", tmp_path / "one"))
        assert ours and all((ours[name] == theirs[name]).all() for name in theirs)
    stores = {json.loads((workdir / f"fold-{i}" / "environment.json").read_text())["stores"]["train"] for i in (1, 2, 3)}
    assert len(stores) == 1


def test_check_data_asks_each_row_of_the_run_that_held_it_out(folder):
    workdir, _ = folder
    opened = open_run(workdir)
    cache = cache_folder(opened.experiment.data.cache)
    splits = open_splits(Preparer(opened.experiment.data, opened.reading(cache), cache, lambda text: None))
    rows = together(splits)
    made = beliefs(opened, opened.task, splits, rows, opened.task.truth(rows.store, rows.rows), Console(quiet=True))
    own = made.probabilities[rows.split == rows.names.index("train")]
    expected = [[float(row["probability:neg"]), float(row["probability:pos"])] for row in answers(workdir / "out_of_fold.csv")]
    np.testing.assert_allclose(own, expected, atol=2e-6)
    assert np.isfinite(made.probabilities).all() and made.what == "the run of another fold"


# ---- all runs as one


@pytest.fixture(scope="module")
def texts(rows) -> list[dict]:
    return [{"text": row["text"]} for row in answers(rows)[:20]]


def test_an_export_answers_by_the_mean_of_all_folds(folder, texts, tmp_path, capsys):
    workdir, cache = folder
    out, _ = run(["evaluate", f"--workdir={workdir}", "--nobaseline"], cache)
    assert "the mean of 3 runs" in out and "accuracy of each run by itself" in out
    assert export(str(workdir), str(tmp_path / "both"), "") == 0
    out = capsys.readouterr().out
    assert "exported the mean of 3 runs" in out and "proven on" in out
    card = (tmp_path / "both" / "1" / "model_card.md").read_text()
    assert "answers by the mean of 3 runs" in card and "## Evaluation: test" in card
    each = np.stack([Predictor(open_run(workdir / f"fold-{i}"))(texts)["scores"] for i in (1, 2, 3)])
    assert np.ptp(each, axis=0).max() > 1e-3
    served = tf.saved_model.load(str(tmp_path / "both" / "1")).signatures["serving_default"]
    np.testing.assert_allclose(served(text=tf.constant([row["text"] for row in texts]))["scores"], each.mean(axis=0), atol=1e-6)


def test_runs_of_other_folders_answer_together(folder, texts):
    workdir, cache = folder
    one, other = (str(workdir / f"fold-{i}") for i in (1, 2))
    made = Predictor(open_run(one, "", [other]))(texts)["scores"]
    each = [Predictor(open_run(path))(texts)["scores"] for path in (one, other)]
    np.testing.assert_allclose(made, np.mean(each, axis=0), atol=1e-6)
    _, error = run(["evaluate", f"--workdir={one}", f"--workdir={other}", "--ensemble"], cache, 2)
    assert "do not split the same rows alike" in error
    for more, message in ((["--calibrated"], "--calibrated is for one run"), (["--format=backbone"], "is for one run"),
                          ([f"--workdir={other}"], "name a folder with --output")):
        _, error = run(["export", f"--workdir={one if more[0].startswith('--workdir') else workdir}", *more], cache, 2)
        assert message in error


def test_what_has_not_come_to_its_end_is_told(folder, tmp_path):
    workdir, _ = folder
    shutil.copytree(workdir, tmp_path / "cv", ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
    shutil.rmtree(tmp_path / "cv" / "fold-3")
    with pytest.raises(UserError, match="fold-3 of 3 folds has no weights"):
        open_run(tmp_path / "cv")


def test_other_settings_and_other_weights(folder, tiny_preset, rows):
    workdir, cache = folder
    command = arguments(tiny_preset, rows, workdir, "--folds=3", *SHORT, "--config.train.checkpoint_every_steps=1")
    _, error = run([*command, "--config.train.l2=0.1"], cache, 2)
    assert "holds a cross-validation with other settings" in error and "train.l2: 0.0 -> 0.1" in error
    single = [argument for argument in command if argument != "--folds=3"]
    _, error = run(single, cache, 2)
    assert "holds a cross-validation" in error
    _, error = run([*single, "--weights=last"], cache, 2)
    assert "--weights goes with --folds" in error
    out, error = run([*command, "--weights=best"], cache)
    assert "plan:" not in error and "chosen on the very rows that judge it" in out
    assert open_run(workdir).which == "best"
    result = workdir / "fold-3" / "fold.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "store": "another"}))
    _, error = run([*command, "--weights=best"], cache, 2)
    assert "fold-3 are not those of" in error and "a library that reads them has changed in between" in error
