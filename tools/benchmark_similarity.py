"""Similarity of sentences, tfft beside sentence-transformers: the same rows, weights, loss (CoSENT), epochs, rate, batches.

    python tools/benchmark_similarity.py --train=sts-train.tsv --test=sts-test.tsv --python=OTHER
    python tools/benchmark_similarity.py ... --steps=60           speed alone: so many steps of either, taking turns

Files are STS-B's: no header, unquoted, the score in the fifth field, the sentences in the two after it. OTHER is a Python that
has the extra "bench", sentence-transformers and datasets. Each system trains in a process of its own, without a validation
set. Training is counted in real tokens a second, special ones included; embedding in texts a second, in batches of 32 of like
length, tfft's through its export. Quality is Spearman's correlation of cosine and score, of the last weights and, "before",
of the pretrained ones.
"""

import argparse
import os
import pathlib
import time

from benchmark_entities import BATCH, ROOT, command, flags, new_clock, rate_of, take_turns, train_lines

LENGTH = 128


def read(path: str) -> list[tuple[str, str, float]]:
    with open(path, encoding="utf-8") as file:
        return [(fields[5], fields[6], float(fields[4])) for fields in (line.rstrip("\n").split("\t") for line in file)]


def spearman(vectors, rows: list[tuple[str, str, float]]) -> float:
    """Of vectors float32[2n,D], those of all first texts and then of all second ones."""
    import numpy as np
    from scipy.stats import spearmanr

    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return float(spearmanr((vectors[:len(rows)] * vectors[len(rows):]).sum(axis=1), [row[2] for row in rows]).statistic)


def timed(embed, rows: list[tuple[str, str, float]]):
    """(vectors float32[2n,D], texts a second): batches of like length, after a few of them untimed."""
    import numpy as np

    texts = [row[i] for i in (0, 1) for row in rows]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    batches = [order[begin:begin + BATCH] for begin in range(0, len(order), BATCH)]
    for batch in batches[:: max(1, len(batches) // 8)]:
        embed([texts[i] for i in batch])
    made, began = [None] * len(texts), time.perf_counter()
    for batch in batches:
        for i, vector in zip(batch, embed([texts[i] for i in batch]), strict=True):
            made[i] = vector
    return np.asarray(made), len(texts) / (time.perf_counter() - began)


def mean_pooled(folder: str, length: int):
    """A SentenceTransformer (version 6) of the weights in a folder, without a normalisation."""
    import sentence_transformers as st
    from sentence_transformers.sentence_transformer import modules

    encoder = modules.Transformer(folder, max_seq_length=length)
    return st.SentenceTransformer(modules=[encoder, modules.Pooling(encoder.get_embedding_dimension(), "mean")], device="cpu")


def baseline(arguments: argparse.Namespace) -> dict:
    """sentence-transformers' trainer on PyTorch."""
    import sentence_transformers as st
    import torch
    import transformers
    from datasets import Dataset
    from sentence_transformers.sentence_transformer import losses

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.set_seed(arguments.seed)
    train, test = read(arguments.train), read(arguments.test)
    model = mean_pooled(arguments.model, LENGTH)

    def embed(texts):
        return model.encode(texts, batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False)

    before = spearman(timed(embed, test)[0], test)
    rows = Dataset.from_dict({"first": [row[0] for row in train], "second": [row[1] for row in train],
                              "score": [row[2] / 5 for row in train]})

    clock, tokens, loss = new_clock(), 0, losses.CoSENTLoss(model)

    class Trainer(st.SentenceTransformerTrainer):
        def training_step(self, model, inputs, *args, **kwargs):
            nonlocal tokens
            tokens += sum(int(value.sum()) for name, value in inputs.items() if name.endswith("attention_mask"))
            return super().training_step(model, inputs, *args, **kwargs)

    settings = st.SentenceTransformerTrainingArguments(
        output_dir=arguments.folder, per_device_train_batch_size=BATCH, num_train_epochs=arguments.epochs,
        max_steps=arguments.steps or -1, learning_rate=arguments.rate, warmup_ratio=0.1, use_cpu=True, save_strategy="no",
        logging_strategy="no", report_to="none", disable_tqdm=True, seed=arguments.seed)
    Trainer(model=model, args=settings, train_dataset=rows, loss=loss, callbacks=[clock]).train()
    vectors, rate = timed(embed, test)
    return {"tokens_per_second": tokens / (clock.ended - clock.began), "before": before, "spearman": spearman(vectors, test),
            "texts_per_second": rate}


def own(arguments: argparse.Namespace) -> dict:
    """tfft: trains by its command and embeds by its export."""
    run = pathlib.Path(arguments.folder) / "run"
    settings = {"data.train": f"tsv:{arguments.train}", "data.validation": "", "data.test": f"tsv:{arguments.test}",
                "data.max_length": LENGTH, "train.epochs": arguments.epochs, "train.steps": arguments.steps,
                "train.peak_learning_rate": arguments.rate, "train.global_batch_size": BATCH, "train.seed": arguments.seed,
                "train.checkpoint_minutes": 0.0}
    command(["tfft.train", f"--config={ROOT / 'configs' / 'stsb_embedding.py'}", f"--workdir={run}",
             *(f"--config.{name}={value}" for name, value in settings.items())])
    made = {"tokens_per_second": rate_of(train_lines(run), "tokens")}
    command(["tfft.export", f"--workdir={run}", "--weights=last"])
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - the export's ops

    model, test = tf.saved_model.load(str(run / "export" / "1")), read(arguments.test)
    vectors, rate = timed(lambda texts: model.signatures["embed"](text=tf.constant(texts))["embedding"].numpy(), test)
    return {**made, "spearman": spearman(vectors, test), "texts_per_second": rate}


def main() -> None:
    parser = flags(__doc__)
    parser.set_defaults(rate=5e-5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=0)
    take_turns(parser, __file__, {"hf": baseline, "tfft": own})


if __name__ == "__main__":
    main()
