"""A comparison of runs as one page that needs no network: verdicts, differences drawn with their intervals, slices, rows."""

import time

from tfft import __version__
from tfft.evaluation.resampling import FEW
from tfft.pages import svg
from tfft.pages.html import Markup, page, place, section, table, tag
from tfft.run.comparison import SMALL, Comparison, Pair, Slice, facts, told_p

CLASSES = {"better": "good", "worse": "bad"}


def comparison_page(made: Comparison) -> str:
    """The whole file."""
    told = [made.title, *made.said, f"Fewer than {FEW} rows: intervals are too narrow." if made.rows < FEW else ""]
    first = made.runs[0].path
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return page(f"Compared with {first}", told, [_verdicts(made), _figures(made), *map(_slices, made.pairs),
                                                 *map(_rows, made.pairs), *map(_differs, made.pairs)],
                f"Made by tfft {__version__} on {when} UTC.")


def _verdicts(made: Comparison) -> Markup:
    ends = _ends([pair.between for pair in made.pairs])
    lines = [(pair.b, pair.difference, *_finite(pair.between), _drawn(pair.difference, pair.between, ends),
              told_p(pair.corrected), tag("span", pair.verdict, class_=CLASSES.get(pair.verdict))) for pair in made.pairs]
    less = f" Of {made.metric} less is better." if made.lower else ""
    how = tag("p", f"The difference of {made.metric} to {made.runs[0].path}, with 95% of paired bootstraps; the broken line is "
                   f"no difference.{less}", class_="soft")
    header = ("", "difference", "from", "to", "", "p", "verdict")
    return section("Verdict", *(tag("p", pair.told_verdict(), class_="note") for pair in made.pairs), table(header, lines), how)


def _figures(made: Comparison) -> Markup:
    header = ("", *(run.path for run in made.runs))
    return section("Figures", table(header, made.lines()), tag("h3", "Speed and size"), table(header, facts(made.runs)))


def _slices(pair: Pair) -> Markup:
    """Lengths and columns, then labels, those that differ most first."""
    known = [one for one in pair.slices if one.difference is not None]
    known.sort(key=lambda one: -abs(one.difference) if one.kind == "label" else float("-inf"))
    ends = _ends([one.between for one in known])
    lines = [(one.kind, one.title, one.rows, one.metric, one.before, one.after, one.difference, _drawn(
        one.difference, one.between, ends), _said(one, pair.lower)) for one in known]
    header = ("by", "slice", "rows", "metric", "before", "after", "difference", "95% of resamples", "")
    how = tag("p", "Better or worse is what leaves 0 out: of 20 slices one does by chance. Few are fewer than "
                   f"{SMALL} rows.", class_="soft")
    return section(f"Slices of {pair.b}", how, table(header, lines, long=("slice",))) if lines else Markup("")


def _said(one: Slice, lower: bool) -> Markup | str:
    if not one.clear:
        return "few" if one.rows < SMALL else ""
    better = (one.difference > 0) != (lower and one.kind != "label")  # of a label it is a score of rows: more is better
    return tag("span", "better" if better else "worse", ", few" if one.rows < SMALL else "", class_="good" if better else "bad")


def _rows(pair: Pair) -> Markup:
    """What one of the two alone answers rightly, or more so."""
    parts = [tag("p", f"{pair.test_told[0].upper()}{pair.test_told[1:]}.")]
    for name, rows in pair.changed.items():
        lines = [(place(row["place"]), row["text"], *(row[part] or "(none)" for part in ("right", "before", "after")))
                 for row in rows]
        parts += [tag("h3", f"{name.capitalize()}, such as"), table(
            ("row", "text", "right", "before", "after"), lines, long=("text",), stacked=True)] if lines else []
    return section(f"Rows of {pair.b}", *parts)


def _differs(pair: Pair) -> Markup:
    lines = [tag("li", line) for line in (*pair.config, *pair.data)]
    return section(f"What differs in {pair.b}", tag("ul", *lines) if lines else tag("p", "Nothing that decides a run."))


def _ends(several: list[tuple[float, float]]) -> tuple[float, float]:
    """An axis for all of them, with 0 on it."""
    found = [end for between in several for end in between if abs(end) != float("inf")] + [0.0]
    return min(found), max(found)


def _finite(between: tuple[float, float]) -> tuple:
    return between if all(abs(end) != float("inf") for end in between) else ("", "")


def _drawn(value: float, between: tuple[float, float], ends: tuple[float, float]) -> Markup | str:
    return svg.spread(value, *between, ends, 0.0) if _finite(between) == between else ""
