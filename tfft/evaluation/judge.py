"""Evaluates a trained run on a split or on other data, and prints what a person wants to know."""

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder
from tfft.data.prepare import Preparer, Split, load_splits
from tfft.errors import UserError
from tfft.evaluation.evaluator import Evaluator
from tfft.evaluation.mistakes import worst
from tfft.models.backbone import tokenizer_fingerprint
from tfft.training.summaries import Console, table
from tfft.workdir import open_run, write_text


def judge(path: str, *, data: str, split: str, weights: str, output: str) -> int:
    """Prints metrics, the label table and the worst mistakes; writes them all as JSON. Returns the exit code."""
    console = Console()
    run = open_run(path, weights)
    experiment, task = run.experiment, run.task
    preparer = Preparer(experiment, run.tokenizer, tokenizer_fingerprint(run.tokenizer), cache_folder(experiment.data.cache),
                        console.say)
    chosen = _rows(preparer, data, split)
    strangers = task.unknown_labels(chosen.store, chosen.rows)
    if strangers:
        shown = ", ".join(f"{label!r} ({count:,} rows)" for label, count in list(strangers.items())[:5])
        console.say(f"unknown labels: {shown}; the model cannot answer them, and they are left out of the metrics")
    evaluator = Evaluator(run.model, task, chosen.store, chosen.rows, pad_id=preparer.text_tokenizer.pad_id,
                          batch_size=experiment.eval.global_batch_size, max_length=experiment.data.max_length,
                          strategy=tf.distribute.get_strategy(), thresholds=run.thresholds,
                          progress=lambda done, total: console.advance(done, ""))
    if not len(evaluator.rows):
        raise UserError(f"None of the {len(chosen.rows):,} rows has a label that the model knows "
                        f"({', '.join(task.labels.names[:10])}).")
    console.start(f"evaluating {len(evaluator.rows):,} rows", -(-len(evaluator.rows) // experiment.eval.global_batch_size))
    metrics = evaluator.evaluate()
    console.stop()
    report = evaluator.report
    print(f"{chosen.name}: {len(evaluator.rows):,} rows, weights of step {run.step:,}")
    print(table([(name, value) for name, value in metrics.items()]))
    if report.per_label and len(report.per_label) <= 40:
        print(table([tuple(line.values()) for line in report.per_label], ("label", "precision", "recall", "f1", "rows")))
    mistakes = worst(task, chosen.store, report, 5)
    if mistakes:
        print("most confident mistakes:")
        for place, text, label, answer in mistakes:
            print(f"  {place}  label {label or '(none)'}, answer {answer or '(none)'}: {text[:100]!r}")
    name = re.sub(r"[^\w.-]+", "-", chosen.name)[:80]
    target = Path(output) if output else run.workdir.path / f"evaluation-{name}.json"
    write_text(target, report.to_json() + "\n")
    print(f"report: {target}")
    return 0


def _rows(preparer: Preparer, data: str, split: str) -> Split:
    """The rows to judge on."""
    if data:
        store = preparer.store(data)
        return Split(data, store, np.arange(len(store)))
    splits = load_splits(preparer)
    name = split or ("test" if "test" in splits else "validation")
    if name not in splits:
        raise UserError(f"The run has no {name} split. Give rows with --data=csv:FILE, or another --split.")
    return splits[name]
