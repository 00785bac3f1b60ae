"""The activation cache of a run: frozen layers are computed once for each example, and training starts above them."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import psutil
import tensorflow as tf

from tfft import __version__
from tfft.config import Train
from tfft.data.activations import Activations, open_activations, whole, written
from tfft.data.pipeline import token_inputs
from tfft.data.plan import PlanSettings, make_plan
from tfft.data.prepare import Split
from tfft.data.store import fingerprint
from tfft.errors import UserError
from tfft.models.kernels import fast_cpu, on_cpu
from tfft.models.split import split
from tfft.run.assembly import Built, Prepared
from tfft.training.summaries import Console
from tfft.training.weights import fingerprint as weights_fingerprint

BATCH = 64  # examples whose frozen layers are computed at once


@dataclasses.dataclass
class Above:
    """What is left to compute where frozen layers are kept: the upper part of the model, and what goes into it, by split."""

    model: keras.Model
    hidden: dict[str, Callable[[np.ndarray, int], np.ndarray]]


def read_splits(prepared: Prepared) -> dict[str, Split]:
    """What is read while a run trains: its training rows, and the validation rows as they are judged, if it has some."""
    judged = prepared.splits.get("validation")
    more = {"validation": prepared.preparer.judged_with(judged)} if judged else {}
    return {"train": prepared.splits["train"], **more}


def tokens(splits: dict[str, Split]) -> int:
    """How many tokens the examples of some splits have."""
    return sum(int(one.lengths.sum(dtype=np.int64)) for one in splits.values())


def check_size(config: Train, size: int, there: int, free: int, folder: Path) -> None:
    """Raises: UserError where so many bytes are more than the setting allows, or than the disk has, on which `there` of them
    are already."""
    if size <= config.activation_cache_gb * 1e9 and size - there <= free:
        return
    why = (f"{free / 1e9:.1f} GB are free in {folder}" if size - there > free else
           f"--config.train.activation_cache_gb={config.activation_cache_gb:g} is the limit")
    less = " Half of it is enough for --config.train.activation_cache=bfloat16." if config.activation_cache == "float32" else ""
    raise UserError(f"The activations of the frozen layers need {size / 1e9:.2f} GB, and {why}.{less} Take fewer rows, raise "
                    "the limit, or do without: --config.train.activation_cache=none")


def make(prepared: Prepared, built: Built, splits: dict[str, Split], cache: Path, console: Console) -> Above | None:
    """Computes what the cache lacks of the splits that are read while a run trains; None where it has no such cache. Raises:
    UserError where it does not fit, or the device is a TPU."""
    config = prepared.experiment.train
    if config.activation_cache == "none":
        return None
    if prepared.xla:
        raise UserError("config.train.activation_cache is for CPUs and GPUs: a TPU computes frozen layers faster than its host "
                        "reads what they made. Set it to none.")
    lower, upper = split(built.backbone, built.model)
    dtype, width = tf.as_dtype(config.activation_cache), int(lower.output.shape[-1])
    size = tokens(splits) * width * dtype.size
    folder = cache / "activations"
    weights = weights_fingerprint(lower.variables)
    names = {name: _name(lower, weights, one, config) for name, one in splits.items()}
    kind = np.dtype(dtype.as_numpy_dtype)
    missing = [name for name in names.values() if whole(folder / name, kind) is None]
    if missing:
        there = sum(written(folder / name) for name in names.values())
        check_size(config, size, there, psutil.disk_usage(str(cache)).free, folder)
    console.say(f"activation cache: {size / 1e9:.2f} GB ({config.activation_cache}) in {folder}" + (
        "" if missing else ", computed before"))
    hidden: dict[str, Any] = {name: _computed(prepared, lower, name, one, cache, names[name], kind, console)
                              for name, one in splits.items()}
    return Above(upper, hidden)


def unread(prepared: Prepared, built: Built) -> tuple[Above | None, str]:
    """(the upper part, with noughts for what the lower one makes: what a plan takes the time of; how much is kept, in words);
    None where the run has no such cache."""
    config = prepared.experiment.train
    if config.activation_cache == "none":
        return None, ""
    lower, upper = split(built.backbone, built.model)
    dtype, width = tf.as_dtype(config.activation_cache), int(lower.output.shape[-1])
    size = tokens(read_splits(prepared)) * width * dtype.size
    zeros = {"train": lambda examples, length: np.zeros((len(examples), length, width), dtype.as_numpy_dtype)}
    over = size > config.activation_cache_gb * 1e9
    told = f", more than config.train.activation_cache_gb={config.activation_cache_gb:g}" if over else ", computed once before"
    return Above(upper, zeros), f"{size / 1e9:.2f} GB of disk{told}"


def _name(lower: keras.Model, weights: str, one: Split, config: Train) -> str:
    examples = hashlib.blake2b(np.asarray(one.examples, np.int64).tobytes(), digest_size=16).hexdigest()
    return fingerprint("activations", __version__, tf.__version__, keras.__version__, keras_hub.__version__,
                       one.store.folder.name, examples, weights, [layer.name for layer in lower.layers],
                       config.precision, config.activation_cache)


def _computed(prepared: Prepared, lower: keras.Model, split_name: str, one: Split, cache: Path, name: str, dtype: np.dtype,
              console: Console) -> Activations:
    examples, lengths = np.asarray(one.examples, np.int64), one.lengths
    multiple = 1 if on_cpu() else 8
    plan = make_plan(lengths, PlanSettings(batch_size=BATCH, max_length=prepared.experiment.data.max_length, shuffle=False,
                                           length_multiple=multiple), 0)
    batches = [indices[indices >= 0] for indices, _ in map(plan.batch, range(plan.num_batches))]

    @tf.function(autograph=False, reduce_retracing=True)
    def forward(inputs):
        with fast_cpu(on_cpu()):
            return lower(inputs, training=False)

    names = ("token_ids", "padding_mask", *(["segment_ids"] if "segment_ids" in lower.input else []))

    def compute(places: np.ndarray) -> np.ndarray:
        length = -(-int(lengths[places].max()) // multiple) * multiple
        arrays = token_inputs(one.store, examples[places], length, prepared.pad_id, len(names) > 2)
        return forward({given: tf.constant(array) for given, array in zip(names, arrays, strict=True)}).numpy()

    began = False

    def progress(done: int, total: int) -> None:
        nonlocal began
        if not began:
            console.start(f"frozen layers, {split_name}", total, done - 1)
            began = True
        console.advance(done, "")

    try:
        return open_activations(cache, name, dtype, int(lower.output.shape[-1]), examples, lengths,
                                batches, compute, progress)
    finally:
        console.stop()
