"""Rows that are given on the command line, a flag for each asked field."""

import dataclasses

from absl import flags

from tfft.data.fields import Unusable
from tfft.errors import UserError
from tfft.tasks.fields import LISTS

flags.disclaim_key_flags()  # --help lists these among the flags of the command that defines them

HELP = {
    "text": "A text to {verb}; may be given several times.",
    "text_pair": "The second text of each --text{pair}",
    "predicate": "Semantic roles: where in the --text, in characters from 0, the word stands whose roles are asked for.",
    "question": "A question about its --context; may be given several times.",
    "context": "The text in which the answer to each --question is looked for.",
    "choices": "The candidates that may answer each --question: '[\"red\", \"blue\"]'.",
    "prompt": "A prompt that is answered by a text, or messages as JSON; may be given several times.",
}


@dataclasses.dataclass(frozen=True)
class Given:
    """The flags of some asked fields."""

    fields: dict[str, flags.FlagHolder]

    def __bool__(self) -> bool:
        return any(flag.value for flag in self.fields.values())

    def rows(self) -> list[dict[str, str]]:
        """[{"text": ..., "text_pair": ...}, ...]"""
        given = {name: [_listed(name, value) for value in flag.value] if name in LISTS else flag.value
                 for name, flag in self.fields.items() if flag.value}
        counts = {len(values) for values in given.values()}
        if len(counts) > 1:
            there = " and ".join(f"{len(values)} --{name}" for name, values in given.items())
            raise UserError(f"There are {there}; they go together.")
        return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]


def define(names: tuple[str, ...], verb: str = "answer", pair: str = ".") -> Given:
    """Defines --text, --question and so on. verb: what is done with a text; pair: what a second one is for."""
    made = {}
    for name in names:
        of = flags.DEFINE_multi_integer if name == "predicate" else flags.DEFINE_multi_string
        bounds = {"lower_bound": 0} if name == "predicate" else {}
        made[name] = of(name, [], HELP[name].replace("{verb}", verb).replace("{pair}", pair), **bounds)
    return Given(made)


def check_fields(wanted: list[str], given: list[str]) -> None:
    """Raises: UserError where a run is asked something else than these fields."""
    if set(wanted) == set(given):
        return
    if {*wanted, *given} <= {"text", "text_pair"} and "text" in given:
        raise UserError("This run was trained on pairs of texts: give a --text_pair for each --text." if "text_pair" in wanted
                        else "This run was trained on single texts: leave --text_pair out.")
    raise UserError(f"This run answers {' with '.join(wanted)}: give {' and '.join(f'--{name}' for name in wanted)}.")


def _listed(name: str, value: str) -> list[str]:
    try:
        return LISTS[name](value, name)
    except Unusable as reason:
        raise UserError(f"--{name}={value!r:.80}: {reason}.") from reason
