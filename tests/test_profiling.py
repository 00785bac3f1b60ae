"""config.train.profile: TensorBoard's profile of some steps, and where their time went; HParams of a run."""

import json

import commands
import pytest

from tfft.config import resolve
from tfft.errors import UserError
from tfft.training.profiling import PARTS, Profiler, Span, part_of, shares, steps_of


def test_the_time_of_steps_is_shared_by_what_runs():
    step = [Span(0, 10, "")]
    assert shares(step, [Span(0, 4, "forward"), Span(2, 8, "backward")]) == {
        "input": 0, "forward": 0.3, "backward": 0.5, "optimizer": 0, "other": 0.2}
    # two ops of one part count once; waiting counts where nothing else runs; what is outside the steps counts nothing
    made = shares([Span(0, 10, ""), Span(20, 30, "")], [
        Span(0, 5, "forward"), Span(1, 5, "forward"), Span(4, 8, "input"), Span(9, 22, "optimizer"), Span(12, 19, "forward")])
    assert made == {"input": 0.15, "forward": 0.25, "backward": 0, "optimizer": 0.15, "other": 0.45}
    assert shares([], [Span(0, 5, "forward")]) == {} and sum(shares(step, []).values()) == shares(step, [])["other"] == 1


@pytest.mark.parametrize("name, part", [
    ("classifier/layer/MatMul:_MklMatMul", "forward"), ("backward/MatMul_3:MatMul", "backward"),
    ("gradient_tape/classifier/layer/mul/Mul:Mul", "backward"), ("while/body/_5/while/backward/AddN:AddN", "backward"),
    ("ArithmeticOptimizer/ReplaceMulWithSquare_gradient_tape/a:Square", "backward"), ("optimizer/mul:Mul", "optimizer"),
    ("IteratorGetNextOp::DoCompute", "input"), ("IteratorGetNext:IteratorGetNext", "input"), ("PyFunc:PyFunc", "input"),
    ("while:While", ""), ("StatefulPartitionedCall:StatefulPartitionedCall", ""), ("ExecutorState::Process", ""),
    ("train_step", "")])
def test_what_an_op_is_part_of(name, part):
    assert part_of(name) == part


def test_a_loop_stops_where_a_profile_begins_and_ends(tmp_path):
    assert steps_of("10:20") == (10, 20) and steps_of("") == (0, 0)
    profiler = Profiler("3:25", tmp_path, print)
    assert [profiler.limit(step, step + 20) for step in (0, 3, 5, 10, 25)] == [3, 23, 25, 25, 45]
    assert Profiler("3:25", tmp_path, print, writes=False).limit(0, 20) == 3  # hosts go on together, of which one writes
    assert Profiler("", tmp_path, print).limit(0, 20) == 20


@pytest.mark.parametrize("text", ["10", "20:10", "0:5", "3:3", "a:b", "1:2:3", "-1:4"])
def test_what_is_no_profile(text):
    with pytest.raises(UserError, match=rf"^config\.train\.profile={text} must be FROM:TO, the steps after FROM \(1 or later"):
        resolve({"data": {"train": "csv:a.csv"}, "train": {"profile": text}})
    assert resolve({"data": {"train": "csv:a.csv"}, "train": {"profile": "1:2"}}).train.profile == "1:2"


@pytest.mark.slow
def test_a_run_says_where_its_time_went(tiny_preset, reviews, cache, tmp_path):
    """The profile ends at an evaluation; a second session of the run still tells of it."""
    command = commands.arguments(tiny_preset, reviews, tmp_path / "run", "--config.train.profile=3:20",
                                 "--config.train.steps=8", "--config.eval.every_steps=6")
    for _ in range(2):
        _, said = commands.run(command, cache)
        told = said.partition("time of the profiled steps ")[2].split("best validation")[0]
        found = {name: float(share.rstrip("%,")) for name, share in zip(told.split()[::2], told.split()[1::2], strict=True)}
        assert tuple(found) == PARTS and sum(found.values()) == pytest.approx(100, abs=0.3)
        assert min(found["forward"], found["backward"], found["optimizer"]) > 0.1 and "profile failed" not in said
    board = tmp_path / "run" / "tensorboard"
    assert len(list(board.glob("plugins/profile/*/*.xplane.pb"))) == 1
    steps = [line["step"] for line in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())]
    assert steps == [6, 8, 8]
    _check_hparams(next(board.glob("events.*")), str(tmp_path / "run"))


def _check_hparams(path, trial: str) -> None:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.plugins.hparams import plugin_data_pb2

    values = [value for event in LegacyEventFileLoader(str(path)).Load() for value in event.summary.value]
    data = plugin_data_pb2.HParamsPluginData.FromString(values[0].metadata.plugin_data.content)
    told = data.session_start_info.hparams
    assert told["train.steps"].number_value == 8 and told["model.pooling"].string_value and len(values) == 1
    assert not told["train.remat"].bool_value and data.session_start_info.group_name == trial
