"""A few examples of each label: plain fine-tuning, contrastive fine-tuning and then a head (SetFit), setfit itself, and words
guessed in a pattern.

    python tools/benchmark_few_shot.py --train=train.csv --test=test.csv --examples=8,16,64 --draws=10
    python tools/benchmark_few_shot.py ... --systems=setfit --python=OTHER        OTHER has the extra "bench" and setfit
    python tools/benchmark_few_shot.py ... --systems=plain,pattern --backbone=BACKBONE --words=neg=terrible,pos=great

Files are csv with the columns text and label (tools/make_labelled_texts.py). Each draw takes so many examples of each label;
a system's accuracy on the test rows is printed for each, and their mean and deviation. The systems, from the same pretrained
weights:

    plain          configs/my_csv.py as it is: all weights, as many steps as its defaults make
    head           the head alone, on the frozen backbone
    contrastive    the task embedding on the labelled texts (--loss), then a head on its frozen backbone (Tunstall et al. 2022)
    both           the same, and then all weights as plain
    pattern        as plain, with config.task.pattern and words
    setfit         setfit's Trainer: from the labels 20 pairs alike and 20 unlike a text (--pairs), one epoch; then
                   logistic regression
"""

import argparse
import ast
import contextlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

from benchmark_adapters import read
from benchmark_continual import write
from benchmark_entities import ROOT

SYSTEMS = ("plain", "head", "contrastive", "both", "pattern", "setfit")


def drawn(rows: list[dict], examples: int, draw: int) -> list[dict]:
    """So many rows of each label, in a random order."""
    chance, made = random.Random(f"{examples} {draw}"), []
    for label in sorted({row["label"] for row in rows}):
        made += chance.sample([row for row in rows if row["label"] == label], examples)
    return chance.sample(made, len(made))


def own(arguments: argparse.Namespace, rows: list[dict], test: list[dict], folder: pathlib.Path, draw: int) -> float:
    """tfft, in this process."""
    import tfft
    from tfft.config import default_config

    def config(task: str, name: str, **changes):
        made = default_config(task) if task == "embedding" else tfft.load_config("my_csv")
        made.data.train, made.data.validation, made.data.max_length = f"csv:{folder / 'rows.csv'}", "", arguments.length
        made.model.backbone = arguments.backbone or made.model.backbone
        made.train.seed, made.train.checkpoint_minutes, made.eval.baseline, made.name = draw, 0.0, False, name
        for key, value in changes.items():
            group, _, field = key.partition("__")
            made[group][field] = value
        return made

    write(folder / "rows.csv", [(row["text"], row["label"]) for row in rows])
    changes = {"model__start": arguments.start}
    for name, _, value in (entry.partition("=") for entry in arguments.set):
        changes[name.replace(".", "__")] = ast.literal_eval(value)
    if arguments.system == "pattern":
        changes |= {"task__pattern": arguments.pattern, "task__words": tuple(arguments.words.split(","))}
    if arguments.system in ("contrastive", "both"):
        tfft.fine_tune(config("embedding", "pairs", data__label_column="label", task__loss=arguments.loss,
                              train__steps=arguments.steps, train__peak_learning_rate=arguments.rate,
                              train__global_batch_size=min(arguments.batch, len(rows))), str(folder / "pairs"))
        changes["model__start"] = str(folder / "pairs")
    if arguments.system in ("head", "contrastive"):
        changes |= {"model__frozen_layers": -1, "train__peak_learning_rate": 1e-3}
    run = tfft.fine_tune(config("text_classification", "labels", **changes), str(folder / "labels"))
    answers = run.predict([row["text"] for row in test])
    return sum(answer["predicted_label"] == row["label"] for answer, row in zip(answers, test, strict=True)) / len(test)


def setfit(arguments: argparse.Namespace, rows: list[dict], test: list[dict], folder: pathlib.Path, draw: int) -> float:
    import datasets
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.linear_model import LogisticRegression

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder = modules.Transformer(arguments.model, max_seq_length=arguments.length)
    body = SentenceTransformer(modules=[encoder, modules.Pooling(encoder.get_embedding_dimension(), "mean")], device="cpu")
    names = sorted({row["label"] for row in rows})
    model = SetFitModel(model_body=body, model_head=LogisticRegression())
    data = datasets.Dataset.from_dict({"text": [row["text"] for row in rows],
                                       "label": [names.index(row["label"]) for row in rows]})
    Trainer(model=model, train_dataset=data, args=TrainingArguments(
        output_dir=str(folder), batch_size=16, num_epochs=1, num_iterations=arguments.pairs, seed=draw, report_to="none",
        save_strategy="no", show_progress_bar=False)).train()
    found = model.predict([row["text"] for row in test])
    return sum(names[int(label)] == row["label"] for label, row in zip(found, test, strict=True)) / len(test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, type=os.path.abspath)
    parser.add_argument("--test", required=True, type=os.path.abspath)
    parser.add_argument("--rows", type=int, default=2000, help="of the test file")
    parser.add_argument("--examples", default="8,16,64", help="of each label")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first draw: --draws=3 --first=7 are 7, 8 and 9 of ten")
    parser.add_argument("--systems", default="plain,head,contrastive")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--loss", default="ranking", help="of the task embedding")
    parser.add_argument("--steps", type=int, default=100, help="of contrastive fine-tuning")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=20, help="setfit: num_iterations")
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--backbone", default="", help="config.model.backbone; usually that of configs")
    parser.add_argument("--start", default="", help="config.model.start, of plain, head and pattern")
    parser.add_argument("--set", action="append", default=[], help="of the run on labels: --set=train.steps=100")
    parser.add_argument("--pattern", default="{text} It was {mask}.", help="pattern: config.task.pattern")
    parser.add_argument("--words", default="neg=terrible,pos=great", help="pattern: config.task.words")
    parser.add_argument("--model", help="setfit: the folder of the weights, in Hugging Face's layout")
    parser.add_argument("--python", default=sys.executable, help="for setfit")
    parser.add_argument("--loud", action="store_true", help="all that is said on the way")
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.system:
        for system in arguments.systems.split(","):
            subprocess.run([arguments.python if system == "setfit" else sys.executable, *sys.argv, f"--system={system}"],
                           check=True, stderr=None if arguments.loud else subprocess.DEVNULL,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
        return
    train, test = read(arguments.train), read(arguments.test)[:arguments.rows]
    for examples in map(int, arguments.examples.split(",")):
        found, began = [], time.perf_counter()
        for draw in range(arguments.first, arguments.first + arguments.draws):
            with tempfile.TemporaryDirectory() as folder:
                given = arguments, drawn(train, examples, draw), test, pathlib.Path(folder), draw
                with contextlib.redirect_stdout(sys.stderr):  # what commands say
                    found.append((setfit if arguments.system == "setfit" else own)(*given))
        print(json.dumps({"system": arguments.system, "examples": examples, "draws": arguments.draws, "first": arguments.first,
                          "mean": round(statistics.mean(found), 4), "deviation": round(statistics.pstdev(found), 4),
                          "seconds_a_draw": round((time.perf_counter() - began) / arguments.draws),
                          "each": [round(value, 4) for value in found]}), flush=True)


if __name__ == "__main__":
    main()
