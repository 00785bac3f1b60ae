"""Few trained weights beside all of them, and beside PEFT: the same rows, weights, epochs and batch size.

    python tools/benchmark_adapters.py --train=train.csv --test=test.csv --epochs=3 --systems=full,last_2,lora,peft_lora
    python tools/benchmark_adapters.py ... --steps=40               speed and memory alone: so many steps of each, taking turns
    python tools/benchmark_adapters.py ... --rounds=3 --python=OTHER  three seeds; OTHER has the extra "bench" and peft

Files are csv with the columns text and label. tfft's methods are those of config.adaptation, "full" and "last_2" (all but
the two highest layers frozen); peft_METHOD is PEFT over transformers' Trainer, batches grouped by length, hf_full the
Trainer alone. The head is a mean over tokens, dropout and a dense layer in both. Learning rates: --rate for all weights, for
few of them config.adaptation.rate times as much in both (--method_rate). Each system trains in a process of its
own and gives real tokens a second, the accuracy of its last weights, the weights that it trains, its peak memory, and the
megabytes that one has to keep for the task.
"""

import argparse
import csv
import functools
import json
import os
import pathlib
import resource
import sys

from benchmark_entities import BATCH, ROOT, command, flags, new_clock, rate_of, take_turns, train_lines

METHODS = ("lora", "adalora", "dora", "ia3", "adapters", "prefix", "prompt", "bitfit")
MATRICES = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")


def read(path: str) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def baseline(arguments: argparse.Namespace, method: str) -> dict:
    """transformers' Trainer on PyTorch, with PEFT where there is a method."""
    import torch
    import transformers

    sys.path.insert(0, str(ROOT))  # the Python of --python has no tfft
    from tfft.config.adaptation import FASTER

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.set_seed(arguments.seed)
    train, test = read(arguments.train), read(arguments.test)
    names = sorted({row["label"] for row in train})
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model)
    encoder = transformers.AutoModel.from_pretrained(arguments.model, add_pooling_layer=False)
    if method:
        import peft

        settings = {"target_modules": list(MATRICES)}
        if method == "ia3":
            feedforward = r".*layer\.\d+\.output\.dense"
            settings = {"target_modules": rf".*\.(key|value)|{feedforward}", "feedforward_modules": feedforward}
        else:
            settings |= {"r": arguments.rank, "lora_alpha": 2 * arguments.rank, "use_dora": method == "dora"}
        encoder = peft.get_peft_model(encoder, (peft.IA3Config if method == "ia3" else peft.LoraConfig)(**settings))

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.dropout = encoder, torch.nn.Dropout(0.1)
            self.head = torch.nn.Linear(encoder.config.hidden_size, len(names))

        def forward(self, input_ids, attention_mask, token_type_ids=None, labels=None):
            sequence = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(sequence.dtype)
            logits = self.head(self.dropout((sequence * mask).sum(1) / mask.sum(1)))
            loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
            return {"loss": loss, "logits": logits}

    model, tokens = Classifier(), 0

    def encoded(rows):
        made = tokenizer([row["text"] for row in rows], truncation=True, max_length=arguments.length)
        return [{**{name: made[name][i] for name in made}, "labels": names.index(row["label"])} for i, row in enumerate(rows)]

    class Trainer(transformers.Trainer):
        def training_step(self, model, inputs, *args, **kwargs):
            nonlocal tokens
            tokens += int(inputs["attention_mask"].sum())
            return super().training_step(model, inputs, *args, **kwargs)

    clock, times = new_clock(), arguments.method_rate * FASTER.get(method, 1) if method else 1
    settings = transformers.TrainingArguments(
        output_dir=arguments.folder, per_device_train_batch_size=BATCH, num_train_epochs=arguments.epochs,
        max_steps=arguments.steps or -1, learning_rate=arguments.rate * times, warmup_steps=0.1,
        weight_decay=0.01, train_sampling_strategy="group_by_length", use_cpu=True, save_strategy="no", logging_strategy="no",
        report_to="none", disable_tqdm=True, seed=arguments.seed, per_device_eval_batch_size=BATCH)
    trainer = Trainer(model=model, args=settings, train_dataset=encoded(train), callbacks=[clock],
                      data_collator=transformers.DataCollatorWithPadding(tokenizer))
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    made = {"tokens_per_second": tokens / (clock.ended - clock.began), "trained": sum(w.numel() for w in trained),
            "peak_mb": peak, "kept_mb": sum(w.numel() for w in trained) * 4 / 1e6}
    if not arguments.steps:
        judged = trainer.predict(encoded(test))
        made["accuracy"] = float((judged.predictions.argmax(-1) == judged.label_ids).mean())
    return made


def figures(run: pathlib.Path) -> dict:
    """What a run that this process has started took."""
    said = next(line for line in (run / "train.log").read_text().splitlines() if " model: " in line)
    return {"tokens_per_second": rate_of(train_lines(run), "tokens"),
            "trained": int(said.split(" trained")[0].split()[-1].replace(",", "")),
            "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024}


def own(arguments: argparse.Namespace, method: str) -> dict:
    """tfft: trains by its command and evaluates the last weights."""
    run = pathlib.Path(arguments.folder) / "run"
    settings = {"data.train": f"csv:{arguments.train}", "data.validation": "", "data.test": f"csv:{arguments.test}",
                "data.max_length": arguments.length, "train.epochs": arguments.epochs, "train.steps": arguments.steps,
                "train.peak_learning_rate": arguments.rate, "train.global_batch_size": BATCH, "train.head_rate": 1.0,
                "train.seed": arguments.seed, "train.checkpoint_minutes": 0.0, "eval.baseline": False}
    if method == "last_2":
        settings["model.frozen_layers"] = arguments.layers - 2
    elif method != "full":
        settings |= {"adaptation.method": method, "adaptation.rate": arguments.method_rate}
    if method in ("lora", "adalora", "dora"):
        settings |= {"adaptation.rank": arguments.rank, "adaptation.alpha": 2.0 * arguments.rank}
    command(["tfft.train", f"--config={ROOT / 'configs' / 'my_csv.py'}", f"--workdir={run}",
             *(f"--config.{name}={value}" for name, value in settings.items())])
    made = figures(run)
    kept = run / "last"
    if method in METHODS:
        command(["tfft.export", f"--workdir={run}", "--format=adapter", "--weights=last"])
        kept = run / "adapter"
    made["kept_mb"] = sum(file.stat().st_size for file in kept.rglob("*.safetensors")) / 1e6
    if not arguments.steps:
        command(["tfft.evaluate", f"--workdir={run}", "--weights=last"])
        made["accuracy"] = json.loads((run / "evaluation-test.json").read_text())["metrics"]["accuracy"]
    return made


def main() -> None:
    parser = flags(__doc__)
    parser.set_defaults(rate=5e-5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--method_rate", type=float, default=10.0, help="config.adaptation.rate")
    parser.add_argument("--layers", type=int, default=6, help="of the backbone")
    mine = {name: functools.partial(own, method=name) for name in ("full", "last_2", *METHODS)}
    systems = mine | {f"peft_{name}": functools.partial(baseline, method=name) for name in ("lora", "dora", "ia3")}
    take_turns(parser, __file__, {**systems, "hf_full": functools.partial(baseline, method="")}, ours=tuple(mine))


if __name__ == "__main__":
    main()
