"""Checkpoints: bit for bit, the damaged ones named, never a silent start from nothing."""

import errno
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from steps import Rig, batches

from tfft.errors import UserError
from tfft.training.checkpoints import Checkpoints


def state_of(rig: Rig) -> list[np.ndarray]:
    """Everything that decides how the run goes on, dropout seed states included."""
    slots = (*rig.optimizer.momentum, *rig.optimizer.velocity, *rig.optimizer.averages, rig.step)
    return [v.numpy() for v in (*rig.model.variables, *slots)]


def same_bits(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def make_rig(seed: int = 1) -> Rig:
    """With dropout, averages and clipping; one batch again and again, so that the place in the data plays no part."""
    keras.utils.set_random_seed(seed)
    return Rig(batches(1).repeat(), dropout=0.3, ema_decay=0.9)


def checkpoints_of(rig: Rig, folder, keep: int = 2) -> Checkpoints:
    return Checkpoints(folder, rig.model, rig.optimizer, rig.step, keep)


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """(folder with the checkpoints of steps 1 and 2, state after 2 steps, state after 4)."""
    folder = tmp_path_factory.mktemp("history") / "checkpoints"
    rig = make_rig()
    checkpoints = checkpoints_of(rig, folder)
    for step in (1, 2):
        rig.train(1)
        checkpoints.save({"best": step / 10})
    after_two = state_of(rig)
    rig.train(2)
    return folder, after_two, state_of(rig)


@pytest.fixture(scope="module")
def other():
    """A run of other seeds, to restore into."""
    return make_rig(seed=99)


@pytest.fixture
def copy(history, tmp_path):
    return shutil.copytree(history[0], tmp_path / "checkpoints")


def refuse(message: str) -> None:
    raise AssertionError(f"warned of {message}")


def test_restored_run_goes_on_bit_for_bit(history):
    folder, after_two, after_four = history
    rig = make_rig(seed=99)
    assert not same_bits(state_of(rig), after_two)
    assert checkpoints_of(rig, folder).restore(refuse) == {"best": 0.2}
    assert same_bits(state_of(rig), after_two) and int(rig.step.numpy()) == 2
    rig.train(2)
    assert same_bits(state_of(rig), after_four)


def test_seed_states_are_part_of_it(history, other):
    def states():
        return [v.numpy() for v in other.model.non_trainable_variables]

    checkpoints = checkpoints_of(other, history[0])
    checkpoints.restore(refuse)
    kept = states()
    assert len(kept) > 5
    other.model({k: v[0] for k, v in next(iter(batches(1).batch(1)))[0].items()}, training=True)
    assert not same_bits(states(), kept)
    checkpoints.restore(refuse)
    assert same_bits(states(), kept)


def test_nothing_saved_is_no_error(other, tmp_path):
    assert checkpoints_of(other, tmp_path / "none").restore(refuse) is None


def data_file(folder):
    return next(p for p in folder.iterdir() if ".data-" in p.name)


def truncate(folder):
    data_file(folder).write_bytes(data_file(folder).read_bytes()[:-5])


def flip(folder):
    content = bytearray(data_file(folder).read_bytes())
    content[len(content) // 2] ^= 1
    data_file(folder).write_bytes(content)


@pytest.mark.parametrize("damage, problem", [
    (truncate, "data-00000-of-00001 has .* bytes instead of"),
    (flip, "data-00000-of-00001 does not match its checksum"),
    (lambda folder: data_file(folder).unlink(), "data-00000-of-00001: No such file"),
    (lambda folder: (folder / "state.json").write_text("{"), "state.json: JSONDecodeError"),
    (lambda folder: (folder / "state.json").write_text('{"files": {}}'), "state.json: KeyError"),
    (lambda folder: (folder / "state.json").unlink(), "state.json: No such file"),
])
def test_damaged_newest_is_named_and_the_one_before_used(copy, other, damage, problem):
    damage(copy / "step-0000000002")
    warnings = []
    assert checkpoints_of(other, copy).restore(warnings.append) == {"best": 0.1}
    assert int(other.step.numpy()) == 1
    assert len(warnings) == 1 and "trying the one before it" in warnings[0]
    assert re.search(f"step-0000000002 is damaged .*{problem}", warnings[0]), warnings[0]


def test_none_whole_is_an_error(copy, other):
    for folder in copy.iterdir():
        truncate(folder)
    warnings = []
    with pytest.raises(UserError, match="None of the 2 checkpoints .* can be read. To start over, remove"):
        checkpoints_of(other, copy).restore(warnings.append)
    assert len(warnings) == 2


def test_checkpoint_of_another_model_is_not_restored(copy):
    rig = Rig(batches(1), family="distilbert")
    warnings = []
    with pytest.raises(UserError, match="None of the 2"):
        checkpoints_of(rig, copy).restore(warnings.append)


def test_last_few_are_kept(other, tmp_path):
    checkpoints = checkpoints_of(other, tmp_path, keep=3)
    for step in (5, 6, 7, 10, 100):
        other.step.assign(step)
        assert checkpoints.save({}).name == f"step-{step:010d}"
    assert [p.name for p in checkpoints.list()] == ["step-0000000007", "step-0000000010", "step-0000000100"]
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith("step-")] == []


def test_saving_a_step_again_replaces_it(copy, other):
    checkpoints = checkpoints_of(other, copy)
    checkpoints.restore(refuse)
    checkpoints.save({"best": 0.7})
    assert [p.name for p in checkpoints.list()] == ["step-0000000001", "step-0000000002"]
    assert checkpoints.restore(refuse) == {"best": 0.7}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("calls", [1, 2])
def test_kill_while_a_step_is_replaced_loses_nothing(copy, other, monkeypatch, calls):
    shutil.rmtree(copy / "step-0000000001")  # there is this one only
    checkpoints = checkpoints_of(other, copy)
    checkpoints.restore(refuse)
    rename, done = Path.rename, []

    def killed(self, target):
        rename(self, target)
        done.append(target)
        if len(done) == calls:
            raise Killed

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(Killed):
        checkpoints.save({"best": 0.7})
    monkeypatch.undo()
    assert checkpoints.restore(refuse) == {"best": 0.2 if calls == 1 else 0.7}
    checkpoints.save({"best": 0.8})
    assert checkpoints.restore(refuse) == {"best": 0.8}
    assert [p.name for p in checkpoints.list()] == ["step-0000000002"]


def test_leftover_of_a_killed_save_is_ignored(copy, other):
    shutil.copytree(copy / "step-0000000002", copy / ".making-0000000003")
    (copy / ".making-0000000003" / "state.json").unlink()
    checkpoints = checkpoints_of(other, copy)
    assert checkpoints.restore(refuse) == {"best": 0.2}
    other.step.assign(3)
    checkpoints.save({"best": 0.3})
    assert checkpoints.restore(refuse) == {"best": 0.3}


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"),
    tf.errors.ResourceExhaustedError(None, None, "checkpoint.data; No space left on device"),
])
def test_full_disk_is_said_and_the_old_stay(copy, other, monkeypatch, error):
    checkpoints = checkpoints_of(other, copy)
    checkpoints.restore(refuse)
    other.step.assign(3)

    def full(path, options):
        raise error

    monkeypatch.setattr(checkpoints._checkpoint, "write", full)
    with pytest.raises(UserError, match="Cannot save a checkpoint in .*: the disk is full. Free some space"):
        checkpoints.save({})
    assert [p.name for p in copy.iterdir() if p.name.startswith(".")] == []
    assert checkpoints.restore(refuse) == {"best": 0.2}


def test_folder_that_cannot_be_made_is_said(other, tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="Cannot save a checkpoint in .*checkpoints: .*File exists"):
        checkpoints_of(other, tmp_path / "checkpoints").save({})
