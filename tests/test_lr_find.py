"""The learning-rate range test: what losses say, the plots, the command."""

import csv
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from commands import ROOT, run

from tfft.config import resolve
from tfft.config.shipped import load
from tfft.run.rate_range import advised, beyond, drawn, find_rates, judge, picture, smooth, write

RATES = 1e-6 * 1e4 ** (np.arange(100) / 100)
# level until 1e-5, falling until 1e-3, then away
LOSSES = np.interp(np.log10(RATES), [-6, -5, -3, -2], [0.7, 0.7, 0.3, 2.0]) + np.random.default_rng(0).normal(0, 0.02, 100)


def test_later_losses_count_more():
    np.testing.assert_allclose(smooth([1.0, 2.0]), [1, (0.9 + 2) / 1.9])
    np.testing.assert_allclose(smooth([3.0] * 5), [3.0] * 5)


def test_where_it_falls_is_found():
    found = judge(RATES, LOSSES)
    assert 1e-5 < found.steepest < 1e-3 < found.lowest < 4e-3
    told = advised(found, ended=True)
    assert "falls fastest" in told and "--config.train.peak_learning_rate=" in told and "beyond bounds" in told
    lines = drawn(found).splitlines()
    stars = [(row, line.index("*")) for row, line in enumerate(lines) if "*" in line]
    assert max(stars)[1] > 40 and lines[-1].split() == ["1.0e-06", "9.1e-03"]  # the lowest point is to the right


def test_where_it_does_not_fall_is_told():
    found = judge(RATES, np.full(100, 0.7) + np.random.default_rng(0).normal(0, 0.001, 100))
    assert found.steepest is None and "falls at no rate" in advised(found, ended=False)
    assert "polyline" in picture(found)


def test_it_ends_where_the_loss_leaves():
    assert not beyond(np.array([0.5, 2.0]), 100)  # of the first tenth
    assert beyond(np.array([0.5] * 20 + [1.1]), 100) and not beyond(np.array([0.5] * 20 + [0.9]), 100)


def test_what_is_written(tmp_path):
    found = judge(RATES, LOSSES)
    for suffix in ("json", "csv", "svg"):
        write(found, tmp_path / f"made.{suffix}")
    made = json.loads((tmp_path / "made.json").read_text())
    assert made["lowest"] == found.lowest and made["losses"] == LOSSES.tolist() and len(made["rates"]) == 100
    with open(tmp_path / "made.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[3]["rate"]) == RATES[3] and float(rows[3]["smoothed"]) == found.smoothed[3]
    root = ElementTree.parse(tmp_path / "made.svg").getroot()
    points = next(one for one in root if one.tag.endswith("polyline")).get("points").split()
    assert len(points) == 100 and all(0 <= float(one.split(",")[0]) <= 640 for one in points)


def test_rates_rise_to_the_highest(tiny_preset, reviews, tmp_path, capsys):
    made = load("my_csv")
    made.data.train, made.model.backbone, made.data.cache = f"csv:{reviews}", str(tiny_preset), str(tmp_path / "cache")
    made.data.max_length, made.train.global_batch_size = 16, 8
    assert find_rates(resolve(made), str(tiny_preset), tmp_path / "cache", 40, 1e-4, 10.0, tmp_path / "made.json") == 0
    found = json.loads((tmp_path / "made.json").read_text())
    steps = len(found["rates"])
    np.testing.assert_allclose(found["rates"], [1e-4 * 1e5 ** (i / 39) for i in range(steps)])
    assert 10 < steps <= 40 and min(found["losses"]) < found["losses"][0]
    assert f" over {steps} steps; the loss, smoothed" in capsys.readouterr().out


def test_steps_that_float16_skips_have_no_loss(tiny_preset, reviews, tmp_path, capsys):
    """The first ones overflow, until the loss scale is low enough."""
    made = load("my_csv")
    made.data.train, made.model.backbone, made.data.cache = f"csv:{reviews}", str(tiny_preset), str(tmp_path / "cache")
    made.data.max_length, made.train.global_batch_size, made.train.precision = 16, 8, "mixed_float16"
    assert find_rates(resolve(made), str(tiny_preset), tmp_path / "cache", 30, 1e-6, 1e-4, tmp_path / "made.json") == 0
    found = json.loads((tmp_path / "made.json").read_text())
    assert min(found["losses"]) > 0.1


@pytest.mark.slow
def test_the_command_line(tiny_preset, reviews, tmp_path):
    command = ["lr_find", f"--config={ROOT}/configs/my_csv.py:{reviews}", f"--config.model.backbone={tiny_preset}",
               "--config.data.max_length=16", "--config.train.global_batch_size=8", "--steps=12"]
    cache = str(tmp_path / "cache")
    out, _ = run([*command, f"--output={tmp_path}/made.svg"], cache)
    assert "over 12 steps" in out and (tmp_path / "made.svg").exists()
    assert "must be below --highest" in run([*command, "--lowest=1"], cache, code=2)[1]
    assert "must end in .json" in run([*command, "--output=a.png"], cache, code=2)[1]
