"""What of each judged row is right, given and true: the metrics of some rows, with repetitions perhaps, follow from it."""

import functools
from array import array

import numpy as np

ROW = 5    # numbers of a row: words right, words, labels right, labels, exact
TYPED = 5  # of a type of entity in a row: the row, the type, entities right, given, true


class RowCounts:
    """Rows are added one by one; a few numbers are kept of each, and of each type of entity in it. with_labels: whether
    sentences have labels."""

    def __init__(self, types: tuple[str, ...], with_labels: bool):
        self._types, self._code = types, {name: i for i, name in enumerate(types)}
        self._labels = with_labels
        self._rows, self._typed, self._spans, self._ends = (array("i") for _ in range(4))

    def add(self, true: list, answered: list, words_right: int, words: int) -> None:
        """The entities of the next row, and how many of its words' tags are right, of how many."""
        right, given, wanted = set(true) & set(answered), set(answered), set(true)
        for kind in {span[2] for span in given | wanted}:
            self._typed.extend((len(self._ends), self._code[kind], *(
                sum(span[2] == kind for span in spans) for spans in (right, given, wanted))))
        for start, end, kind in answered:
            self._spans.extend((start, end, self._code[kind]))
        self._ends.append(len(self._spans) // 3)
        self._rows.extend((words_right, words, 0, 0, 0))

    def add_label(self, right: int, given: int, exact: bool) -> None:
        """Of the row that was added last. exact: whether its entities are right. A label that no training row had cannot be
        judged: its place is -1."""
        self._rows[-3:] = array("i", (right == given, right >= 0, exact and right == given))

    def answered(self, place: int) -> list[tuple[int, int, str]]:
        """The entities that the row at a place was given."""
        begin = self._ends[place - 1] if place else 0
        spans = self._spans[3 * begin:3 * self._ends[place]]
        return [(start, end, self._types[kind]) for start, end, kind in zip(spans[::3], spans[1::3], spans[2::3], strict=True)]

    @functools.cached_property
    def _counted(self) -> tuple[np.ndarray, np.ndarray]:
        """(int32[n,ROW], int32[m,TYPED]), when all rows are there."""
        return np.array(self._rows, np.int32).reshape(-1, ROW), np.array(self._typed, np.int32).reshape(-1, TYPED)

    def f1(self) -> np.ndarray:
        """float64[n] of each row; 1 where there is no entity, and none was given."""
        rows, typed = self._counted
        right, both = (np.bincount(typed[:, 0], counts, len(rows)) for counts in (2 * typed[:, 2], typed[:, 3] + typed[:, 4]))
        return np.divide(right, both, out=np.ones(len(rows)), where=both > 0)

    def figures(self, places: np.ndarray) -> dict[str, float]:
        """The metrics of the rows at some places."""
        rows, typed = self._counted
        often = np.bincount(places, minlength=len(rows)).astype(np.float64)
        weight = often[typed[:, 0]]
        right, given, true = (np.bincount(typed[:, 1], weight * typed[:, i], len(self._types)) for i in (2, 3, 4))
        there, all_right = given + true > 0, right.sum()
        f1 = _ratio(2 * right, given + true)
        words_right, words, labels_right, labels, exact = (often @ rows).tolist()
        made = {"f1": float(_ratio(2 * all_right, (given + true).sum())), "precision": float(_ratio(all_right, given.sum())),
                "recall": float(_ratio(all_right, true.sum())), "macro_f1": float(f1[there].mean()) if there.any() else 0.0,
                "token_accuracy": words_right / words if words else 0.0}
        if self._labels:
            made |= {"sentence_accuracy": labels_right / max(1, labels), "exact": exact / max(1, labels)}
        return made


def _ratio(part, whole):
    """part / whole; 0 where there is nothing to divide by."""
    return np.divide(part, whole, out=np.zeros_like(np.asarray(part, np.float64)), where=np.asarray(whole) > 0)
