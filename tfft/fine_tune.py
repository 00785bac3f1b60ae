"""The main job: experiment in, trained run in the work directory out."""

import json
import sys
import time
from pathlib import Path

from tfft.assets import backbone_limits, cache_folder, resolve_backbone
from tfft.config import Experiment, check_limits
from tfft.workdir import Workdir


def resolve_assets(experiment: Experiment) -> tuple[str, Path]:
    """(preset for KerasHub, cache folder); the experiment is checked against the backbone. Imports no TensorFlow."""
    cache = cache_folder(experiment.data.cache)
    preset = resolve_backbone(experiment.model.backbone, cache)
    max_length, num_layers = backbone_limits(preset)
    check_limits(experiment, max_length=max_length, num_layers=num_layers)
    return preset, cache


def fine_tune(experiment: Experiment, path: str) -> int:
    """Trains, or resumes; returns the exit code (128 + signal where one stopped it)."""
    preset, cache = resolve_assets(experiment)
    workdir = Workdir(path)
    resumed = workdir.begin(experiment)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.training.loop import Interrupted

    try:
        _Session(experiment, workdir, preset, cache, resumed).run()
    except Interrupted as stop:
        print(f"\ntfft: stopped by signal {stop.number} at step {stop.step}; saved. The same command again continues from "
              "there.", file=sys.stderr, flush=True)
        return 128 + stop.number
    return 0


class _Session:
    """One process's part of a run."""

    def __init__(self, experiment: Experiment, workdir: Workdir, preset: str, cache: Path, resumed: bool):
        import tensorflow as tf

        from tfft.assembly import build, make_dataset, prepare
        from tfft.data.prepare import describe_data
        from tfft.evaluation.evaluator import Evaluator
        from tfft.training.loop import Hooks, Loop
        from tfft.training.summaries import Board, Console
        from tfft.workdir import save_parts

        self.experiment, self.workdir = experiment, workdir
        self.console = Console(workdir.path / "train.log")
        self.board = Board(workdir.tensorboard)
        say = self.console.say
        say(f"{experiment.name}: {experiment.task.problem} in {workdir.path}" + (" (resumed)" if resumed else ""))
        say(f"data: {describe_data(experiment.data)}")
        self.prepared = prepared = prepare(experiment, preset, cache, say)
        self.total_steps = prepared.total_steps
        self._describe_data()
        self.built = built = build(prepared)
        save_parts(workdir, prepared.tokenizer, built.backbone_description, prepared.task.labels)
        self.evaluator = self._make_evaluator(Evaluator)
        self.loop = Loop(
            experiment, workdir.checkpoints, model=built.model, loss=prepared.task.loss, optimizer=built.optimizer,
            strategy=prepared.strategy, evaluator=self.evaluator, total_steps=self.total_steps,
            make_dataset=lambda start: make_dataset(prepared, built.model, start, self.total_steps),
            evaluation_steps=self._next_evaluation,
            hooks=Hooks(self._after_steps, self._after_evaluation, self._save_best, self._describe_batch, say))
        workdir.forget_after(self.loop.start_step)
        workdir.write_environment({
            "devices": [d.name for d in tf.config.list_logical_devices()], "replicas": prepared.strategy.num_replicas_in_sync,
            "stores": {name: split.store.folder.name for name, split in prepared.splits.items()}})
        trained = sum(int(v.shape.num_elements() if hasattr(v.shape, "num_elements") else _size(v.shape))
                      for v in built.model.trainable_variables)
        say(f"model: {type_name(built)}, {built.model.count_params():,} weights, {trained:,} trained; {self.total_steps:,} steps of "
            f"{experiment.train.tokens_per_batch or experiment.train.global_batch_size} "
            f"{'tokens' if experiment.train.tokens_per_batch else 'examples'}")
        self._reset_window()

    def run(self) -> None:
        from tfft.training.weights import save_weights

        loop, console = self.loop, self.console
        if loop.start_step:
            console.say(f"continuing at step {loop.start_step:,} of {self.total_steps:,}")
        else:
            self.board.text("train", 0, "config", "```\n" + self.workdir.config.read_text() + "\n```")
        console.start("training", self.total_steps, loop.start_step)
        try:
            state = loop.run()
        finally:
            console.stop()
            self.board.flush()
        save_weights(self.workdir.weights("last"), self.built.model, {"step": str(int(loop.global_step.numpy()))})
        self._summary(state)

    # ---- before training

    def _describe_data(self) -> None:
        from tfft.training.summaries import table

        prepared = self.prepared
        rows = []
        for name, split in prepared.splits.items():
            lengths = split.lengths
            cut = (split.store.column("full_length")[split.rows] > self.experiment.data.max_length).mean()
            rows.append((name, len(split.rows), f"{lengths.mean():.0f}", f"{cut:.1%}"))
        self.console.say(table(rows, ("split", "rows", "tokens a row", "truncated")))
        labels = prepared.task.labels
        if labels.names:
            shown = ", ".join(f"{n} ({c:,})" for n, c in zip(labels.names[:8], labels.counts, strict=False))
            self.console.say(f"labels: {shown}{f' ... {len(labels.names)} in all' if len(labels.names) > 8 else ''}")
        plan = prepared.epochs.epoch(0).plan
        self.console.say(f"plan: {plan.num_batches:,} batches an epoch, {plan.padding_waste:.1%} of them padding")

    def _make_evaluator(self, kind):
        prepared = self.prepared
        split = prepared.splits.get("validation")
        if split is None:
            return None
        tune = self.experiment.task.problem == "multi_label" and self.experiment.task.tune_thresholds
        return kind(self.built.model, prepared.task, split.store, split.rows, pad_id=prepared.pad_id,
                    batch_size=self.experiment.eval.global_batch_size, max_length=self.experiment.data.max_length,
                    strategy=prepared.strategy, tune=tune)

    def _next_evaluation(self, step: int) -> int:
        """The first step after `step` that an evaluation follows."""
        every = self.experiment.eval.every_steps
        if every:
            return (step // every + 1) * every
        epochs = self.prepared.epochs
        end = epoch = 0
        while end <= step:
            end += epochs.num_batches(epoch)
            epoch += 1
        return end

    # ---- hooks of the loop

    def _reset_window(self) -> None:
        """Begins to add up the steps of one point in TensorBoard."""
        self._window = {"examples": 0, "tokens": 0, "padded": 0, "seconds": 0.0, "steps": 0, "loss": 0.0, "gradient_norm": 0.0}

    def _after_steps(self, step: int, output: dict[str, float], seconds: float) -> None:
        window, steps = self._window, min(self.loop.steps_per_loop, step)
        examples, tokens, padded = self.prepared.epochs.tokens(step - steps, step)
        window["loss"] += output["loss"] * steps
        window["gradient_norm"] += output["gradient_norm"] * steps
        for name, value in (("examples", examples), ("tokens", tokens), ("padded", padded), ("seconds", seconds),
                            ("steps", steps)):
            window[name] += value
        if step % self.experiment.train.summary_every_steps < steps or step == self.total_steps:
            self._point(step, output)
        rate = tokens / max(seconds, 1e-9)
        self.console.advance(step, f"loss {output['loss']:.4f}  {rate:,.0f} tokens/s")

    def _point(self, step: int, output: dict[str, float]) -> None:
        w = self._window
        values = {
            "loss": w["loss"] / w["steps"], "gradient_norm": w["gradient_norm"] / w["steps"],
            "learning_rate": output["learning_rate"], "tokens_per_second": w["tokens"] / w["seconds"],
            "examples_per_second": w["examples"] / w["seconds"], "padding_waste": 1 - w["tokens"] / w["padded"]}
        self.board.scalars("train", step, values)
        self.workdir.append_metrics({"step": step, "kind": "train", **values, "tokens": w["tokens"],
                                     "seconds": w["seconds"]})
        self._reset_window()

    def _after_evaluation(self, step: int, metrics: dict[str, float], better: bool) -> None:
        self.board.scalars("validation", step, metrics)
        self.board.text("validation", step, "wrong_answers", self._wrong_answers())
        if self.evaluator.report.per_label:
            from tfft.training.summaries import markdown

            rows = [tuple(line.values()) for line in self.evaluator.report.per_label]
            self.board.text("validation", step, "labels", markdown(rows, ("label", "precision", "recall", "f1", "rows")))
        self.board.flush()
        epoch = self.prepared.epochs.locate(step - 1)[0] + 1
        self.workdir.append_metrics({"step": step, "kind": "validation", "epoch": epoch, "best": better, **metrics})
        main = self.experiment.eval.metric
        others = "  ".join(f"{k} {v:.4f}" for k, v in metrics.items() if k != main)
        self.console.say(f"step {step:,} (epoch {epoch}): validation {main} {metrics[main]:.4f}  {others}"
                         f"{'  (best so far)' if better else ''}")

    def _wrong_answers(self) -> str:
        from tfft.evaluation.mistakes import worst
        from tfft.training.summaries import markdown

        rows = worst(self.prepared.task, self.prepared.splits["validation"].store, self.evaluator.report, 20)
        return markdown(rows, ("row", "text", "label", "answer")) if rows else "none"

    def _save_best(self, step: int, metrics: dict[str, float]) -> None:
        from tfft.training.weights import save_weights

        thresholds = self.evaluator.report.thresholds
        save_weights(self.workdir.weights("best"), self.built.model, {
            "step": str(step), "metrics": json.dumps(metrics),
            "thresholds": json.dumps(None if thresholds is None else [float(t) for t in thresholds])})

    def _describe_batch(self, step: int) -> str:
        store = self.prepared.splits["train"].store
        rows = self.prepared.epochs.step_rows(step)
        shown = ", ".join(f"{store.string('id', r)} ({store.place(r)})" for r in rows[:32])
        return f"{len(rows)} rows: {shown}{' ...' if len(rows) > 32 else ''}"

    # ---- after training

    def _summary(self, state) -> None:
        from tfft.training.summaries import duration, table

        step = int(self.loop.global_step.numpy())
        path = self.workdir.path
        rows = [("steps", f"{step:,} of {self.total_steps:,}{' (stopped early)' if state.stopped_early else ''}"),
                ("time in training steps", duration(state.seconds))]
        if state.best is not None:
            rows += [(f"best validation {self.experiment.eval.metric}", f"{state.best:.4f} at step {state.best_step:,}")]
        if not state.stopped_early and self.loop.start_step >= self.total_steps:
            self.console.say("this run is finished already; to train longer choose another --workdir")
        else:
            time.sleep(0)  # the bar's last line is out before the table
        self.console.say(table(rows))
        self.console.say(f"next:\n  python -m tfft.evaluate --workdir={path}\n  python -m tfft.predict --workdir={path} "
                         f"--text='...'\n  python -m tfft.export --workdir={path}\n  tensorboard --logdir={path / 'tensorboard'}")


def _size(shape) -> int:
    size = 1
    for dimension in shape:
        size *= int(dimension)
    return size


def type_name(built) -> str:
    """The backbone's class, as in BertBackbone."""
    return json.loads(built.backbone_description)["class_name"]
