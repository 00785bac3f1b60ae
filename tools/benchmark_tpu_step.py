"""One MiniLM training step as the TPU compiler sees it: KerasHub's stock classifier against tfft's. No TPU is needed.

    python tools/benchmark_tpu_step.py --tpu=v5e-1 --rows=32 --length=128 --compiler_python=PATH

Both train all weights in mixed_bfloat16 with dropout 0.1 and AdamW; tfft's step also clips by the global norm. "tfft, Keras's
kernels" is tfft without models/tpu_kernels.py. Every line is a compile of one to four minutes; answers are remembered.
"""

import contextlib
import dataclasses
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_hub
import tensorflow as tf
from absl import app, flags

from tfft.assets import cache_folder, resolve_backbone
from tfft.config import MINILM, Model, TextClassification, Train
from tfft.models.adaptation import decays
from tfft.models.backbone import load_backbone
from tfft.models.kernels import replaced
from tfft.tasks.text_classification.labels import Labels
from tfft.tasks.text_classification.task import TextClassificationTask
from tfft.tpu import lower
from tfft.tpu.chips import parse_tpu
from tfft.tpu.compiler import Compiler
from tfft.training import step as training_step
from tfft.training.optimizer import AdamW
from tfft.training.summaries import table

TPU = flags.DEFINE_string("tpu", "v5e-1", "Generation and size.")
ROWS = flags.DEFINE_integer("rows", 32, "Texts of a batch.")
LENGTH = flags.DEFINE_integer("length", 128, "Tokens of a text.")
SYSTEMS = flags.DEFINE_multi_enum("systems", ["kerashub", "plain", "tfft"], ["kerashub", "plain", "tfft"], "What to compile.")
PYTHON = flags.DEFINE_string("compiler_python", sys.executable, "A Python that has jax and libtpu.")
OUTPUT = flags.DEFINE_string("output", "", "Write the figures to this JSON file.")
PRECISION = "mixed_bfloat16"


def kerashub(preset: str) -> bytes:
    """The stock classifier's own train_step."""
    backbone = keras_hub.models.Backbone.from_preset(preset, dtype=PRECISION)
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=None, dtype=PRECISION)
    optimizer = keras.optimizers.AdamW(5e-5)
    model.compile(optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    optimizer.build(model.trainable_variables)
    tokens = tf.TensorSpec((ROWS.value, LENGTH.value), tf.int32)
    example = {name: tf.zeros(tokens.shape, tf.int32) for name in model.input}
    model._symbolic_build(data_batch=(example, tf.zeros((ROWS.value,), tf.int32)))
    return lower.hlo_of(lambda inputs, labels: model.train_step((inputs, labels)),
                        ({name: tokens for name in model.input}, tf.TensorSpec((ROWS.value,), tf.int32)))


def tfft(preset: str, lean: bool) -> bytes:
    task = TextClassificationTask(TextClassification(loss="cross_entropy"), Labels(("negative", "positive"), (1, 1), rows=2))
    model = task.build_model(load_backbone(preset, precision=PRECISION, dropout=-1), Model(), seed=0)
    config, variables = Train(precision=PRECISION), model.trainable_variables
    optimizer = AdamW(variables, config, multipliers=[1.0] * len(variables), decayed=[decays(v) for v in variables])
    trainer = training_step.Trainer(model, optimizer, task.loss, config, dataset=None, use_loop=False, xla=True,
                                    global_step=tf.Variable(0, dtype=tf.int64, trainable=False), total_steps=1000,
                                    strategy=tf.distribute.get_strategy())
    without = [] if lean else [(training_step, "lean_tpu", contextlib.nullcontext)]
    with replaced(without):
        return lower.training_step(trainer, lower.batch_spec(model, task, ROWS.value, LENGTH.value))


def main(argv) -> None:
    cache = cache_folder("")
    preset = resolve_backbone(MINILM, cache)
    chip = parse_tpu(TPU.value).chip
    compiler = Compiler(PYTHON.value, cache / "preflight")
    systems = {"kerashub": lambda: kerashub(preset), "plain": lambda: tfft(preset, False), "tfft": lambda: tfft(preset, True)}
    made = {}
    for name in SYSTEMS.value:
        made[name], _ = compiler.compile(systems[name](), chip)
        if made[name].refusal:
            raise SystemExit(f"{name}: {made[name].refusal}")
        print(f"{name} compiled", file=sys.stderr, flush=True)
    rows = [(name, f"{c.flops / 1e9:,.0f}", f"{c.bytes_accessed / 1e9:.2f} GB", f"{c.hbm_bytes / 1e9:.2f} GB",
             f"{c.memory['temp'] / 1e6:,.0f} MB", f"{c.cycles / 1e6:.2f} M", f"{c.seconds:.0f} s") for name, c in made.items()]
    print(table(rows, ("step", "GFLOP", "bytes accessed", "HBM traffic", "temporaries", "estimated cycles", "compiled in")))
    if OUTPUT.value:
        with open(OUTPUT.value, "w", encoding="utf-8") as file:
            json.dump({"tpu": chip.name, "rows": ROWS.value, "length": LENGTH.value, **compiler.versions,
                       "steps": {name: dataclasses.asdict(c) for name, c in made.items()}}, file, indent=1)


if __name__ == "__main__":
    app.run(main)
