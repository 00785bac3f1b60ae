"""Findings: what a check says, and how a terminal, a file and a report get it. Imports no TensorFlow."""

import dataclasses
import json
from collections.abc import Iterable

from tfft.errors import UserError, unknown

CHECKS = {  # names that --fail_on takes, the worst kinds first
    "leak": "texts of validation or test that are also in train",
    "near_leak": "texts of validation or test that are nearly one of train",
    "shared": "contexts of validation or test that rows of train have too",
    "conflict": "the same text with different answers",
    "suspect": "answers that models which did not see them doubt",
    "unseen": "answers of validation or test that no training row has",
    "rare": "answers with hardly a training row",
    "mojibake": "UTF-8 that was once read as another encoding",
    "characters": "control characters, characters that were lost, and characters that nobody sees",
    "unknown": "what the tokenizer does not know",
    "truncated": "rows of which a part is cut off",
    "wordless": "texts without a letter or digit",
    "language": "texts in another script than most",
    "markup": "tags, entities and addresses of the web",
    "duplicate": "texts that are there more than once",
    "near_duplicate": "texts that are nearly the same",
    "odd": "what else should be known before training",
}
SEVERITIES = ("error", "warning", "note")
SHOWN = 2  # examples on a terminal


@dataclasses.dataclass(frozen=True)
class Example:
    """place: file:line; text: its beginning; note: what is odd about it."""

    place: str
    text: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """name: one of CHECKS; count: rows of `of` in all; what: a sentence; details: figures for a file."""

    name: str
    severity: str
    what: str
    count: int
    of: int
    examples: tuple[Example, ...] = ()
    advice: str = ""
    details: dict = dataclasses.field(default_factory=dict)

    @property
    def share(self) -> float:
        return self.count / max(1, self.of)

    def to_json(self) -> dict:
        return {**dataclasses.asdict(self), "share": self.share}


@dataclasses.dataclass(frozen=True)
class Findings:
    """What all checks say of the splits, by their numbers of rows. simple: metrics of simple methods, by method, on the rows
    that `judged` names; told: what else to know of how it was found."""

    splits: dict[str, int]
    found: tuple[Finding, ...]
    answers: dict = dataclasses.field(default_factory=dict)
    simple: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    judged: str = ""
    told: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps({"splits": self.splits, "findings": [one.to_json() for one in self.found], "answers": self.answers,
                           "simple": self.simple, "judged": self.judged, "told": self.told}, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Findings":
        """What `to_json` wrote. Raises: ValueError, KeyError or TypeError where it is something else."""
        given = json.loads(text)
        found = [Finding(**{**{key: value for key, value in one.items() if key != "share"},
                            "examples": tuple(Example(**example) for example in one["examples"])}) for one in given["findings"]]
        return cls(given["splits"], tuple(found), given["answers"], given["simple"], given["judged"], tuple(given["told"]))


def worst_first(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """By severity, then as CHECKS has them, then by share."""
    order = list(CHECKS)
    return tuple(sorted(found, key=lambda one: (SEVERITIES.index(one.severity), order.index(one.name), -one.share)))


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names that --fail_on gives; "all" is every one. Raises: UserError with the nearest known name."""
    names = tuple(name.strip() for name in names if name.strip())
    for name in names:
        if name != "all" and name not in CHECKS:
            raise UserError(f"--fail_on: {unknown('check', name, [*CHECKS, 'all'])}")
    return tuple(CHECKS) if "all" in names else names


def plural(what: str) -> str:
    return f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
