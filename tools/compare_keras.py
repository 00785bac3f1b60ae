"""One replica against two: stock Keras `fit` beside tfft's training step, on the same tiny BERT, rows and batches.

    python tools/compare_keras.py precision [--json=FILE]

Every figure is made in a process of its own (TensorFlow's devices cannot change within one): a BERT of 2 layers and width 32,
weights from a fixed seed, 256 rows in batches of 16 in the same order, Adam, dropout off. What is compared is the loss of
the weights over all rows after each epoch, by one forward pass outside of any strategy; the replicas are logical CPUs.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys

ROWS, BATCH, LENGTH, VOCABULARY, EPOCHS = 256, 16, 16, 100, 4
LEARNING_RATE, EPSILON, CLIP_NORM = 1e-3, 1e-6, 0.1
# name -> settings of both systems
CASES = {
    "float32": {},
    "float32, clipped by global norm": {"clip_norm": CLIP_NORM},
    "float32, 2 micro-batches a step": {"accumulation": 2},
    "mixed_float16": {"precision": "mixed_float16"},
    # a long run's overflows within a short one: the loss scale doubles every 4 steps instead of every 2,000
    "mixed_float16, quickly growing loss scale": {"precision": "mixed_float16", "growth_steps": 4},
}


# ---- in a process of its own

def make_rows():
    """({inputs int32[256,16]}, label_ids int32[256]): the label says whether the first token is of the upper half."""
    import numpy as np

    ids = np.random.default_rng(0).integers(1, VOCABULARY, (ROWS, LENGTH)).astype("int32")
    return ({"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)},
            (ids[:, 0] > VOCABULARY // 2).astype("int32"))


def make_model(precision: str):
    """The same weights in every process."""
    import keras
    import keras_hub
    import numpy as np

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=VOCABULARY, num_layers=2, num_heads=2, hidden_dim=32, intermediate_dim=64, dropout=0.0,
        max_sequence_length=LENGTH, dtype=precision)
    logits = keras.layers.Dense(2, dtype="float32", name="head")(backbone.output["sequence_output"][:, 0])
    model = keras.Model(backbone.input, logits)
    draw = np.random.default_rng(1)
    for variable in model.trainable_variables:
        name = variable.path.rsplit("/", 1)[-1]
        mean, deviation = {"gamma": (1, 0), "beta": (0, 0), "bias": (0, 0)}.get(name, (0, 0.1))
        variable.assign(draw.normal(mean, deviation, variable.shape))
    return model


def loss_of(model) -> float:
    """Mean cross-entropy over all rows."""
    import tensorflow as tf

    inputs, labels = make_rows()
    return float(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(inputs, training=False))))


def with_keras(strategy, precision: str, clip_norm: float, accumulation: int, growth_steps: int) -> dict:
    """Model.fit as its documentation has it: compile in the scope, loss scaling by the dtype policy."""
    import keras
    import tensorflow as tf

    keras.config.set_dtype_policy(precision)
    with strategy.scope():
        model = make_model(precision)
        optimizer = keras.optimizers.Adam(
            LEARNING_RATE, epsilon=EPSILON, global_clipnorm=clip_norm or None,
            gradient_accumulation_steps=accumulation if accumulation > 1 else None)
        if precision == "mixed_float16":  # as compile does by itself
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, dynamic_growth_steps=growth_steps)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = []
    after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(loss_of(model)))
    # a step of accumulation is one optimizer update from micro-batches, as tfft counts it
    batches = tf.data.Dataset.from_tensor_slices(make_rows()).batch(BATCH // accumulation)
    model.fit(batches, epochs=EPOCHS, verbose=0, callbacks=[after])
    return {"losses": losses}


def with_tfft(strategy, precision: str, clip_norm: float, accumulation: int, growth_steps: int) -> dict:
    import tensorflow as tf

    from tfft.config import Train
    from tfft.training.optimizer import AdamW
    from tfft.training.precision import LossScale
    from tfft.training.step import Trainer

    config = Train(precision=precision, clip_norm=clip_norm, accumulation=accumulation, peak_learning_rate=LEARNING_RATE,
                   epsilon=EPSILON, weight_decay=0.0, warmup_fraction=0.0, schedule="constant")
    with strategy.scope():
        model = make_model(precision)
        variables = model.trainable_variables
        optimizer = AdamW(variables, config, multipliers=[1.0] * len(variables), decayed=[False] * len(variables))
        if optimizer.loss_scale is not None:
            optimizer.loss_scale = LossScale(growth_steps)
        step = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def batches(context=None):
        """A replica takes every second part of a batch; rows weigh 1 / (rows in the global batch)."""
        inputs, labels = make_rows()
        rows = tf.data.Dataset.from_tensor_slices((inputs, labels, tf.fill([ROWS], 1 / BATCH), tf.range(ROWS)))
        return rows.batch(BATCH // strategy.num_replicas_in_sync).repeat()

    data = batches() if strategy.num_replicas_in_sync == 1 else strategy.distribute_datasets_from_function(batches)
    trainer = Trainer(model, optimizer, tf.nn.sparse_softmax_cross_entropy_with_logits, config, dataset=data, global_step=step,
                      total_steps=EPOCHS * ROWS // BATCH, strategy=strategy, use_loop=False)
    losses = []
    for _ in range(EPOCHS):
        output = trainer.train(tf.constant(ROWS // BATCH))
        losses.append(loss_of(model))
    skipped = output.get("skipped_steps")
    return {"losses": losses, **({} if skipped is None else {"skipped_steps": int(skipped)})}


def equal_masks(strategy, system: str) -> dict:
    """Whether dropout of the same rows is the same on both replicas."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tfft.models.kernels import dropout_per_replica

    with strategy.scope():
        layer = keras.layers.Dropout(0.5, seed=0)

    @tf.function
    def drop():
        with dropout_per_replica(system == "tfft"):
            return layer(tf.ones([8, 32]), training=True)

    first, second = strategy.experimental_local_results(strategy.run(drop))
    return {"equal_masks": bool(np.array_equal(first, second))}


def child(system: str, replicas: int, case: str) -> dict:
    from tfft.config import Distribution
    from tfft.training.strategy import make_strategy

    strategy = make_strategy(Distribution(cpu_replicas=replicas))
    if case == "dropout":
        return equal_masks(strategy, system)
    settings = {"precision": "float32", "clip_norm": 0.0, "accumulation": 1, "growth_steps": 2000, **CASES[case]}
    try:
        return {"keras": with_keras, "tfft": with_tfft}[system](strategy, **settings)
    except Exception as error:  # what stock Keras refuses is a result too
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


# ---- the comparison

def measure(system: str, replicas: int, case: str) -> dict:
    print(f"{case}: {system}, {replicas} replica(s)", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, __file__, "precision", f"--child={system},{replicas},{case}"], capture_output=True,
                          text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return {"system": system, "replicas": replicas, "case": case, **json.loads(done.stdout.strip().splitlines()[-1])}


def cell(result: dict) -> str:
    if "error" in result:
        return "raises " + result["error"].split(":")[0]
    shown = " ".join(f"{loss:.6f}" for loss in result["losses"])
    return f"{shown}; {result['skipped_steps']} skipped" if "skipped_steps" in result else shown


def difference(one: dict, two: dict) -> str:
    """The largest difference of the losses between one replica and two."""
    if "error" in one or "error" in two:
        return "-"
    apart = [abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True)]
    return f"{max(apart):.1e}" if all(map(math.isfinite, apart)) else "not finite"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["precision"])
    parser.add_argument("--json", type=pathlib.Path, help="also write every result here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        system, replicas, case = arguments.child.split(",", 2)
        print(json.dumps(child(system, int(replicas), case)))
        return
    results = []
    print(f"| loss after each of {EPOCHS} epochs | system | 1 replica | 2 replicas | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    for case in CASES:
        for system, name in (("keras", "Keras `fit`"), ("tfft", "tfft")):
            one, two = (measure(system, replicas, case) for replicas in (1, 2))
            print(f"| {case} | {name} | {cell(one)} | {cell(two)} | {difference(one, two)} |", flush=True)
            results += [one, two]
    for system, name in (("keras", "Keras"), ("tfft", "tfft")):
        results.append(measure(system, 2, "dropout"))
        print(f"\n{name}: dropout masks of two replicas are {'equal' if results[-1]['equal_masks'] else 'different'}")
    for result in results:
        if "error" in result:
            print(f"\n{result['system']}, {result['replicas']} replica(s), {result['case']}: {result['error']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
