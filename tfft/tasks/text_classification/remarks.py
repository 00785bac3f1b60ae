"""What is odd about labels and should be known before training: a line each. Imports no TensorFlow."""

import numpy as np

from tfft.data import spelling
from tfft.data.store import TokenStore
from tfft.tasks.text_classification.labels import LabelColumn, Labels, check_scaled, label_counts

MISSING = ("nan", "NaN", "NAN", "null", "NULL", "None", "N/A", "n/a", "#N/A", "<NA>", "NaT")  # as programs write it
SEPARATORS = "|;\n,"


def of_table(problem: str, labels: Labels, store: TokenStore, rows: np.ndarray) -> list[str]:
    """Of the table that training rows made. Raises: UserError where a value cannot be scaled."""
    if problem == "regression":
        check_scaled(store, rows, labels)
        return []
    return [line for line in _of_table(problem, labels, store, rows, LabelColumn(store, labels)) if line]


def remarks(problem: str, labels: Labels, store: TokenStore, rows: np.ndarray, training: bool) -> list[str]:
    """Of a split's rows; where they train, of the table too. Raises: UserError where a value cannot be scaled."""
    if problem == "regression":
        check_scaled(store, rows, labels)
        return [line for line in [_conflicts(store, rows, lambda row: float(store.column("value")[row]), "values", "")] if line]
    column = LabelColumn(store, labels)
    made = _of_table(problem, labels, store, rows, column) if training else []
    if problem == "multi_label":
        advice = "If each row has one label of its text, write all of them into one row"
        made.append(_conflicts(store, rows, column.of, "labels", advice, labels.names))
    else:
        ids = column.single(rows)
        of = dict(zip(rows.tolist(), ids.tolist(), strict=True)).__getitem__
        advice = "If several may hold, set config.task.problem=multi_label and write all of a text's labels into one row"
        made.append(_conflicts(store, rows[ids >= 0], of, "labels", advice, labels.names))
    return [line for line in made if line]


def _of_table(problem: str, labels: Labels, store: TokenStore, rows: np.ndarray, column: LabelColumn) -> list[str]:
    written = {name: int(count) for name, count in zip(store.names("label"), label_counts(store, rows), strict=True) if count}
    made = []
    if labels.values == "multi_hot":
        if labels.names == tuple(str(i) for i in range(len(labels.names))):
            made.append(f"labels are {len(labels.names)} numbers 0 or 1 a row; they are called by their places, 0 to "
                        f"{len(labels.names) - 1}. Name them with config.data.labels")
        written = {}
    if unseen := [name for name, count in zip(labels.names, labels.counts, strict=True) if not count]:
        by_id = labels.values == "ids" and any(spelling.number_of(name) is not None for name in written)
        made.append(f"no row has the label{'s' if len(unseen) > 1 else ''} {spelling.some(unseen)}, which cannot be learnt"
                    f"{' (ids count from 0)' if by_id else ''}")
    if labels.normalisation:
        made.append(_merged(written, column))
    apart = {name: written[name] for name in labels.names if name in written}
    made.append(spelling.warning("labels", apart, _advice))
    made.append(_joined(problem, labels, written))
    if absent := [name for name in labels.names if name in MISSING and name in written]:
        shown = ", ".join(f"{name!r} ({written[name]:,} rows)" for name in absent)
        made.append(f"the label{'s' if len(absent) > 1 else ''} {shown} look{'s' if len(absent) == 1 else ''} like a missing "
                    "value. If it is one, leave those rows out of the file")
    return made


def _advice(kinds: tuple[str, ...]) -> str:
    value = kinds[0] if len(kinds) == 1 else '"(' + ",".join(f"'{kind}'" for kind in kinds) + ')"'
    return f"Each is learnt as a label of its own; to read them as one: --config.data.label_normalisation={value}"


def _merged(written: dict[str, int], column: LabelColumn) -> str:
    """Which spellings were read as one label."""
    groups: dict[int, list[str]] = {}
    for name in written:
        groups.setdefault(column.find(name), []).append(name)
    told = [" and ".join(f"{ascii(name)} ({written[name]:,})" for name in sorted(group, key=written.get, reverse=True))
            for group in groups.values() if len(group) > 1]
    more = " ..." if len(told) > spelling.SHOWN else ""
    return f"labels read as one: {'; '.join(told[:spelling.SHOWN])}{more}" if told else ""


def _joined(problem: str, labels: Labels, written: dict[str, int]) -> str:
    """Names that look like several, joined by what joins none here."""
    several = problem == "multi_label"
    for mark in SEPARATORS:
        if several and mark == labels.separator:
            continue
        joined = [name for name in labels.names if mark in name.strip(mark)]
        known = [name for name in joined if all(part.strip() in written for part in name.split(mark))]
        chosen = joined if several and mark != "," else known
        if chosen:
            ways = "" if several else "config.task.problem=multi_label and "
            return (f"{len(chosen):,} of the labels hold {mark!r}, such as {chosen[0]!r}, and are labels of their own. If it "
                    f"joins several, set {ways}config.data.label_separator={mark!r}")
    return ""


def _conflicts(store: TokenStore, rows: np.ndarray, of, what: str, advice: str, names: tuple[str, ...] = ()) -> str:
    """Texts that are there more than once, with different labels. of: the label, labels or value of a row."""
    hashes = np.asarray(store.column("text_hash")[rows])
    _, text, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    again = np.flatnonzero(counts[text] > 1)
    groups: dict[int, list[int]] = {}
    for place in again.tolist():
        groups.setdefault(int(text[place]), []).append(int(rows[place]))
    found = [group for group in groups.values() if len({of(row) for row in group}) > 1]
    if not found:
        return ""
    first = found[0][0]
    other = next(row for row in found[0] if of(row) != of(first))

    def shown(row: int) -> str:
        value = of(row)
        if isinstance(value, float):
            return f"{value:g}"
        ids = value if isinstance(value, tuple) else (value,)
        return ", ".join(repr(names[i]) for i in ids[:5]) or "none"

    return (f"{len(found):,} text{'s' if len(found) > 1 else ''} ({sum(map(len, found)):,} rows) with different {what}, such "
            f"as {store.texts(first)[0][:60]!r}: {shown(first)} ({store.place(first)}) and {shown(other)} "
            f"({store.place(other)}){'. ' if advice else ''}{advice}")
