"""Charts of a page: round axes, and whole figures of odd values."""

import pytest
from test_report import Checked

from tfft.pages import svg


@pytest.mark.parametrize("low, high, expected", [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 83, [0, 20, 40, 60, 80]),
                                                 (2.1e-5, 3e-5, [2.2e-5, 2.4e-5, 2.6e-5, 2.8e-5, 3e-5]), (-3, 3, [-2, 0, 2])])
def test_axes_have_round_numbers(low, high, expected):
    assert svg.ticks(low, high) == pytest.approx(expected)


def test_charts_of_odd_values():
    for several in ([], [svg.Line("a", [], [])], [svg.Line("a", [1], [float("nan")])]):
        assert svg.lines("nothing", several, "x") == ""
    for y in ([5, 5], [0, 0], [1e-9, 1e9], [-1, float("inf")]):
        made = svg.lines("some", [svg.Line("a", [1, 2], y, points=True), svg.Line("<b>", [1], [1])], "x")
        Checked(made)
        assert "nan" not in made and "inf" not in made
    many = svg.lines("many", [svg.Line("a", range(100_000), range(100_000))], "x")
    assert len(many) < 20_000
    Checked(svg.matrix(["<b>", "y"], [[3, 0], [20_000, 1]], "right", "answer"))
