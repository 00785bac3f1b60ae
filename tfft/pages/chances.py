"""What follows from probabilities: confusion, how honest they are, where to cut and what that costs."""

import numpy as np

from tfft.data.scratch import parts
from tfft.pages import svg
from tfft.pages.html import Markup, figures, section, table, tag
from tfft.tasks.base import Chances

MATRIX = 20   # labels that a matrix has room for
PAIRS = 30    # most confused pairs
BINS = 15     # as tfft calibrate counts
CURVES = 6    # labels with a curve of their own
LABELS = 40   # in a table
COSTS = ((10, 1), (5, 1), (2, 1), (1, 1), (1, 2), (1, 5), (1, 10))
PRECISIONS = (0.9, 0.95, 0.98, 0.99)
FLATTERED = "Thresholds that are chosen and judged on the same rows look a little better than they are."


def confusion(chances: Chances) -> Markup:
    """Which labels are taken for which, where each row has one."""
    if chances.thresholds is not None:
        return Markup("")
    names, right, given = chances.names, np.asarray(chances.right), chances.found.argmax(axis=1)
    number = len(names)
    codes, counts = np.unique(right * np.int64(number) + given, return_counts=True)
    shown = []
    if number <= MATRIX:
        cells = np.zeros(number * number, np.int64)
        cells[codes] = counts
        shown.append(svg.matrix(names, cells.reshape(number, number).tolist(), "right", "answer"))
    wrong = codes // number != codes % number
    codes, counts = codes[wrong], counts[wrong]
    of_label = np.bincount(right, minlength=number)
    if number > 2 and len(codes):
        order = np.argsort(-counts, kind="stable")[:PAIRS if number > MATRIX else 10]
        lines = [(names[code // number], names[code % number], int(count), f"{count / of_label[code // number]:.1%}")
                 for code, count in zip(codes[order].tolist(), counts[order].tolist(), strict=True)]
        shown += [tag("h3", "Most confused"), table(("right", "answer", "rows", "of that label"), lines)]
    return section("Confusion", *shown)


def calibration(chances: Chances) -> Markup:
    """Whether what is called 80% is right in 80% of all rows: expected calibration error, Guo et al. 2017, equation 3."""
    sizes, stated, right = (np.zeros(BINS) for _ in range(3))
    for part in parts(*chances.found.shape):
        found = np.asarray(chances.found[part])
        if chances.thresholds is None:
            said, good = found.max(axis=1), found.argmax(axis=1) == chances.right[part]
        else:
            said, good = found.ravel(), np.asarray(chances.right[part]).ravel() > 0.5
        bins = np.minimum((said * BINS).astype(int), BINS - 1)
        for sums, values in ((sizes, None), (stated, said), (right, good)):
            sums += np.bincount(bins, values, BINS)
    total = sizes.sum()
    if not total:
        return Markup("")
    error = float(np.abs(stated - right).sum() / total)
    there = np.flatnonzero(sizes)
    left = (there / BINS).tolist()
    share = right[there] / sizes[there]
    told = [f"called {stated[k] / sizes[k]:.1%} on average, right {right[k] / sizes[k]:.1%} of {sizes[k]:,.0f}" for k in there]
    way = "too sure of itself" if stated.sum() > right.sum() else "less sure than it could be"
    what = "each answer" if chances.thresholds is None else "each label of each row"
    text = (f"Of {what} the probability is compared with how often it is right. Expected calibration error: {error:.4f} (0 is "
            f"honest); on the whole the model is {way}: {stated.sum() / total:.1%} stated, {right.sum() / total:.1%} right. "
            "tfft calibrate fits a temperature, on the validation rows.")
    return section("Calibration", tag("p", text), figures(
        svg.bars("How often it is right", left, share.tolist(), told, "probability stated", width=1 / BINS, y=(0, 1),
                 guide=((left[0], left[0]), (1, 1))),
        svg.bars("How often that is stated", left, sizes[there].tolist(), [f"{sizes[k]:,.0f}" for k in there],
                 "probability stated", width=1 / BINS)))


def thresholds(chances: Chances) -> Markup:
    """Where to cut: of a yes or no by what wrong answers cost, of several labels label by label, else from which probability on
    an answer is given at all."""
    if chances.thresholds is not None:
        return _several(chances)
    return _yes_or_no(chances) if len(chances.names) == 2 else _sure(chances)


class Cut:
    """What each threshold makes of rows: score float[n] and truth bool[n]. at float64[k], falling: rows from there on are
    called positive, after none at all; hits, given: how many of these are, and how many they are."""

    def __init__(self, score: np.ndarray, truth: np.ndarray):
        order = np.argsort(-score, kind="stable")
        values = score[order].astype(np.float64)
        ends = np.flatnonzero(np.append(values[1:] < values[:-1], True)) if len(values) else np.zeros(0, int)
        self.n, self.positive = len(values), int(truth.sum())
        self.given = np.concatenate([[0], ends + 1])
        self.hits = np.concatenate([[0], np.cumsum(truth[order])[ends]])
        below = np.append(values[ends[1:]], 0.0) if len(ends) else np.zeros(0)
        self.at = np.concatenate([[1.0], (values[ends] + below) / 2])

    @property
    def precision(self) -> np.ndarray:
        return self.hits / np.maximum(1, self.given)

    @property
    def recall(self) -> np.ndarray:
        return self.hits / max(1, self.positive)

    def cost(self, wrong_positive: float, wrong_negative: float) -> np.ndarray:
        """Of all rows."""
        return (self.given - self.hits) * wrong_positive + (self.positive - self.hits) * wrong_negative

    def place(self, threshold: float) -> int:
        """The place of the cut that a threshold makes."""
        return int(np.searchsorted(-self.at, -threshold, "right")) - 1 if threshold <= 1 else 0


def _yes_or_no(chances: Chances) -> Markup:
    name = chances.names[1]
    cut = Cut(np.asarray(chances.found[:, 1]), np.asarray(chances.right) == 1)
    if not 0 < cut.positive < cut.n:
        return Markup("")
    usual, lines = cut.place(0.5), []
    for positive, negative in COSTS:
        cost = cut.cost(positive, negative)
        best = int(np.argmin(cost))
        lines.append((f"{positive} : {negative}", float(cut.at[best]), float(cut.precision[best]), float(cut.recall[best]),
                      float(1000 * cost[best] / cut.n), float(1000 * cost[usual] / cut.n)))
    curves = svg.lines(f"Precision and recall of {name}", [svg.Line("precision", cut.at[1:], cut.precision[1:]),
                                                           svg.Line("recall", cut.at[1:], cut.recall[1:])],
                       "threshold", x=(0, 1), y=(0, 1))
    costs = svg.lines("Cost of a row", [
        svg.Line(f"{a} : {b}", cut.at, cut.cost(a, b) / cut.n / max(a, b)) for a, b in ((1, 1), (5, 1), (1, 5))],
        "threshold", x=(0, 1))
    told = tag("p", f"Which probability of {name} is enough depends on what wrong answers cost: a : b is what calling a row "
                    f"{name} that is not costs, against missing one that is. Costs are of 1,000 rows; the chart's are divided "
                    f"by the larger of the two. {FLATTERED}")
    return section("Thresholds", told, figures(curves, costs), table(
        ("cost a : b", "best threshold", "precision", "recall", "cost", "cost at 0.5"), lines))


def _several(chances: Chances) -> Markup:
    many = np.argsort(-np.array([float(np.asarray(chances.right[:, k]).sum()) for k in range(len(chances.names))]),
                      kind="stable")[:LABELS].tolist()
    lines, curves = [], []
    for k in many:
        cut = Cut(np.asarray(chances.found[:, k]), np.asarray(chances.right[:, k]) > 0.5)
        if not cut.positive:
            continue
        used = cut.place(float(chances.thresholds[k]))
        best = [float(cut.at[int(np.argmin(cut.cost(a, b)))]) for a, b in ((5, 1), (1, 1), (1, 5))]
        lines.append((chances.names[k], cut.positive, float(chances.thresholds[k]), float(cut.precision[used]),
                      float(cut.recall[used]), *best))
        if len(curves) < CURVES:
            curves.append(svg.Line(chances.names[k], cut.recall[1:], cut.precision[1:]))
    told = tag("p", "The threshold that is used for each label, and those that would cost least where calling a row by the "
                    f"label wrongly costs 5, 1 or a fifth of missing one. {FLATTERED}")
    chart = svg.lines("Precision and recall", curves, "recall", x=(0, 1), y=(0, 1))
    return section("Thresholds", told, figures(chart), table(
        ("label", "rows", "threshold", "precision", "recall", "best at 5 : 1", "at 1 : 1", "at 1 : 5"), lines)) \
        if lines else Markup("")


def _sure(chances: Chances) -> Markup:
    """One of many labels: answers of which the model is not sure enough can be left to a person."""
    found = np.asarray(chances.found)
    cut = Cut(found.max(axis=1), found.argmax(axis=1) == np.asarray(chances.right))
    share, right = cut.given / max(1, cut.n), cut.precision
    lines = []
    for wanted in PRECISIONS:
        kept = np.flatnonzero(right[1:] >= wanted) + 1
        if len(kept):
            lines.append((f"{wanted:.0%}", float(cut.at[kept[-1]]), f"{share[kept[-1]]:.1%}"))
    costs = []
    for wrong, asked in ((2, 1), (5, 1), (10, 1), (20, 1)):
        cost = (cut.given - cut.hits) * wrong + (cut.n - cut.given) * asked
        best = int(np.argmin(cost))
        costs.append((f"{wrong} : {asked}", float(cut.at[best]), f"{share[best]:.1%}", float(1000 * cost[best] / cut.n),
                      float(1000 * cost[-1] / cut.n)))
    told = tag("p", "Answers below a probability can be left to a person: how many remain, and how many of them are right. "
                    "a : b is what a wrong answer costs, against asking the person; costs are of 1,000 rows. tfft calibrate "
                    f"--precision bakes one in. {FLATTERED}")
    chart = svg.lines("Answers given, and right", [svg.Line("share given", cut.at[1:], share[1:]),
                                                   svg.Line("right of them", cut.at[1:], right[1:])],
                      "threshold", x=(0, 1), y=(0, 1))
    return section("Thresholds", told, figures(chart), table(("right", "threshold", "rows answered"), lines),
                   table(("cost a : b", "best threshold", "rows answered", "cost", "cost if all are answered"), costs))
