"""A language model on prompts with responses, tfft beside Hugging Face's Trainer and PEFT: the same tokens, weights, batches.

    python tools/benchmark_causal_lm.py --train=train.jsonl --steps=20 --rounds=2 --python=OTHER
    python tools/benchmark_causal_lm.py ... --systems=tfft_lora,hf_lora    OTHER has the extra "bench" and peft

Files have "prompt" and "response" a line; they are tokenised once, by tfft, with the checkpoint's chat template. All learn the
response alone, in batches of like length; transformers' Trainer computes the logits of all tokens, as it always does. Each
system trains in a process of its own: real tokens a second from the first step to the end of the last (tfft's without its
first, which traces the graph), and the process's peak memory.
"""

import argparse
import functools
import json
import os
import pathlib
import resource

from benchmark_entities import ROOT, command, flags, new_clock, rate_of, take_turns, train_lines

LORA = {"rank": 8, "alpha": 16.0}
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def own(arguments: argparse.Namespace, method: str) -> dict:
    """tfft, by its command."""
    run = pathlib.Path(arguments.folder) / "run"
    settings = {"data.train": f"jsonl:{arguments.train}", "data.messages_column": "", "data.validation": "",
                "data.max_length": arguments.length, "train.steps": arguments.steps, "train.peak_learning_rate": arguments.rate,
                "train.global_batch_size": arguments.batch, "train.seed": arguments.seed, "train.checkpoint_minutes": 0.0,
                "train.summary_every_steps": 2,
                "adaptation.method": method, "adaptation.rank": LORA["rank"], "adaptation.alpha": LORA["alpha"]}
    command(["tfft.train", f"--config={ROOT / 'configs' / 'my_chat.py'}", f"--workdir={run}",
             *(f"--config.{name}={value}" for name, value in settings.items())])
    return {"tokens_per_second": rate_of(train_lines(run), "tokens"), "loss": train_lines(run)[-1]["loss"],
            "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024}


def rows_of(arguments: argparse.Namespace) -> tuple[list[dict], str]:
    """(tokens and labels as tfft has them, the folder of the checkpoint), by the Python that has tfft."""
    code = """
import json, sys
import numpy as np
import tfft
from tfft.assets import cache_folder, resolve_backbone
from tfft.config import resolve
from tfft.data.prepare import Preparer, load_splits
from tfft.models.backbone import load_tokenizer, tokenizer_fingerprint
from tfft.tasks.table import TASKS
config = tfft.load_config("my_chat")
config.data.train, config.data.messages_column, config.data.validation = f"jsonl:{sys.argv[1]}", "", ""
config.data.max_length = int(sys.argv[2])
chosen, cache = resolve(config), cache_folder()
preset = resolve_backbone(chosen.model.backbone, cache)
tokenizer = load_tokenizer(preset)
reading = TASKS["causal_lm"].reading(chosen, tokenizer, tokenizer_fingerprint(tokenizer), cache)
store = load_splits(Preparer(chosen.data, reading, cache, lambda line: None))["train"].store
rows = [{name: np.asarray(store.values(name, i)).tolist() for name in ("tokens", "learnt")} for i in range(len(store))]
json.dump({"rows": rows, "folder": preset}, open(sys.argv[3], "w"))
"""
    import subprocess

    target = os.path.join(arguments.folder, "rows.json")
    subprocess.run([arguments.tfft_python, "-c", code, arguments.train, str(arguments.length), target], check=True, cwd=ROOT)
    made = json.load(open(target))
    return made["rows"], made["folder"]


def baseline(arguments: argparse.Namespace, lora: bool) -> dict:
    """transformers' Trainer on PyTorch."""
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.set_seed(arguments.seed)
    rows, folder = rows_of(arguments)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if lora:
        import peft

        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=LORA["rank"], lora_alpha=LORA["alpha"],
                                                           target_modules=list(MATRICES)))
    tokens = 0

    class Trainer(transformers.Trainer):
        def training_step(self, model, inputs, *args, **kwargs):
            nonlocal tokens
            tokens += int(inputs["attention_mask"].sum())
            return super().training_step(model, inputs, *args, **kwargs)

    def collate(batch):
        longest = max(len(row["input_ids"]) for row in batch)
        fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
        return {name: torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in batch])
                for name, value in fill.items()}

    encoded = [{"input_ids": row["tokens"], "attention_mask": [1] * len(row["tokens"]),
                "labels": [token if learnt else -100 for token, learnt in zip(row["tokens"], row["learnt"], strict=True)]}
               for row in rows]
    clock = new_clock()
    settings = transformers.TrainingArguments(
        output_dir=arguments.folder, per_device_train_batch_size=arguments.batch, max_steps=arguments.steps,
        learning_rate=arguments.rate * (10 if lora else 1), warmup_steps=0.1, weight_decay=0.01,
        train_sampling_strategy="group_by_length", use_cpu=True, save_strategy="no", logging_strategy="no", report_to="none",
        disable_tqdm=True, seed=arguments.seed, remove_unused_columns=False)
    trainer = Trainer(model=model, args=settings, train_dataset=encoded, callbacks=[clock], data_collator=collate)
    trainer.train()
    return {"tokens_per_second": tokens / (clock.ended - clock.began),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def main() -> None:
    import sys

    parser = flags(__doc__, ("train",))
    parser.set_defaults(rate=5e-5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tfft_python", default=sys.executable, help=argparse.SUPPRESS)
    if not any(argument.startswith("--tfft_python") for argument in sys.argv):
        sys.argv.append(f"--tfft_python={sys.executable}")
    take_turns(parser, __file__, {
        "tfft": functools.partial(own, method="none"), "tfft_lora": functools.partial(own, method="lora"),
        "hf": functools.partial(baseline, lora=False), "hf_lora": functools.partial(baseline, lora=True)},
        ours=("tfft", "tfft_lora"))


if __name__ == "__main__":
    main()
