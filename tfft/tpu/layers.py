"""A step of many layers from steps of few: what a compile of all would take hours for is a straight line through two.

A Transformer's layers are alike, so the bytes that a step needs grow by the same with each of them, and by the same with each
row of its batch in each of them: bytes = a + b layers + (c + d layers) rows. Four compiles, of two numbers of layers with two
batches, say all four.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Line:
    """points: {(layers, rows): bytes} of two numbers of layers with two batches each."""

    points: dict[tuple[int, int], int]

    def _solved(self) -> np.ndarray:
        places = np.array([(1, layers, rows, layers * rows) for layers, rows in self.points], np.float64)
        return np.linalg.solve(places, np.array(list(self.points.values()), np.float64))

    def bytes(self, layers: int, rows: int) -> int:
        """What a step needs."""
        a, b, c, d = self._solved()
        return int(a + b * layers + (c + d * layers) * rows)

    def rows(self, layers: int, there: int, multiple: int = 1) -> int:
        """The largest batch that fits; 0 where none does.

        {(2, 1): 30, (4, 1): 50, (2, 3): 50, (4, 3): 90}: 10 + 5 layers + 5 layers x rows; of 8 layers 290 bytes hold 6 rows
        """
        a, b, c, d = self._solved()
        each, left = c + d * layers, there - a - b * layers
        return max(0, int(left / each + 1e-9) // multiple * multiple) if each > 0 else 0
