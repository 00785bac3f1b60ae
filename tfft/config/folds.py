"""Cross-validation: settings of the folds, and which runs they make."""

import dataclasses
import re

from tfft.config.schema import setting
from tfft.errors import UserError


@dataclasses.dataclass(frozen=True)
class Folds:
    """The training rows in parts, each of which one run holds out."""

    number: int = setting(0, "cross-validation: the training rows are so many folds, and tfft train makes a run of each, which "
                             "holds it out; 0: no folds", low=0, high=1000)
    repeats: int = setting(1, "so often, each time with other folds and another train.seed", low=1, high=1000)
    held_out: int = setting(0, "the fold that this very run holds out, counted from 1 through all repeats; 0: all in turn. "
                               "tfft train sets it", low=0)
    stratified: bool = setting(True, "each fold has its share of each label (entity type, value), and as many rows; False: a "
                                     "row's fold is its hash alone")
    chosen_on: str = setting("fold", "the rows that name the best weights and stop a run early: the fold itself, in the place "
                                     "of data.validation, or the rows of data.validation, which are then taken off the others",
                             choices=("fold", "validation"))

    @property
    def repeat(self) -> int:
        """Of the fold that is held out, from 1."""
        return (self.held_out - 1) // self.number + 1

    @property
    def fold(self) -> int:
        """The same within its repeat, from 1. 7 of 5 folds -> 2, and repeat is 2"""
        return (self.held_out - 1) % self.number + 1

    @property
    def split(self) -> str:
        """What a run calls the rows that it holds out; '' where it holds none."""
        return ("validation" if self.chosen_on == "fold" else "test") if self.held_out else ""

    @property
    def told(self) -> str:
        return f"fold {self.fold} of {self.number}{f', repeat {self.repeat}' if self.repeats > 1 else ''}"


def is_all_folds(e) -> bool:
    """Whether an experiment is all of a cross-validation, whose work directory has a run for each fold."""
    return bool(e.data.folds.number) and not e.data.folds.held_out


def runs(e) -> dict[str, object]:
    """The experiment of each fold by the name of its folder: "fold-1", ..., through all repeats."""
    folds = e.data.folds
    made = {}
    for number in range(1, folds.number * folds.repeats + 1):
        one = dataclasses.replace(folds, held_out=number)
        made[f"fold-{number}"] = dataclasses.replace(
            e, name=f"{e.name}-fold-{number}", data=dataclasses.replace(e.data, folds=one),
            train=dataclasses.replace(e.train, seed=e.train.seed + one.repeat - 1))
    return made


def check(e) -> None:
    """Rules of the folds. Raises: UserError."""
    folds = e.data.folds
    if not folds.number:
        if folds != Folds():
            raise UserError("config.data.folds says how training rows are cross-validated, but folds.number is 0. Set it, 5 "
                            "say, or leave the group alone.")
        return
    if folds.number < 2:
        raise UserError("config.data.folds.number=1 leaves no row to train on: take 2 or more, 5 say, or 0 for no folds.")
    if folds.held_out > folds.number * folds.repeats:
        raise UserError(f"config.data.folds.held_out={folds.held_out}: there are {folds.number * folds.repeats} folds "
                        f"({folds.number} x {folds.repeats} repeats).")
    if e.model.start:
        raise UserError(f"config.data.folds: the run of config.model.start={e.model.start} may have been trained on rows that "
                        "a fold holds out, which would then be judged too well. Start folds from a backbone.")
    for data in e.data.by_source().values():
        _check_splits(data)


def _check_splits(data) -> None:
    share = re.compile(r"\s*[\d.]+%\s*")
    if data.folds.chosen_on == "fold":
        if data.validation and not share.fullmatch(data.validation):
            raise UserError(f"config.data.validation={data.validation} is of no use where each fold is its run's validation "
                            "rows. Set config.data.folds.chosen_on=validation to have these rows name the best weights, or "
                            "config.data.validation=''.")
        if data.validation_rows:
            raise UserError(f"config.data.validation_rows={data.validation_rows}: a fold is judged whole. Set it to 0; with "
                            "config.data.train_rows all folds are smaller.")
    elif not data.validation:
        raise UserError("config.data.folds.chosen_on=validation needs rows that name the best weights: set data.validation.")
    elif data.test:
        raise UserError(f"config.data.test={data.test}: with data.folds.chosen_on=validation a run's test rows are its fold. "
                        "Set test='', and judge on others by tfft evaluate --data=csv:FILE.")
