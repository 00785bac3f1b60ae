"""Where the rows ask for other settings than a run has: what `tfft plan` advises."""

from tfft.config import no_activation_cache
from tfft.run.assembly import Prepared
from tfft.training.schedules import STEPS, epochs_by_size

FEW = 0.5             # of STEPS; a run with fewer has hardly moved the weights
JUDGED = 100          # validation rows; with fewer the best weights are chosen by luck


def advice(prepared: Prepared) -> list[str]:
    """A sentence each, with the setting."""
    return [*_steps(prepared), *_validation(prepared), *_frozen(prepared), *prepared.task.advice(prepared.experiment)]


def advice_of_task(prepared: Prepared) -> list[str]:
    """The same for one of several tasks, whose steps and frozen layers are common."""
    return [*_validation(prepared), *prepared.task.advice(prepared.experiment)]


def _steps(prepared: Prepared) -> list[str]:
    rows, steps = len(prepared.splits["train"].rows), prepared.total_steps
    each = prepared.epochs.num_batches(0)
    more = epochs_by_size(each)
    if steps >= FEW * STEPS or more * each <= steps:
        return []
    return [f"{rows:,} training rows make {steps:,} steps in {prepared.num_epochs} epochs, which is little to learn from: "
            f"--config.train.epochs=0 gives small sets more ({more} epochs, {more * each:,} steps)."]


def _frozen(prepared: Prepared) -> list[str]:
    experiment, epochs = prepared.experiment, prepared.total_steps / prepared.epochs.num_batches(0)
    if experiment.train.activation_cache != "none" or no_activation_cache(experiment) or prepared.xla or epochs < 2:
        return []
    return [f"the frozen layers are computed in each of {epochs:.2g} epochs, and again for each evaluation: "
            "--config.train.activation_cache=bfloat16 computes them once and keeps what they make on disk."]


def _validation(prepared: Prepared) -> list[str]:
    split = prepared.splits.get("validation")
    chosen = prepared.experiment.export.weights == "best" or prepared.experiment.eval.patience
    if split is None or len(split.rows) >= JUDGED or not chosen:
        return []
    rows = len(split.rows)
    return [f"{rows:,} validation rows choose the best weights, of which one more that is right is {1 / rows:.1%}: give more "
            "(--config.data.validation=30%, or a source), or take the last weights (--config.export.weights=last)."]
