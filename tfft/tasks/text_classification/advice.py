"""Where the labels of the training rows ask for other settings. Imports no TensorFlow."""

from tfft.config import Experiment
from tfft.tasks.text_classification.labels import Labels

UNBALANCED = 8  # times the rows of the rarest label
RARE = 8        # rows of a label; one with fewer is hardly learnt


def advice(experiment: Experiment, labels: Labels) -> list[str]:
    """A sentence each, with the setting."""
    known = {name: count for name, count in zip(labels.names, labels.counts, strict=True) if count}
    forgotten = _forgotten(experiment, len(labels.names) - len(known))
    if len(known) < 2:
        return forgotten
    rare = sorted((name for name in known if known[name] < RARE), key=known.get)
    made = forgotten
    if rare:
        shown = ", ".join(f"{name!r} {known[name]}" for name in rare[:5]) + (" ..." if len(rare) > 5 else "")
        verb, them = ("has", "it") if len(rare) == 1 else ("have", "them")
        made.append(f"{len(rare):,} of the {len(known):,} labels {verb} fewer than {RARE} training rows ({shown}), which is "
                    f"hardly enough to learn {them} from: add rows, or join {them} with others.")
    most, least = max(known, key=known.get), min(known, key=known.get)
    if experiment.task.problem != "single_label" or known[most] < UNBALANCED * known[least]:
        return made
    settings = []
    if experiment.task.class_weights == "none":
        settings.append("--config.task.class_weights=balanced")
    if experiment.eval.metric in ("accuracy", "micro_f1", "weighted_f1"):
        settings.append("--config.eval.metric=macro_f1")
    if settings:
        made.append(f"{most!r} has {known[most]:,} training rows and {least!r} {known[least]:,}: where the rare ones matter as "
                    f"much, judge by all labels alike and let their rows weigh the same ({' '.join(settings)}).")
    return made


def _forgotten(experiment: Experiment, absent: int) -> list[str]:
    if not experiment.model.start or not absent or experiment.task.absent_labels != "wrong":
        return []
    return [f"{absent:,} of the labels have no training row now and are learnt to be wrong, which forgets them: "
            "--config.task.absent_labels=left_out leaves them out of the loss."]
