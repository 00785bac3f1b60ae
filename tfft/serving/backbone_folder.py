"""Writes a backbone as a folder that any config names as model.backbone, and reads it back before it gets its name."""

import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder, resolve_backbone
from tfft.config.adaptation import MERGED
from tfft.errors import UserError
from tfft.files import copy_tree, is_remote, remove_tree, save_tensors, store_errors, to_path
from tfft.models.backbone import load_backbone, load_tokenizer, tokenizer_fingerprint
from tfft.models.hugging_face import write_bert
from tfft.models.masked_lm import FILE, read_head
from tfft.models.new_words import SHOWN, extended
from tfft.run.workdir import Run, merged, open_run
from tfft.training.summaries import Console


def export_backbone(path: str, output: str, weights: str, layout: str) -> int:
    """Writes the backbone of a run. weights: 'best', 'last' or '' for what the config says; layout: 'backbone' (KerasHub's) or
    'huggingface'; output: '' is <workdir>/backbone. Raises: UserError where it cannot be written, or is there already.
    """
    with contextlib.suppress(RuntimeError):  # the devices of this process are in use already
        tf.config.set_visible_devices([], "GPU")
    console = Console()
    run = merged(open_run(path, weights))
    if (method := run.experiment.adaptation.method) not in ("none", "bitfit", *MERGED):
        raise UserError(f"{path} was trained with config.adaptation.method={method}, which stays beside the backbone's "
                        "weights: the backbone alone is what it was. Use --format=saved_model or adapter, or train with lora, "
                        "which is merged.")
    final = to_path(output) if output else run.workdir.path / "backbone"
    with published(final, "backbone") as folder:
        _fill(run, console)
        console.say(f"writing the {type(run.backbone).__name__}")
        _write(run.backbone, run.tokenizer, run.task.pass_on(run.model), folder, layout)
    return _told(f"the backbone of step {run.step:,}", final)


def extend_backbone(preset: str, words: list[str], output: str, layout: str) -> int:
    """Writes a backbone with more words; see tfft.models.new_words. Raises: UserError."""
    backbone, tokenizer = load_backbone(preset, precision="float32", dropout=-1), load_tokenizer(preset)
    made = extended(backbone, tokenizer, read_head(preset), words)
    with published(to_path(output), "backbone") as folder:
        _write(made.backbone, made.tokenizer, made.head, folder, layout)
    for word, pieces in list(made.pieces.items())[:SHOWN]:
        print(f"  {word}: was {' '.join(pieces)}")
    return _told(f"{len(made.pieces):,} new words of {len(words):,} (the others are one token already, or twice there)",
                 to_path(output))


@contextlib.contextmanager
def published(final: Path, what: str) -> Iterator[Path]:
    """A folder to write in, which gets the name `final` where all went well. what: it is, for messages."""
    remote = is_remote(final)
    made = Path(tempfile.mkdtemp()) if remote else final.with_name(f".{final.name}.making-{os.getpid()}")
    try:
        with store_errors():
            if final.exists() and (not final.is_dir() or any(final.iterdir())):
                raise UserError(f"{final} is there already. Choose another --output, or remove it.")
            final.parent.mkdir(parents=True, exist_ok=True)
        made.mkdir(exist_ok=True)
        yield made
        if remote:
            copy_tree(made, final, last="config.json")
        else:
            with contextlib.suppress(FileNotFoundError):
                final.rmdir()  # an empty one
            made.rename(final)
    except OSError as error:
        raise UserError(f"Cannot write the {what} to {final}: {error}.") from error
    finally:
        remove_tree(made)


def _told(what: str, final: Path) -> int:
    print(f"wrote {what} to {final}; read back, its weights and tokenizer are the same")
    print(f"to start from it: --config.model.backbone={shlex.quote(str(final))}")
    return 0


def _fill(run: Run, console: Console) -> None:
    """Gives the backbone the weights that the run's model does not use, and so has not trained: a pooler, say."""
    used = {id(weight) for weight in run.model.weights}
    unused = [i for i, weight in enumerate(run.backbone.weights) if id(weight) not in used]
    if not unused:
        return
    chosen = run.experiment.model.backbone
    try:
        preset = resolve_backbone(chosen, cache_folder(run.experiment.data.cache))
        given = load_backbone(preset, precision="float32", dropout=-1).weights
    except UserError as error:
        raise UserError(f"The run has not trained {run.backbone.weights[unused[0]].path} of its backbone, which is that of "
                        f"config.model.backbone still; but that cannot be read: {error}") from error
    for i in unused:
        run.backbone.weights[i].assign(given[i])


def _write(backbone, tokenizer, head: dict[str, np.ndarray], folder: Path, layout: str) -> None:
    """Raises: UserError where what is read back is not what was written."""
    if layout == "huggingface":
        write_bert(backbone, tokenizer, head, folder)
    else:
        backbone.save_to_preset(str(folder))
        tokenizer.save_to_preset(str(folder))
        if head:
            save_tensors({name: np.ascontiguousarray(value) for name, value in head.items()}, folder / FILE)
    again = load_backbone(str(folder), precision="float32", dropout=-1)
    same = [ours.shape == theirs.shape and np.array_equal(ours.numpy(), theirs.numpy())
            for ours, theirs in zip(backbone.weights, again.weights, strict=True)]
    if not all(same) or tokenizer_fingerprint(load_tokenizer(str(folder))) != tokenizer_fingerprint(tokenizer):
        raise UserError("The backbone does not read back as it was written: its weights or its tokenizer differ. Nothing was "
                        "published.")
