"""How faithful explanations are: deletion and insertion curves (Samek et al. 2017; Petsiuk et al. 2018) against random order.

    python tools/benchmark_explain.py --workdir=runs/films --data=csv:test.csv --rows=40 --every=25

Deletion: the words of a row are left out, those that speak most for its answer first; the probability of that answer should
fall soon, so a small area under it is good. Insertion: they are put back into an empty text in the same order; a large area is
good. Both are areas over ten equal steps from nothing done to all done. A classifier is asked as a user asks it: no masks. Of
entities, answers and choices words are hidden behind the mask token instead, as their places must stay; of a row its first
number is taken, rows without one are left out, and with --context the words that it is about always stay. Orders by chance are
drawn three times a row.
"""

import argparse
import json
import time

import numpy as np

from tfft.explain import METHODS
from tfft.explaining.explainer import Explainer
from tfft.explaining.explanation import COMPLETE, Explanation
from tfft.run.workdir import open_run
from tfft.serving.explain import rows_of
from tfft.training.summaries import markdown

STEPS, DRAWS, RESAMPLED = 10, 3, 2000


def kept(one: Explanation, keep: np.ndarray) -> dict[str, str]:
    """The row without the words where keep bool[W] is False."""
    row = dict(one.row)
    for word, stays in reversed(list(zip(one.words, keep, strict=True))):
        if not stays:
            row[word.field] = row[word.field][:word.start] + row[word.field][word.end:]
    return row


def shown(count: int, order: np.ndarray) -> np.ndarray:
    """bool[2 x (STEPS + 1),count], the words of both curves: without the first ones of an order, then with these alone. Words
    that are not in the order always stay."""
    made = []
    for inserting in (False, True):
        for step in range(STEPS + 1):
            first = np.zeros(count, bool)
            first[order[:round(len(order) * step / STEPS)]] = True
            stays = first == inserting
            stays[np.setdiff1d(np.arange(count), order)] = True
            made.append(stays)
    return np.array(made)


def areas(explainer: Explainer, row: dict, one: Explanation, orders: list[np.ndarray]) -> np.ndarray:
    """float64[orders,2]: the areas under deletion and insertion."""
    stays = np.concatenate([shown(len(one.words), order) for order in orders])
    if explainer.leaves_out:
        odds = explainer.values([kept(one, keep) for keep in stays], explainer.names.index(one.name))
    else:
        odds = explainer.hidden_values(row, 0, ~stays)
    curve = (1 / (1 + np.exp(-odds))).reshape(len(orders), 2, STEPS + 1)
    return np.trapezoid(curve, axis=2) / STEPS


def interval(values: np.ndarray) -> str:
    """The mean, and its 95% interval by resampling rows."""
    draw = np.random.default_rng(0).integers(0, len(values), (RESAMPLED, len(values)))
    low, high = np.percentile(values[draw].mean(axis=1), [2.5, 97.5])
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--every", type=int, default=1, help="every n-th row of the data, which may be sorted by label")
    parser.add_argument("--context", action="store_true", help="the words of the entity or answer itself always stay")
    given = parser.parse_args()
    run = open_run(given.workdir)
    explainers = {method: Explainer(run, method) for method in METHODS}
    first = explainers["occlusion"]
    rows = [row for row, _ in rows_of(run, given.data, 20 * given.rows * given.every)][::given.every]
    random = np.random.default_rng(0)
    found: dict[str, list] = {method: [] for method in (*METHODS, "random order")}
    seconds = dict.fromkeys(METHODS, 0.0)
    steps, complete = [], 0
    for row in rows:
        orders, number = {}, len(found["random order"])
        if number == given.rows or next(iter(first(row)), None) is None:
            continue
        for method, explainer in explainers.items():
            started = time.perf_counter()
            one = next(iter(explainer(row)))
            seconds[method] += (time.perf_counter() - started) * bool(number)  # the first is traced
            words = [word for word in range(len(one.words)) if not (given.context and one.is_about(one.words[word]))]
            orders[method] = np.array(words, int)[np.argsort(-one.attribution[words], kind="stable")]
            if one.what == "value":
                parser.error("the curves are of probabilities, and this run answers with a number")
            if one.rest is not None:
                steps.append(one.steps)
                complete += one.missing <= COMPLETE
        drawn = [random.permutation(words) for _ in range(DRAWS)]
        made = areas(first, row, one, [*orders.values(), *drawn])
        for method, area in zip(METHODS, made, strict=False):
            found[method].append(area)
        found["random order"].append(made[len(METHODS):].mean(axis=0))
        print(f"{number + 1} of {given.rows}", json.dumps({m: np.mean(a, axis=0).round(3).tolist() for m, a in found.items()}),
              flush=True)
    chance, count = np.array(found["random order"]), len(found["random order"])
    lines = [(method, interval(np.array(area)[:, 0]), interval(np.array(area)[:, 1]),
              *(("", "") if method not in seconds else (
                  f"{((np.array(area) - chance) * [-1, 1] > 0).all(axis=1).mean():.0%}",
                  f"{seconds[method] / max(1, count - 1):.2f}"))) for method, area in found.items()]
    print(markdown(lines, ("order by", "deletion, small is good", "insertion, large is good", "rows better than chance in both",
                           "seconds a row")))
    print(f"{count} rows; integrated gradients: complete on {complete}, steps {min(steps)} to {max(steps)}, "
          f"median {int(np.median(steps))}")


if __name__ == "__main__":
    main()
