"""Named entities, tfft beside Hugging Face's Trainer: the same rows, weights, epochs, rate and batch size.

    python tools/benchmark_entities.py --train=wnut17train.conll --test=emerging.test.annotated --epochs=5 --head=crf
    python tools/benchmark_entities.py ... --steps=60             speed alone: so many steps of either, taking turns
    python tools/benchmark_entities.py ... --python=OTHER         the Python that has the extra "bench" (torch, transformers)

Files have one token a line, the word first and its IOB2 tag last. Each system trains in a process of its own. Training is
counted in real tokens a second, special ones included, from the first step to the end of the last; answering in words a
second, in batches of 32 of like length, tfft's through its export. Quality is the strict F1 of entities (seqeval's) of the
last weights.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCH, LENGTH = 32, 128


def read(path: str) -> list[tuple[list[str], list[str]]]:
    """(words, tags) of each sentence."""
    made, words, tags = [], [], []
    with open(path, encoding="utf-8") as file:
        for line in [*file, ""]:
            fields = line.split()
            if fields:
                words.append(fields[0])
                tags.append(fields[-1])
            elif words:
                made.append((words, tags))
                words, tags = [], []
    return made


def baseline(arguments: argparse.Namespace) -> dict:
    """The Trainer of transformers on PyTorch, as run_ner sets it up: first pieces tagged, batches padded to their longest."""
    import torch
    import transformers
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.set_seed(arguments.seed)
    train, test = read(arguments.train), read(arguments.test)
    names = sorted({tag for _, tags in train for tag in tags})
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model)
    model = transformers.AutoModelForTokenClassification.from_pretrained(arguments.model, num_labels=len(names))

    def encoded(rows):
        made = []
        for words, tags in rows:
            row = tokenizer(words, is_split_into_words=True, truncation=True, max_length=LENGTH)
            places, seen = row.word_ids(), set()
            labels = [-100 if w is None or w in seen or seen.add(w) else names.index(tags[w]) if tags[w] in names else -100
                      for w in places]
            made.append({**row, "labels": labels})
        return made

    tokens = 0

    class Trainer(transformers.Trainer):
        def training_step(self, model, inputs, *args, **kwargs):
            nonlocal tokens
            tokens += int(inputs["attention_mask"].sum())
            return super().training_step(model, inputs, *args, **kwargs)

    clock, rows, asked = new_clock(), encoded(train), encoded(test)
    settings = transformers.TrainingArguments(
        output_dir=arguments.folder, per_device_train_batch_size=BATCH, num_train_epochs=arguments.epochs,
        max_steps=arguments.steps or -1, learning_rate=arguments.rate, use_cpu=True, save_strategy="no", logging_strategy="no",
        report_to="none", disable_tqdm=True, seed=arguments.seed)
    collate = transformers.DataCollatorForTokenClassification(tokenizer)
    Trainer(model=model, args=settings, train_dataset=rows, data_collator=collate, callbacks=[clock]).train()
    model.eval()
    order = sorted(range(len(asked)), key=lambda i: len(asked[i]["input_ids"]))
    answers, began = {}, time.perf_counter()
    with torch.no_grad():
        for begin in range(0, len(order), BATCH):
            part = order[begin:begin + BATCH]
            batch = collate([asked[i] for i in part])
            labels = batch.pop("labels")
            for i, row, label in zip(part, model(**batch).logits.argmax(-1), labels, strict=True):
                answers[i] = [names[t] for t, known in zip(row.tolist(), label.tolist(), strict=True) if known != -100]
    seconds = time.perf_counter() - began
    true = [[t for t in tags if t in names][:len(answers[i])] for i, (_, tags) in enumerate(test)]
    f1 = f1_score(true, [answers[i][:len(true[i])] for i in range(len(test))], mode="strict", scheme=IOB2, zero_division=0)
    return {"tokens_per_second": tokens / (clock.ended - clock.began), "f1": float(f1),
            "words_per_second": sum(len(words) for words, _ in test) / seconds}


def own(arguments: argparse.Namespace) -> dict:
    """tfft: trains by its command, evaluates the last weights, and answers by its export."""
    from tfft import assets, config

    run = pathlib.Path(arguments.folder) / "run"
    settings = {"data.train": f"conll:{arguments.train}", "data.validation": "", "data.test": f"conll:{arguments.test}",
                "data.words_column": "0", "data.tags_column": "-1", "data.max_length": LENGTH, "train.epochs": arguments.epochs,
                "train.steps": arguments.steps, "train.peak_learning_rate": arguments.rate, "train.global_batch_size": BATCH,
                "train.seed": arguments.seed, "task.head": arguments.head, "train.checkpoint_minutes": 0.0,
                "model.backbone": assets.fetch(config.MINILM, assets.cache_folder())}
    command(["tfft.train", f"--config={ROOT / 'configs' / 'wnut17.py'}", f"--workdir={run}",
             *(f"--config.{name}={value}" for name, value in settings.items())])
    command(["tfft.evaluate", f"--workdir={run}", "--weights=last"])
    made = {"tokens_per_second": rate_of(train_lines(run), "tokens"),
            "f1": json.loads((run / "evaluation-test.json").read_text())["metrics"]["f1"]}
    command(["tfft.export", f"--workdir={run}", "--weights=last"])
    return {**made, "words_per_second": answered(run / "export" / "1", arguments.test)}


def answered(export: pathlib.Path, test: str) -> float:
    """Words a second of the signature `words`."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - the export's ops

    ask = tf.saved_model.load(str(export)).signatures["words"]
    rows = sorted((words for words, _ in read(test)), key=len)
    batches = [tf.ragged.constant(rows[begin:begin + BATCH]).to_tensor("") for begin in range(0, len(rows), BATCH)]
    for batch in batches[:: max(1, len(batches) // 4)]:
        ask(words=batch)
    began = time.perf_counter()
    for batch in batches:
        ask(words=batch)
    return sum(map(len, rows)) / (time.perf_counter() - began)


def new_clock():
    """A callback of transformers' Trainer that knows when the first step began and the last ended."""
    import transformers

    class Clock(transformers.TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            self.began = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            self.ended = time.perf_counter()

    return Clock()


def train_lines(run: pathlib.Path) -> list[dict]:
    """What a run of tfft tells of its training steps, but for the first, which have traced the step."""
    lines = [json.loads(line) for line in open(run / "metrics.jsonl", encoding="utf-8")]
    return [line for line in lines if line["kind"] == "train"][1:]


def rate_of(lines: list[dict], what: str) -> float:
    """So many a second."""
    return sum(line[what] for line in lines) / sum(line["seconds"] for line in lines)


def command(words: list) -> None:
    done = subprocess.run([sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])


def main() -> None:
    parser = flags(__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--head", default="softmax")
    take_turns(parser, __file__, {"hf": baseline, "tfft": own})


def flags(about: str, files: tuple[str, ...] = ("train", "test")) -> argparse.ArgumentParser:
    """The flags that benchmarks of a task on its own files have in common."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in files:
        parser.add_argument(f"--{name}", required=True, type=os.path.abspath)
    parser.add_argument("--rate", type=float, default=2e-4)
    return parser


def take_turns(parser: argparse.ArgumentParser, script: str, systems: dict, ours: tuple[str, ...] = ("tfft",),
               usual: tuple[str, ...] = ()) -> None:
    """Runs each system, a function of the arguments, in a process of its own that starts the script anew; those that are not
    ours by the Python of --python. usual: those of --systems' default, if not all."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--systems", default=",".join(usual or systems))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(systems[arguments.only](arguments)))
        return
    from tfft import assets, config

    model = assets.fetch(config.MINILM, assets.cache_folder())
    for turn in range(arguments.rounds):
        for system in arguments.systems.split(","):
            with tempfile.TemporaryDirectory() as folder:
                python = sys.executable if system in ours else arguments.python
                own_flags = [a for a in sys.argv[1:] if not a.startswith(("--systems", "--python", "--rounds", "--seed"))]
                done = subprocess.run([python, script, *own_flags, f"--only={system}", f"--model={model}",
                                       f"--folder={folder}", f"--seed={arguments.seed + turn}"], capture_output=True, text=True,
                                      env={**os.environ, "HF_HUB_OFFLINE": "1"})
                if done.returncode:
                    sys.exit(done.stderr[-3000:])
                print(system, "seed", arguments.seed + turn, done.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
