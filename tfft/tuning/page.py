"""study.html: one file that shows a study without a network."""

from tfft.config.space import plain
from tfft.pages.html import Markup, document, tag
from tfft.tuning.charts import bars, history, parallel
from tfft.tuning.study import Study, Trial

STYLE = """
:root { color-scheme: light dark; --text: #1c1c1c; --page: #fff; --line: #bbb; --main: #1a5fb4; --poor: #999; --bad: #c01c28 }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --page: #161616; --line: #555; --main: #78aeed; --poor: #888; --bad: #ff7b72 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--text) }
svg text { text-anchor: middle } svg .name { text-anchor: end } svg .tick { text-anchor: start; font-size: 11px }
.axis { stroke: var(--line); fill: none } .best { stroke: var(--main); fill: none; stroke-width: 1.5 }
.dot, .bar { fill: var(--main) } .poor { fill: var(--poor) } .bad { fill: var(--bad) }
.run { stroke: var(--main); fill: none; stroke-width: 1.5 } .run:hover { stroke: var(--bad); opacity: 1 !important }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
td, th { padding: .2rem .6rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap }
td.reason { white-space: normal; min-width: 20rem; color: var(--bad) } tr.first { font-weight: 600 }
"""


def page(study: Study, trials: list[Trial], importances: dict[str, float]) -> str:
    """The whole page."""
    kinds = {name: plain(kind) for name, kind in study.space.items()}
    name, best = study.folder.resolve().name, study.best()
    counts = ", ".join(f"{count} {state}" for state in ("done", "stopped early", "failed", "running")
                       if (count := sum(trial.state == state for trial in trials)))
    lead = f"The best is trial {best[0].number}: {study.metric} {best[0].metric:.4f} on the validation rows." if best else ""
    parts = [tag("h1", f"{name}: {study.experiment.task.name}, {'lowest' if study.lower else 'highest'} {study.metric}"),
             tag("p", f"{len(trials)} trials: {counts}. {lead}")]
    for title, picture, said in (
            ("History", history(trials, study.metric, study.lower), "Grey: stopped early, with the metric it had then."),
            ("Settings", parallel(trials, kinds, study.metric, study.lower), "A line is a trial; the better, the darker. At "
             "the foot: the setting did not count."),
            ("Importances", bars(importances), "The share of the metric's variance over the space that a setting explains by "
             "itself and with others (fANOVA), as far as these trials tell.")):
        if picture:
            parts += [tag("h2", title), Markup(picture), tag("p", said)]
    return document(name, STYLE, *parts, tag("h2", "Trials"), _table(study, trials, best))


def _table(study: Study, trials: list[Trial], best: list[Trial]) -> Markup:
    """The best first, then the others by number."""
    others = [trial for trial in trials if trial.state != "done"]
    rows = [tag("tr", *(tag("th", head) for head in ("trial", "state", study.metric, *study.space, "steps", "seconds", "")))]
    for place, trial in enumerate([*best, *others]):
        cells = [trial.title, trial.state, "" if trial.metric is None else f"{trial.metric:.4f}",
                 *(trial.values.get(name, "") for name in study.space), f"{trial.steps:,}", f"{trial.seconds:.0f}"]
        rows.append(tag("tr", *(tag("td", f"{cell:.4g}" if isinstance(cell, float) else str(cell)) for cell in cells),
                        tag("td", trial.reason, class_="reason"), class_="first" if place == 0 and best else None))
    return tag("table", *rows)
