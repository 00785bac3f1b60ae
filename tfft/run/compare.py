"""Which of several runs is better on the same rows, whether that is more than chance, and what differs between them."""

import itertools
from collections import Counter

import numpy as np

from tfft.config import TASKS, differences
from tfft.errors import UserError
from tfft.evaluation.pairs import holm, of_draws, paired_test
from tfft.evaluation.resampling import between, resampled
from tfft.files import to_path
from tfft.run.candidate import Candidate, judge_candidate
from tfft.run.compared_slices import slices_of
from tfft.run.comparison import Comparison, Pair, Slice
from tfft.run.comparison_page import comparison_page
from tfft.run.judge import check_writable, write_output
from tfft.run.workdir import Workdir
from tfft.training.summaries import Console

SLICED = 400   # resamples of a slice
CHANGED = 20   # rows that one run alone answers rightly, in the JSON
WORSE = 1      # the exit code of --fail_if_worse
OF_ROWS = ", a row's mean"  # a score as a metric: it may have the name of one that is not the mean of its rows
OF_TOKENS = "loss"  # the score of a row that is a mean over its tokens
LEAST = 0.5    # of the rows of each run, so many must be the others' too


def compare(paths: list[str], *, data: str, split: str, weights: str, output: str, slices: tuple[str, ...],
            on_broken_row: str, reading: dict[str, str], fail_if_worse: bool) -> int:
    """Prints what a comparison found; writes it where there is an output, as a page to a .html file, else as JSON. Returns the
    exit code."""
    console = Console()
    experiments = [Workdir(path).experiment() for path in paths]
    if not data and not split:
        split = "test" if all(experiment.data.specs("test") for experiment in experiments) else "validation"
    target = to_path(output) if output else None
    if target:
        check_writable(target)
    found = [judge_candidate(path, data, split, weights, on_broken_row, reading, () if i else slices, console)
             for i, path in enumerate(paths)]
    made = comparison(found, data or split, slices, console)
    print(made.told())
    if target:
        write_output(target, comparison_page(made) if target.suffix == ".html" else made.to_json() + "\n")
        print(f"\nreport: {target}")
    return WORSE if fail_if_worse and any(pair.verdict == "worse" for pair in made.pairs) else 0


def comparison(found: list[Candidate], name: str, slices: tuple[str, ...], console: Console) -> Comparison:
    """Each run against the first, on the rows that all were judged on."""
    check_same_scores(found)
    places, said = common_rows(found)
    metric, lower = metric_of(found, places)
    parts = slices_of(found[0], places[0], slices)
    console.say(f"comparing on {len(places[0]):,} rows")
    pairs = [_pair(found[0], one, places[0], at, metric, lower, parts)
             for one, at in zip(found[1:], places[1:], strict=True)]
    corrected = holm([pair.p for pair in pairs])
    pairs = [pair.judged(p, len(pairs)) for pair, p in zip(pairs, corrected, strict=True)]
    figures = [{**one.evidence.figures(at), **one.evidence.slow(at)} for one, at in zip(found, places, strict=True)]
    return Comparison(name, metric, lower, len(places[0]), said + _seen(found, places), found, figures, pairs)


def check_same_scores(found: list[Candidate]) -> None:
    """Raises: UserError where the runs do not answer the same kind of question."""
    first = found[0]
    for one in found[1:]:
        for name, theirs, mine in (("task", first.experiment.task.name, one.experiment.task.name),
                                   ("score of a row", first.evidence.what, one.evidence.what)):
            if theirs != mine:
                raise UserError(f"{first.path} and {one.path} cannot be compared: the {name} of the one is {theirs}, of the "
                                f"other {mine}.")


def common_rows(found: list[Candidate]) -> tuple[list[np.ndarray], list[str]]:
    """(int64[n] for each run: places of the rows that all were judged on, in the same order; what to say of the others).

    A row is what is asked with its right answer, as often as it is there: judged on [x, x, y] and on [y, x], two are common.
    Raises: UserError where they are too few.
    """
    keyed = [_keyed(one) for one in found]
    shared = set(keyed[0]).intersection(*keyed[1:])
    order = [key for key in keyed[0] if key in shared]
    places = [np.array([keys[key] for key in order], np.int64) for keys in keyed]
    counts = [len(keys) for keys in keyed]
    if len(order) == max(counts):
        return places, []
    told = ", ".join(f"{one.path} {count:,}" for one, count in zip(found, counts, strict=True))
    other = _labelled_otherwise(found)
    also = f" {other:,} texts are the same with {_otherwise(found)}." if other else ""
    if len(order) < LEAST * min(counts):
        if other and _other_tokens(found):
            paths = " and ".join(one.path for one in found)
            raise UserError(f"{paths} cannot be compared: they are judged by the loss of each token, and their tokenizers are "
                            f"different. Of {other:,} texts, what is one token to the one is several to the other: their "
                            "losses and perplexities are no figures of the same thing, on whatever rows. Compare runs on "
                            "backbones with one tokenizer; or what these write, by tfft evaluate of each "
                            "(config.task.sample_rows).")
        raise UserError(f"These runs were judged on different rows ({told}), of which {len(order):,} are the same by what is "
                        f"asked and its right answer.{also} Give rows to judge all of them on: --data=csv:FILE.")
    return places, [f"compared on the {len(order):,} rows that all were judged on; judged were: {told}.{also}"]


def _other_tokens(found: list[Candidate]) -> bool:
    """Whether rows are judged token by token, and tokens are others."""
    return found[0].evidence.what == OF_TOKENS and len({one.tokenizer for one in found}) > 1


def _otherwise(found: list[Candidate]) -> str:
    """Why texts that all have may be aligned with none."""
    if _other_tokens(found):
        return "other numbers of tokens, for the tokenizers are different"
    if found[0].evidence.what == OF_TOKENS:
        return "other numbers of tokens: config.data.max_length cuts them elsewhere, or their templates are others"
    return "another right answer: the labels have other names, or were changed"


def _keyed(one: Candidate) -> dict[tuple, int]:
    """Place of each row by (what is asked, its right answer, the how manieth such)."""
    often: Counter = Counter()
    made = {}
    for place, key in enumerate(zip(one.asked.tolist(), one.right, strict=True)):
        made[(*key, often[key])] = place
        often[key] += 1
    return made


def _labelled_otherwise(found: list[Candidate]) -> int:
    """How many texts that all have are answered otherwise by the rows of one of them."""
    several = []
    for one in found:
        answers: dict[int, set[str]] = {}
        for asked, right in zip(one.asked.tolist(), one.right, strict=True):
            answers.setdefault(asked, set()).add(right)
        several.append(answers)
    shared = set(several[0]).intersection(*several[1:])
    return sum(not set.intersection(*(answers[asked] for answers in several)) for asked in shared)


def metric_of(found: list[Candidate], places: list[np.ndarray]) -> tuple[str, bool]:
    """(the first run's metric, where parts of the rows have it, else what a row's score is called; whether less is better)."""
    experiment = found[0].experiment
    wanted = experiment.eval.metric.rpartition("/")[2]
    if all(wanted in one.evidence.figures(at) for one, at in zip(found, places, strict=True)):
        return wanted, wanted in TASKS[experiment.task.name].lower_is_better
    return f"{found[0].evidence.what}{OF_ROWS}", False


def _figure(one: Candidate, metric: str):
    """places int64[m] -> {metric: of these rows, ...}."""
    evidence = one.evidence
    if metric == f"{evidence.what}{OF_ROWS}":
        return lambda places: {metric: float(evidence.score[places].mean())}
    return evidence.figures


def _pair(one: Candidate, other: Candidate, at: np.ndarray, there: np.ndarray, metric: str, lower: bool, parts: list) -> Pair:
    """other against one. at, there int64[n]: places of the same rows in the evidence of each."""
    before, after = _figure(one, metric), _figure(other, metric)

    def apart(places: np.ndarray) -> dict[str, float]:
        had, has = before(at[places]), after(there[places])
        return {name: has[name] - had[name] for name in (metric,) if name in had and name in has}

    every = np.arange(len(at))
    draws = resampled(apart, len(at)).get(metric, np.zeros(0))
    had, has = one.evidence.score[at], other.evidence.score[there]
    test, p = paired_test(had, has)
    mean = abs(before(at)[metric] - had.mean()) < 1e-9 and abs(after(there)[metric] - has.mean()) < 1e-9
    deviation = float((has - had).std()) if mean else float(draws.std() * len(at) ** 0.5) if len(draws) else np.nan
    difference = apart(every)[metric]
    sliced = [_slice(kind, title, places, at, there, one, other, metric) for kind, title, places in parts]
    return Pair(
        one.path, other.path, metric, lower, difference, _between(draws), test, p, p if mean else of_draws(draws), mean,
        deviation, len(at), int((has > had).sum()), int((has < had).sum()), sliced,
        differences(one.experiment, other.experiment), _data(one, other), _changed(one, other, at, there))


def _between(draws: np.ndarray) -> tuple[float, float]:
    if not len(draws) or not np.isfinite(draws).all():
        return float("-inf"), float("inf")
    return between(draws)


def _slice(kind: str, title: str, places: np.ndarray, at, there, one: Candidate, other: Candidate, metric: str) -> Slice:
    """The rows of one label have their mean score as a figure: metrics of many labels say little of one."""
    named = metric if kind != "label" else f"{one.evidence.what}{OF_ROWS}"
    before, after = _figure(one, named), _figure(other, named)
    own, theirs = at[places], there[places]
    had, has = before(own).get(named), after(theirs).get(named)
    if had is None or has is None or not np.isfinite([had, has]).all():
        return Slice(kind, title, len(places), _short(named), None, None, (float("-inf"), float("inf")))

    def apart(drawn: np.ndarray) -> dict[str, float]:
        pair = before(own[drawn]), after(theirs[drawn])
        return {named: pair[1][named] - pair[0][named]} if all(named in part for part in pair) else {}

    return Slice(kind, title, len(places), _short(named), had, has,
                 _between(resampled(apart, len(places), resamples=SLICED).get(named, np.zeros(0))))


def _short(metric: str) -> str:
    return metric.removesuffix(OF_ROWS)


def _data(one: Candidate, other: Candidate) -> list[str]:
    """What differs in the training rows, by what is asked."""
    if one.trained is None or other.trained is None:
        return ["training rows that cannot be read any more are not compared"]
    both = np.intersect1d(one.trained, other.trained)
    only = [int((~np.isin(part.trained, both)).sum()) for part in (one, other)]
    counts = [len(part.trained) for part in (one, other)]
    if not any(only) and counts[0] == counts[1]:
        return []
    return [f"training rows: {counts[0]:,} -> {counts[1]:,}; {only[0]:,} of the first are not in the second by what is asked, "
            f"{only[1]:,} of the second not in the first"]


def _changed(one: Candidate, other: Candidate, at: np.ndarray, there: np.ndarray) -> dict[str, list[dict]]:
    """Rows that one of them answers better, those with the greatest difference first."""
    apart = other.evidence.score[there] - one.evidence.score[at]
    made = {}
    for name, sign in (("better", 1), ("worse", -1)):
        order = np.argsort(-sign * apart, kind="stable")
        chosen = itertools.takewhile(lambda i, sign=sign: sign * apart[i] > 0, order[:CHANGED].tolist())
        made[name] = [_row(one, other, int(at[i]), int(there[i])) for i in chosen]
    return made


def _row(one: Candidate, other: Candidate, place: int, there: int) -> dict[str, str]:
    row = int(one.evidence.rows[place])
    return {"place": one.store.place(row), "text": " || ".join(one.store.texts(row))[:300],
            "right": one.evidence.right(place), "before": one.evidence.given(place), "after": other.evidence.given(there)}


def _seen(found: list[Candidate], places: list[np.ndarray]) -> list[str]:
    """Runs that were trained on rows which they are compared on."""
    made = []
    for one, at in zip(found, places, strict=True):
        count = 0 if one.trained is None else int(np.isin(one.asked[at], one.trained).sum())
        if count:
            made.append(f"warning: {count:,} of these rows are asked in the training rows of {one.path} too, which it may know "
                        "by heart")
    return made
