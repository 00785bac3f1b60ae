"""What a task says of rows and answers beyond training and serving: to tfft check_data, to behavioural tests, to tfft explain.
Each has an answer that suits most tasks."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfft.behaviour.perturb import changed
from tfft.data.row_tokens import row_tokens
from tfft.data.store import Ragged, TokenStore
from tfft.errors import UserError
from tfft.tasks.reasons import Explained, Wanted
from tfft.tasks.records import Report, Truth


class Knowing:
    """A part of tfft.tasks.base.Task."""

    asked: tuple[str, ...]
    settings: Any
    remarks: Callable[[str, TokenStore, np.ndarray], list[str]]

    # ---- what tfft check_data asks; rows int64[n] ascend

    def truth(self, store: TokenStore, rows: np.ndarray) -> Truth | None:
        """What rows are to be answered with; None where nobody said."""
        return None

    def doubts(self, store: TokenStore, rows: np.ndarray) -> list[tuple[int, int, str]]:
        """(place in rows, character of its text, why) of answers that are at odds with those of other rows, the most doubtful
        first, where `truth` has none that a linear model can be asked for."""
        return []

    def identity(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """uint64[n]: alike where two rows say the same. Here: what is asked."""
        return np.asarray(store.column("text_hash")[rows])

    def wording(self, store: TokenStore, rows: np.ndarray) -> Ragged:
        """Tokens of each row by which it is found to be nearly another one."""
        return row_tokens(store, rows)

    def shared(self, store: TokenStore, rows: np.ndarray) -> np.ndarray | None:
        """uint64[n]: alike where rows have a text in common that is no copy by itself, such as a context; None without such."""
        return None

    def cut(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """bool[n]: whether some of a row is in none of its examples. Here: its longest one is shorter than the row was."""
        examples = store.examples_of(rows)
        longest = np.zeros(len(rows), np.int64)
        np.maximum.at(longest, np.searchsorted(rows, store.row_of(examples)), np.asarray(store.lengths[examples]))
        return np.asarray(store.column("full_length")[rows]) > longest

    def oddities(self, name: str, store: TokenStore, rows: np.ndarray) -> list[str]:
        """`remarks` without what follows from `truth`."""
        return self.remarks(name, store, rows)

    def beliefs(self, report: Report) -> tuple[np.ndarray, np.ndarray] | None:
        """(rows int64[n], probabilities float32[n,L]) that an evaluation found of the names of `truth`; None without such."""
        return None

    # ---- what behavioural tests ask

    def disturbed(self, values: dict[str, Any], kind: str, share: float, seed: int) -> dict[str, Any] | None:
        """A row's values, what is asked changed as `tfft.behaviour.perturb` does, and with it what says where in it something
        stands; None where a kind of change leaves no right answer. Of a question that alone."""
        names = ("question",) if "question" in values else self.asked
        return {name: changed(value, kind, share, seed) if name in names and isinstance(value, str) else value
                for name, value in values.items()}

    # ---- what tfft explain asks

    unexplained = "its answer is none of these"  # why it cannot be, as the end of a sentence

    def explained(self, encoder, wanted: Wanted) -> Explained:
        """What of the answers can be explained, and is wanted. encoder: of `reading`. Raises: UserError."""
        raise UserError("tfft explain says which words make a model choose a label, a number, an entity, an answer in a "
                        f"context or a candidate. This run's task is {self.settings.name}: {self.unexplained}.")
