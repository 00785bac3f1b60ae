"""How an evaluation treats the groups that columns of the rows name: each group's figures, the gaps between them, in words."""

import textwrap
from typing import Any

import numpy as np

from tfft.config import TASKS, Experiment
from tfft.data.sources import Source
from tfft.data.store import TokenStore
from tfft.errors import UserError, unknown
from tfft.evaluation.groups import (
    GAPS,
    RATES,
    Answers,
    Rates,
    answers,
    by_resamples,
    by_shuffles,
    chance,
    gap_by_chance,
    rates,
    wilson,
)
from tfft.evaluation.resampling import interval
from tfft.run.columns import column_values
from tfft.tasks.base import Evidence
from tfft.training.summaries import table

SMALL = 30      # rows of a group, below which its figures say little
MOST = 50       # groups
RESAMPLES = 400  # of a group's metric
ALPHA = 0.05
SHOWN = ("selection rate", "TPR", "FPR", "accuracy of it")  # RATES
WIDTH = 120


def fairness(experiment: Experiment, evidence: Evidence | None, store: TokenStore, sources: list[tuple[Source, int]],
             protected: tuple[str, ...], positive: str) -> list[dict[str, Any]]:
    """What is found by each protected column of the judged rows, and by all of them together where there are several.

    positive: the label whose rates are compared; '': each in its turn, and the one is told that is most apart.
    Raises: UserError.
    """
    if evidence is None:
        raise UserError(f"The task {experiment.task.name} does not tell how right the answer to each single row is, which "
                        "--protected is made of.")
    metric = experiment.eval.metric.rpartition("/")[2]
    lower = metric in TASKS[experiment.task.name].lower_is_better
    return by_groups(evidence, column_values(sources, store, evidence.rows, protected), metric, lower, positive)


def by_groups(evidence: Evidence, values: dict[str, list[str]], metric: str, lower: bool, positive: str) -> list[dict]:
    """values: of each column, for each of the evidence's rows."""
    made = answers(evidence.chances) if evidence.chances is not None else None
    if positive and (made is None or positive not in made.names):
        raise UserError(f"--positive: {unknown('label', positive, made.names if made else ())}")
    if made and positive:
        made = made.only(positive)
    several = {" and ".join(values): [", ".join(row) for row in zip(*values.values(), strict=True)]} if len(values) > 1 else {}
    return [_column(evidence, name, groups, metric, lower, made) for name, groups in {**values, **several}.items()]


def _column(evidence: Evidence, column: str, values: list[str], metric: str, lower: bool, made: Answers | None) -> dict:
    names, group = np.unique(np.array([value or "(none)" for value in values]), return_inverse=True)
    if len(names) > MOST:
        raise UserError(f"--protected={column}: the column has {len(names):,} different values; {MOST} groups are the most "
                        "that are compared. Give the rows a column of fewer.")
    places = [np.flatnonzero(group == i) for i in range(len(names))]
    groups = [_group(evidence, str(name), at, metric) for name, at in zip(names, places, strict=True)]
    if not (known := [one for one in groups if one["value"] is not None]):  # AUC of many labels, or of rows of one kind
        metric, lower = f"{evidence.what} of a row, on average", False
        groups = known = [_group(evidence, str(name), at, "") for name, at in zip(names, places, strict=True)]
    worst = (max if lower else min)(known, key=lambda one: one["value"])
    best = (min if lower else max)(known, key=lambda one: one["value"])
    found = {"column": column, "metric": metric, "groups": groups,
             "worst_group": {"group": worst["group"], "value": worst["value"], "interval": worst["interval"]},
             "metric_gap": {"difference": abs(best["value"] - worst["value"]), "of": evidence.what,
                            "p": gap_by_chance(evidence.score, group, len(names))}}
    if made:
        found |= _rates(made, group, len(names), groups)
    return found


def _group(evidence: Evidence, name: str, places: np.ndarray, metric: str) -> dict[str, Any]:
    """metric: '' is the mean score of a row."""
    def figure(at: np.ndarray) -> dict[str, float]:
        if not metric:
            return {metric: float(evidence.score[at].mean())}
        return {key: value for key, value in evidence.figures(at).items() if key == metric}

    between = interval(lambda drawn: figure(places[drawn]), len(places), resamples=RESAMPLES).get(metric)
    return {"group": name, "rows": len(places), "few": len(places) < SMALL, "value": figure(places).get(metric),
            "interval": list(between) if between else None}


def _rates(made: Answers, group: np.ndarray, number: int, groups: list[dict]) -> dict[str, Any]:
    """The gaps of GAPS, each of the label that is most apart in it; groups' rates are of the label whose selection is."""
    seen = rates(made, group, number)
    gaps, draws, shuffles = seen.gaps(), by_resamples(made, group, number), by_shuffles(made, group, number)
    found = {}
    for name in GAPS:
        ratio = name.endswith("ratio")
        apart = -gaps[name] if ratio else gaps[name]  # the lowest ratio is the furthest apart
        if np.isnan(apart).all():
            continue
        label = int(np.nanargmax(apart))
        sampled = draws[name][:, label]
        between = np.nanquantile(sampled, (ALPHA / 2, 1 - ALPHA / 2)) if not np.isnan(sampled).all() else (0, 1)
        found[name] = {"value": float(gaps[name][label]), "label": made.names[label],
                       "interval": [float(end) for end in between],
                       "p": chance(apart, -shuffles[name] if ratio else shuffles[name])}
    shown = made.names.index(found[GAPS[0]]["label"]) if GAPS[0] in found else 0
    for i, one in enumerate(groups):
        one["rates"] = {name: _rate(seen, name, i, shown) for name in RATES}
    return {"label": made.names[shown], "gaps": found}


def _rate(seen: Rates, name: str, group: int, label: int) -> dict[str, Any] | None:
    value, of = float(seen.rates[name][group, label]), int(seen.of[name][group, label])
    return None if np.isnan(value) else {"value": value, "of": of, "interval": list(wilson(value, of))}


def groups_told(found: list[dict[str, Any]]) -> list[str]:
    """For a terminal."""
    return [part for one in found for part in _told(one)]


def _told(one: dict[str, Any]) -> list[str]:
    metric, with_rates = one["metric"], "gaps" in one
    lines = [(group["group"], group["rows"], _between(group), *(_rate_told(rate) for rate in group.get("rates", {}).values()),
              "few" if group["few"] else "") for group in one["groups"]]
    header = ("group", "rows", f"{metric} (95%)", *(SHOWN if with_rates else ()), "")
    parts = [f"by {one['column']}" + (f", rates of label {one['label']!r}" if with_rates else ""), table(lines, header)]
    worst, gap = one["worst_group"], one["metric_gap"]
    said = [f"worst group: {worst['group']}, {metric} {worst['value']:.4f}, {gap['difference']:.4f} from the best; "
            f"p = {gap['p']:.3f} (of {gap['of']})"]
    said += [f"{name.replace('_', ' ')} {gap['value']:.4f} (95% {gap['interval'][0]:.4f} to {gap['interval'][1]:.4f}), "
             f"p = {gap['p']:.3f}" + (f", of label {gap['label']!r}" if gap["label"] != one["label"] else "")
             for name, gap in one.get("gaps", {}).items()]
    said.append("p: how often groups dealt out by chance are so far apart" + verdict(one))
    if small := [group["group"] for group in one["groups"] if group["few"]]:
        said.append(f"fewer than {SMALL} rows, which say little: {', '.join(small[:8])}{', ...' if len(small) > 8 else ''}")
    return [*parts, *(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    ") for line in said)]


def verdict(one: dict[str, Any]) -> str:
    """What of it is more than chance."""
    gaps = {one["metric_gap"]["of"]: one["metric_gap"]["p"],
            **{name.replace("_", " "): gap["p"] for name, gap in one.get("gaps", {}).items()}}
    clear = [name for name, p in gaps.items() if p < ALPHA]
    return f"; more than chance (p < {ALPHA}): {', '.join(clear)}" if clear else "; nothing here is more than chance"


def _between(group: dict[str, Any]) -> str:
    if group["value"] is None:
        return "-"
    ends = f" ({group['interval'][0]:.4f} to {group['interval'][1]:.4f})" if group["interval"] else ""
    return f"{group['value']:.4f}{ends}"


def _rate_told(rate: dict[str, Any] | None) -> str:
    return "-" if rate is None else f"{rate['value']:.3f} ({rate['interval'][0]:.3f} to {rate['interval'][1]:.3f})"
