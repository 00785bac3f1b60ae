"""Whether explanations say what a model goes by: words are left out in their order, and put in in their order.

    python tools/benchmark_explain.py --workdir=runs/reviews --data=csv:test.csv --rows=100

Deletion: the words of a text are removed, the one with the largest attribution first; the sooner the answer's log odds fall,
the better. Insertion: a text begins without words, and they come in in that order; the sooner they rise, the better (Petsiuk et
al. 2018, with words for pixels). Printed is the mean of the log odds on both curves: in random order, the mean of three, and in
that of each method; how much better a method's is than that of random order in the same text, with a 95% interval over texts
(bootstrap); and the seconds that a text takes.
"""

import argparse
import functools
import json
import time

import numpy as np

from tfft.explaining.command import rows_of
from tfft.explaining.explainer import Explainer
from tfft.run.workdir import open_run

METHODS = ("integrated_gradients", "gradient_x_input", "occlusion")
RANDOM = 3  # orders a text


def without(row: dict[str, str], words: list) -> dict[str, str]:
    """The row without several of its words."""
    made = dict(row)
    for word in sorted(words, key=lambda word: -word.start):
        made[word.field] = made[word.field][:word.start] + made[word.field][word.end:]
    return made


def areas(value, row: dict[str, str], words: list, order: np.ndarray) -> tuple[float, float]:
    """(deletion, insertion): the mean of the curves from all words to none, and from none to all. value: rows -> float[n]."""
    ranked = [words[i] for i in order]
    rows = [without(row, ranked[:i]) for i in range(len(words) + 1)] + [without(row, ranked[i:]) for i in range(len(words) + 1)]
    curve = value(rows)
    down, up = curve[:len(words) + 1], curve[len(words) + 1:]
    return float(np.trapezoid(down) / len(words)), float(np.trapezoid(up) / len(words))


def interval(values: np.ndarray) -> tuple[float, float]:
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    return tuple(np.quantile(draws, (0.025, 0.975)).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data", required=True, help="a source of rows, csv:test.csv")
    parser.add_argument("--rows", type=int, default=100)
    given = parser.parse_args()
    run = open_run(given.workdir)
    rows = [row for row, _ in rows_of(run, given.data, given.rows)]
    explainers = {method: Explainer(run, method) for method in METHODS}
    draw, found, seconds, missing = np.random.default_rng(0), {name: [] for name in ("random", *METHODS)}, {}, []
    for number, row in enumerate(rows):
        for method, explainer in explainers.items():
            began = time.monotonic()
            one = next(explainer(row))
            seconds.setdefault(method, []).append(time.monotonic() - began)
            if method == METHODS[0]:
                at = explainer.names.index(one.name)
                missing.append(one.missing)
                value = functools.partial(explainer.values, at=at)
            words = [word for word, seen in zip(one.words, one.seen, strict=True) if seen]
            order = np.argsort(-one.attribution[one.seen], kind="stable")
            found[method].append(areas(value, one.row, words, order))
        drawn = [areas(value, one.row, words, draw.permutation(len(words))) for _ in range(RANDOM)]
        found["random"].append(np.mean(drawn, axis=0))
        if number % 20 == 19:
            print(f"{number + 1} of {len(rows)} rows", flush=True)
    print(json.dumps({"rows": len(rows), "missing_share_of_integrated_gradients": {
        "median": float(np.median(missing)), "most": max(missing)}}))
    for name, values in found.items():
        values, random = np.array(values), np.array(found["random"])
        better = {"deletion": random[:, 0] - values[:, 0], "insertion": values[:, 1] - random[:, 1]}
        told = {"order": name, "deletion": round(values[:, 0].mean(), 3), "insertion": round(values[:, 1].mean(), 3)}
        if name != "random":
            told |= {f"{what}_better": [round(x, 3) for x in (more.mean(), *interval(more))] for what, more in better.items()}
            told["seconds_a_text"] = round(float(np.median(seconds[name])), 3)
        print(json.dumps(told))


if __name__ == "__main__":
    main()
