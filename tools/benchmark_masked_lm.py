"""Masked words, tfft beside Hugging Face's run_mlm: the same texts, weights, rate, batch size and share of hidden tokens.

    python tools/benchmark_masked_lm.py --train=corpus.txt --layout=lines --steps=60 --python=OTHER
    python tools/benchmark_masked_lm.py --train=corpus.txt --layout=groups --steps=60 --python=OTHER

A line is a text. OTHER is a Python that has the extra "bench". Each system trains in a process of its own; what counts is real
tokens a second, special ones included.

    lines     run_mlm --line_by_line: a text an example, what is longer than --length cut off, batches padded to their longest;
              tfft with buckets, its usual way, which cuts long texts into parts
    groups    run_mlm's own layout: all texts one after another, cut into rows of --length tokens, attention across texts;
              tfft with task.pack, which keeps attention inside each text
"""

import argparse
import os
import pathlib

from benchmark_entities import BATCH, ROOT, command, flags, new_clock, rate_of, take_turns, train_lines

SHARE = 0.15


def texts(path: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def baseline(arguments: argparse.Namespace) -> dict:
    """The Trainer of transformers on PyTorch, as run_mlm sets it up."""
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.set_seed(arguments.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model)
    model = transformers.AutoModelForMaskedLM.from_pretrained(arguments.model)
    length, grouped = arguments.length, arguments.layout == "groups"
    rows = tokenizer(texts(arguments.train), truncation=not grouped, max_length=None if grouped else length,
                     return_special_tokens_mask=True)
    if grouped:
        flat = {name: [one for row in rows[name] for one in row] for name in rows}
        begins = range(0, len(flat["input_ids"]) - length + 1, length)
        rows = {name: [values[begin:begin + length] for begin in begins] for name, values in flat.items()}
    rows = [{name: rows[name][i] for name in rows} for i in range(len(rows["input_ids"]))]

    clock, tokens = new_clock(), 0

    class Trainer(transformers.Trainer):
        def training_step(self, model, inputs, *args, **kwargs):
            nonlocal tokens
            tokens += int(inputs["attention_mask"].sum())
            return super().training_step(model, inputs, *args, **kwargs)

    settings = transformers.TrainingArguments(
        output_dir=arguments.folder, per_device_train_batch_size=BATCH, max_steps=arguments.steps, learning_rate=arguments.rate,
        use_cpu=True, save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True, seed=arguments.seed)
    collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=SHARE)
    done = Trainer(model=model, args=settings, train_dataset=rows, data_collator=collate, callbacks=[clock]).train()
    return {"tokens_per_second": tokens / (clock.ended - clock.began), "tokens": tokens, "loss": done.training_loss}


def own(arguments: argparse.Namespace) -> dict:
    """tfft: trains by its command."""
    run = pathlib.Path(arguments.folder) / "run"
    settings = {"data.train": f"text:{arguments.train}", "data.validation": "", "data.max_length": arguments.length,
                "train.steps": arguments.steps, "train.peak_learning_rate": arguments.rate, "train.global_batch_size": BATCH,
                "train.warmup_fraction": 0.0, "train.seed": arguments.seed, "train.checkpoint_minutes": 0.0,
                "task.hide": "tokens", "task.share": SHARE, "task.pack": arguments.layout == "groups"}
    command(["tfft.train", f"--config={ROOT / 'configs' / 'my_corpus.py'}", f"--workdir={run}",
             *(f"--config.{name}={value}" for name, value in settings.items())])
    lines = train_lines(run)
    return {"tokens_per_second": rate_of(lines, "tokens"), "tokens": sum(line["tokens"] for line in lines),
            "loss": lines[-1]["loss"]}


def main() -> None:
    parser = flags(__doc__, files=("train",))
    parser.set_defaults(rate=1e-4)
    parser.add_argument("--layout", choices=("lines", "groups"), default="lines")
    parser.add_argument("--length", type=int, default=128, help="of a row, in tokens")
    parser.add_argument("--steps", type=int, default=60)
    take_turns(parser, __file__, {"hf": baseline, "tfft": own})


if __name__ == "__main__":
    main()
