"""What tfft is compared with, one system in one process: tools/benchmark.py starts this file and reads its last line.

    python tools/benchmark_baselines.py hf_grouped --examples=FOLDER --model=FOLDER --length=256

FOLDER holds warmup.csv and timed.csv (columns text, label). A system trains on all of warmup.csv, then once through all
of timed.csv, which is what is timed: from the beginning of training to the end of its last step, input included. So
every system does the same work, whatever order it takes the examples in. Tokenising ahead of training (run_glue) is
not timed; KerasHub tokenises while it trains.
"""

import argparse
import csv
import json
import os
import pathlib
import time

BATCH = 32
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 5e-5, 0.01, 1.0
MEGA_BATCH = 50  # the Trainer sorts by length within so many batches (fewer where a data set has less than 200)


def read(path: pathlib.Path) -> tuple[list[str], list[int]]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [int(row["label"]) for row in rows]


def result(lengths: list[int], slots: int, seconds: float) -> dict:
    """Figures of the timed examples: real tokens, sum of squared lengths, tokens with padding, seconds."""
    return {"examples": len(lengths), "tokens": sum(lengths), "squares": sum(n * n for n in lengths), "slots": slots,
            "seconds": seconds}


def hugging_face(arguments: argparse.Namespace, grouped: bool) -> dict:
    """The Trainer of transformers on PyTorch, as run_glue sets it up.

    Padded: every text to max_length (run_glue's default). Grouped: train_sampling_strategy="group_by_length" with
    batches padded to their longest text, sorted within 50 batches: on so small a sample the Trainer would choose
    fewer than on a whole data set.
    """
    import torch
    import transformers
    from transformers.trainer_pt_utils import get_length_grouped_indices

    torch.set_num_threads(arguments.threads)
    transformers.set_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(arguments.model, num_labels=2)
    slots = 0

    class Clock(transformers.TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            self.began = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            self.ended = time.perf_counter()

    class Trainer(transformers.Trainer):
        def _get_train_sampler(self, train_dataset=None):
            if not grouped:
                return super()._get_train_sampler(train_dataset)
            lengths = [len(example["input_ids"]) for example in self.train_dataset]
            return get_length_grouped_indices(lengths, BATCH, mega_batch_mult=MEGA_BATCH)

        def training_step(self, model, inputs, *args, **kwargs):
            nonlocal slots
            slots += inputs["input_ids"].numel()
            return super().training_step(model, inputs, *args, **kwargs)

    for part in ("warmup", "timed"):
        texts, labels = read(arguments.examples / f"{part}.csv")
        encoded = tokenizer(texts, padding=not grouped and "max_length", max_length=arguments.length, truncation=True)
        rows = (dict(zip(encoded, values)) for values in zip(*encoded.values()))
        dataset = [{**row, "label": label} for row, label in zip(rows, labels)]
        settings = transformers.TrainingArguments(
            output_dir=str(arguments.examples / "trainer"), per_device_train_batch_size=BATCH, num_train_epochs=1,
            learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, max_grad_norm=CLIP_NORM, use_cpu=True,
            train_sampling_strategy="group_by_length" if grouped else "random",
            save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True)
        collator = transformers.DataCollatorWithPadding(tokenizer) if grouped else transformers.default_data_collator
        clock, slots = Clock(), 0
        Trainer(model=model, args=settings, train_dataset=dataset, data_collator=collator, processing_class=tokenizer,
                callbacks=[clock]).train()
    return result([sum(mask) for mask in encoded["attention_mask"]], slots, clock.ended - clock.began)


def kerashub(arguments: argparse.Namespace) -> dict:
    """KerasHub's classifier with its own preprocessor and Keras's fit, as its guides show."""
    import keras
    import keras_hub
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    keras.utils.set_random_seed(0)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor.from_preset(
        arguments.model, sequence_length=arguments.length)
    classifier = keras_hub.models.BertTextClassifier.from_preset(
        arguments.model, num_classes=2, preprocessor=preprocessor)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY, global_clipnorm=CLIP_NORM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.began = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.ended = time.perf_counter()

    clock = Clock()
    for part in ("warmup", "timed"):
        texts, labels = read(arguments.examples / f"{part}.csv")
        classifier.fit(tf.constant(texts), tf.constant(labels), batch_size=BATCH, verbose=0, callbacks=[clock])
    batches = tf.data.Dataset.from_tensor_slices(texts).batch(BATCH).map(preprocessor)
    lengths = [int(n) for batch in batches for n in tf.reduce_sum(tf.cast(batch["padding_mask"], tf.int32), axis=1)]
    return result(lengths, len(texts) * arguments.length, clock.ended - clock.began)


def count(arguments: argparse.Namespace) -> dict:
    """Token counts of the timed examples, without training."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model)
    texts, _ = read(arguments.examples / "timed.csv")
    encoded = tokenizer(texts, max_length=arguments.length, truncation=True)
    return result([len(ids) for ids in encoded["input_ids"]], 0, 0)


def matmul(arguments: argparse.Namespace) -> dict:
    """Float32 product of two 4096 x 4096 matrices in TensorFlow: the best and the median of ten, in GFLOP/s."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    a, b = tf.random.normal([2, 4096, 4096], seed=0)
    product = tf.function(tf.linalg.matmul)
    product(a, b)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        product(a, b).numpy()
        seconds.append(time.perf_counter() - began)
    seconds.sort()
    flops = 2 * 4096**3 / 1e9
    return {"gflops_best": flops / seconds[0], "gflops_median": flops / seconds[5]}


SYSTEMS = {
    "hf_padded": lambda arguments: hugging_face(arguments, grouped=False),
    "hf_grouped": lambda arguments: hugging_face(arguments, grouped=True),
    "kerashub": kerashub,
    "count": count,
    "matmul": matmul,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("--examples", type=pathlib.Path, help="folder of warmup.csv and timed.csv")
    parser.add_argument("--model", help="folder of the pretrained weights and tokenizer")
    parser.add_argument("--length", type=int, default=256, help="longest text in tokens")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    print(json.dumps(SYSTEMS[arguments.system](arguments)))


if __name__ == "__main__":
    main()
