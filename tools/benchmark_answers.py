"""Questions on contexts, tfft beside Hugging Face's Trainer: the same rows, weights, steps, rate, batch size and windows.

    python tools/benchmark_answers.py --train=train-v1.1.json --test=dev-v1.1.json --steps=60 --questions=640
    python tools/benchmark_answers.py ... --python=OTHER         the Python that has the extra "bench" (torch, transformers)

Each system trains in a process of its own, and then answers so many questions of the test file, texts in and answers out: in
batches of 32 of like length, tfft by its export, Hugging Face by its tokenizer, its model and the best span of each question.
Both are counted in windows a second, of 256 tokens of which two share 85, as Hugging Face's tokenizer cuts them; training from
the first step to the end of the last.
"""

import argparse
import json
import os
import pathlib
import sys
import time

from benchmark_entities import ROOT, command, flags, new_clock, take_turns, train_lines

BATCH, ASKED_AT_ONCE, LENGTH, SHARED, LONGEST = 16, 32, 256, 85, 30


def read(path: str) -> list[dict]:
    """{"question", "context", "answer", "start"} of each question, its first answer."""
    with open(path, encoding="utf-8") as file:
        articles = json.load(file)["data"]
    return [{"question": asked["question"].strip(), "context": paragraph["context"], "answer": asked["answers"][0]["text"],
             "start": asked["answers"][0]["answer_start"]}
            for article in articles for paragraph in article["paragraphs"] for asked in paragraph["qas"]]


def some(rows: list[dict], count: int) -> list[dict]:
    """So many, evenly spread, the shortest first."""
    return sorted((rows[i * len(rows) // count] for i in range(count)), key=lambda row: len(row["context"]))


def cut(tokenizer, rows: list[dict], **more):
    return tokenizer([row["question"] for row in rows], [row["context"] for row in rows], truncation="only_second",
                     max_length=LENGTH, stride=SHARED, return_overflowing_tokens=True, return_offsets_mapping=True, **more)


def baseline(arguments: argparse.Namespace) -> dict:
    """The Trainer of transformers on PyTorch; windows as run_qa makes them, batches padded to their longest."""
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.set_seed(arguments.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(arguments.model)
    made, rows = cut(tokenizer, train := read(arguments.train)), []
    for i, (ids, offsets, row) in enumerate(zip(made["input_ids"], made["offset_mapping"], made["overflow_to_sample_mapping"],
                                                strict=True)):
        of, begin, end = made.sequence_ids(i), train[row]["start"], train[row]["start"] + len(train[row]["answer"])
        first = [t for t, side in enumerate(of) if side == 1 and offsets[t][0] <= begin < offsets[t][1]]
        last = [t for t, side in enumerate(of) if side == 1 and offsets[t][0] < end <= offsets[t][1]]
        places = (first[0], last[0]) if first and last else (0, 0)
        rows.append({"input_ids": ids, "attention_mask": made["attention_mask"][i],
                     "token_type_ids": made["token_type_ids"][i], "start_positions": places[0], "end_positions": places[1]})

    clock = new_clock()
    settings = transformers.TrainingArguments(
        output_dir=arguments.folder, per_device_train_batch_size=BATCH, max_steps=arguments.steps,
        learning_rate=arguments.rate, use_cpu=True, save_strategy="no", logging_strategy="no", report_to="none",
        disable_tqdm=True, seed=arguments.seed)
    transformers.Trainer(model=model, args=settings, train_dataset=rows, callbacks=[clock],
                         data_collator=transformers.DataCollatorWithPadding(tokenizer)).train()
    model.eval()
    asked = some(read(arguments.test), arguments.questions)
    windows, answers, began = 0, [], time.perf_counter()
    with torch.no_grad():
        for begin in range(0, len(asked), ASKED_AT_ONCE):
            part = asked[begin:begin + ASKED_AT_ONCE]
            batch = cut(tokenizer, part, padding=True, return_tensors="pt")
            of_row, offsets = batch.pop("overflow_to_sample_mapping"), batch.pop("offset_mapping")
            out = model(**batch)
            context = torch.tensor([[side == 1 for side in batch.sequence_ids(i)] for i in range(len(of_row))])
            allowed = (context[:, :, None] & context[:, None]).triu().tril(LONGEST - 1)
            scores = (out.start_logits[:, :, None] + out.end_logits[:, None]).masked_fill(~allowed, -1e9)
            best, place = scores.flatten(1).max(1)
            for i, row in enumerate(part):
                mine = (of_row == i).nonzero()[:, 0]
                window = mine[best[mine].argmax()]
                first, last = divmod(int(place[window]), scores.shape[2])
                answers.append(row["context"][int(offsets[window, first, 0]):int(offsets[window, last, 1])])
            windows += len(of_row)
    return {"training": arguments.steps * BATCH / (clock.ended - clock.began),
            "answering": windows / (time.perf_counter() - began), "windows": windows}


def own(arguments: argparse.Namespace) -> dict:
    """tfft: trains by its command and answers by its export."""
    from tfft import assets, config

    run = pathlib.Path(arguments.folder) / "run"
    settings = {"data.validation": "", "data.max_length": LENGTH, "data.window_overlap": SHARED,
                "train.steps": arguments.steps, "train.peak_learning_rate": arguments.rate, "train.global_batch_size": BATCH,
                "train.seed": arguments.seed, "train.checkpoint_minutes": 0.0, "task.max_answer_tokens": LONGEST,
                "model.backbone": assets.fetch(config.MINILM, assets.cache_folder())}
    command(["tfft.train", f"--config={ROOT / 'configs' / 'squad.py'}:{arguments.train},{arguments.test}", f"--workdir={run}",
             *(f"--config.{name}={value}" for name, value in settings.items())])
    lines = train_lines(run)
    examples = sum(line["examples_per_second"] * line["seconds"] for line in lines)
    command(["tfft.export", f"--workdir={run}", "--weights=last"])
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - the export's ops
    from tokenizers import Tokenizer

    asked = some(read(arguments.test), arguments.questions)
    cutter = Tokenizer.from_file(os.path.join(arguments.model, "tokenizer.json"))
    cutter.enable_truncation(LENGTH, stride=SHARED, strategy="only_second")
    windows = sum(1 + len(made.overflowing) for made in
                  cutter.encode_batch([(row["question"], row["context"]) for row in asked]))
    ask = tf.saved_model.load(str(run / "export" / "1")).signatures["serving_default"]
    parts = [asked[begin:begin + ASKED_AT_ONCE] for begin in range(0, len(asked), ASKED_AT_ONCE)]
    batches = [{name: tf.constant([row[name] for row in part]) for name in ("question", "context")} for part in parts]
    for batch in batches[:: max(1, len(batches) // 4)]:
        ask(**batch)
    began = time.perf_counter()
    for batch in batches:
        ask(**batch)
    return {"training": examples / sum(line["seconds"] for line in lines), "answering": windows / (time.perf_counter() - began),
            "windows": windows}


def main() -> None:
    parser = flags(__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--questions", type=int, default=640)
    take_turns(parser, __file__, {"hf": baseline, "tfft": own})


if __name__ == "__main__":
    sys.exit(main())
