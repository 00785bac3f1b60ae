"""Temperatures, calibration errors and abstain thresholds on arrays whose answers are known."""

import numpy as np
import pytest
from scipy import special

from tfft.config import TASKS, TextClassification
from tfft.errors import UserError
from tfft.tasks.text_classification.calibration import (
    Calibration,
    abstain_threshold,
    calibrate,
    calibration_error,
    fit_temperature,
    probabilities,
)


def overconfident(problem: str, factor: float, rows: int = 20_000):
    """(logits, targets): targets drawn from the probabilities of logits that are then multiplied by `factor`."""
    random = np.random.default_rng(3)
    logits = random.normal(0, 1.5, (rows, 3))
    true = probabilities(problem, logits)
    if problem == "single_label":
        targets = (true.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1)
    else:
        targets = (random.random(true.shape) < true).astype(np.float32)
    return logits * factor, targets


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_the_temperature_undoes_what_logits_were_multiplied_by(problem, factor):
    logits, targets = overconfident(problem, factor)
    found = calibrate(problem, logits, targets, step=4, precision=0)
    assert found.temperature == pytest.approx(factor, rel=0.05) and found.rows == 20_000 and found.step == 4
    assert found.error_after < 0.02 < 0.05 < found.error_before
    assert found.abstain_threshold is None


def test_probabilities_are_softmax_or_each_label_alone():
    logits = np.array([[2.0, 0.0]])
    np.testing.assert_allclose(probabilities("single_label", logits, 2.0), special.softmax([[1.0, 0.0]], axis=1))
    np.testing.assert_allclose(probabilities("multi_label", logits, 2.0), special.expit([[1.0, 0.0]]))


def test_calibration_error_by_hand():
    # confidences .9 .9 .6; right, wrong, right: bins at .9 (gap |1.8 - 1|) and .6 (gap |.6 - 1|), over 3 rows
    found = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    assert calibration_error("single_label", found, np.array([0, 1, 1])) == pytest.approx((0.8 + 0.4) / 3)
    # two labels in one row: stated .9 and .2, observed 1 and 0
    assert calibration_error("multi_label", np.array([[0.9, 0.2]]), np.array([[1.0, 0.0]])) == pytest.approx((0.1 + 0.2) / 2)
    assert calibration_error("single_label", np.array([[0.0, 1.0]]), np.array([1])) == 0  # the last bin includes 1


def test_the_threshold_keeps_as_many_answers_as_the_precision_allows():
    found = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
    targets = np.array([0, 0, 1, 0])
    assert abstain_threshold(found, targets, 1.0) == (pytest.approx(0.7), 1.0, 0.5)
    assert abstain_threshold(found, targets, 0.75) == (pytest.approx(0.275), 0.75, 1.0)
    assert abstain_threshold(found, np.array([1, 1, 1, 1]), 0.5) is None


def test_equal_confidences_are_not_cut_apart():
    found = np.array([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
    assert abstain_threshold(found, np.array([0, 1, 0]), 1.0) is None


def test_a_sure_row_far_from_right_does_not_overflow():
    assert 0.05 <= fit_temperature("single_label", np.array([[1e4, -1e4], [1e4, -1e4]]), np.array([0, 1])) <= 20


def test_what_cannot_be_is_told():
    logits, targets = np.array([[2.0, 0], [2.0, 0]]), np.array([0, 1])
    check = TASKS["text_classification"].check_calibration  # before anything is computed
    with pytest.raises(UserError, match="numbers, which have no probabilities"):
        check(TextClassification(problem="regression"), 0)
    with pytest.raises(UserError, match="each label has its threshold"):
        check(TextClassification(problem="multi_label"), 0.9)
    for problem, precision in (("single_label", 0.9), ("single_label", 0), ("multi_label", 0)):
        check(TextClassification(problem=problem), precision)
    with pytest.raises(UserError, match=r"on the 2 validation rows stays below 0.9 \(all kept: 0.500\). Ask for less"):
        calibrate("single_label", logits, targets, 1, 0.9)


def test_it_is_kept_as_json():
    made = Calibration(3, 10, 1.5, 0.1, 0.05, 0.7, 0.95, 0.8)
    assert Calibration.from_json(made.to_json(), "calibration.json") == made
    with pytest.raises(UserError, match="calibration.json is damaged .* Run the calibrate command again"):
        Calibration.from_json('{"step": 3}', "calibration.json")
