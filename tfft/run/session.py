"""One process's part of a training run."""

import functools
import json
import shlex
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfft import __version__
from tfft.config import Experiment, MultiTask, any_to_json, default_experiment, differences
from tfft.data.plan import PlanSettings
from tfft.data.prepare import describe_data
from tfft.evaluation.evaluator import Evaluator
from tfft.models.adaptation import sections, trained_weights
from tfft.models.adapters import kept_ranks
from tfft.notebook import in_notebook
from tfft.run import activations
from tfft.run.assembly import build, make_feed, prepare
from tfft.run.curve import Curve
from tfft.run.member import Member
from tfft.run.tracking import Tracking
from tfft.run.workdir import Workdir
from tfft.tasks.table import TASKS
from tfft.training.cluster import Cluster
from tfft.training.feed import Feed
from tfft.training.hosts import Hosts
from tfft.training.loop import Goal, Hooks, Loop
from tfft.training.step import Trainer
from tfft.training.strategy import make_strategy, set_up
from tfft.training.summaries import Board, Console, duration, table


class AnySession:
    """What a run of one task and one of several have in common. Each kind makes workdir, console, board, tracking, hosts,
    members, curve, loop and total_steps."""

    def run(self) -> None:
        loop, console = self.loop, self.console
        if 0 < loop.start_step < self.total_steps and not loop.state.stopped_early:
            console.say(f"continuing at step {loop.start_step:,} of {self.total_steps:,}")
        if not loop.start_step:
            self.board.text("train", 0, "config", "```\n" + self.workdir.config.read_text() + "\n```")
            self.board.hparams(hyperparameters(self.tracked), str(self.workdir.path))
        self.tracking.start(self.tracked.name, self.tracked)
        console.start("training", self.total_steps, loop.start_step)
        state = None
        try:
            state = loop.run()
        finally:
            console.stop()
            self._flush()
            best = loop.state.best
            self.tracking.finish({} if best is None else {"best": best, "best_step": loop.state.best_step}, state is not None)
        step = int(loop.global_step.numpy())
        last = [member.workdir.weights("last") for member in self.members.values()]
        if self.hosts.most(step > loop.start_step or not all(path.exists() for path in last)):
            with loop.averaged():
                for member in self.members.values():
                    if member.evaluator and member.evaluator.report is None:
                        member.evaluator.evaluate()  # this process judged nothing, and thresholds belong to the weights
                    if self.hosts.chief:
                        member.save_weights("last", step, {})
        self.hosts.most(0)  # none leaves before the chief has written
        self._summary(state)

    def _recorded_plan(self, workdir: Workdir) -> PlanSettings | None:
        """How the run began to plan a task, if it is resumed; the chief's work directory has it."""
        plan = workdir.recorded_plan()
        told = self.hosts.from_chief(plan.to_json() if plan else "")
        return PlanSettings.from_json(told) if told else None

    @property
    def tracked(self) -> Experiment | MultiTask:
        """What decides the run."""
        raise NotImplementedError

    def _flush(self) -> None:
        self.curve.flush()

    def _summary(self, state) -> None:
        """Tells of the finished run."""
        raise NotImplementedError


class Session(AnySession):
    """Builds a run, resumes it where it stands, tells of it in the console, TensorBoard and metrics.jsonl, and sums up."""

    def __init__(self, experiment: Experiment, workdir: Workdir, preset: str, cache: Path, resumed: bool,
                 cluster: Cluster | None = None):
        self.experiment, self.workdir = experiment, workdir
        self.console = Console(workdir.path / "train.log", quiet=cluster is not None and not cluster.chief)
        self.board = Board(workdir.tensorboard)
        say = self.console.say
        say(f"{experiment.name}: {experiment.task.name} in {workdir.path}" + (" (resumed)" if resumed else ""))
        say(f"data: {describe_data(experiment.data)}")
        strategy = make_strategy(experiment.distribution, cluster)
        set_up(experiment.train)  # before the hosts speak: it clears what TensorFlow has compiled
        self.hosts = hosts = Hosts(strategy, cluster)
        hosts.agree(facts(experiment))
        recorded = self._recorded_plan(workdir)
        with hosts.together():  # files may be missing on one host
            begun = resumed and bool(experiment.model.start)  # which may be gone since
            learnt = TASKS[experiment.task.name].load(workdir.path) if begun else None
            self.prepared = prepared = prepare(experiment, preset, cache, say, recorded, strategy, learnt)
            self.member = member = Member(workdir, prepared)
            self.members = {experiment.name: member}
            workdir.check_data(member.stores)
            workdir.record_plan(prepared.epochs.settings)
        hosts.agree({**{f"the {name} rows": store for name, store in member.stores.items()},
                     "the plan of the epochs": str(prepared.epochs.settings)})
        self.total_steps = prepared.total_steps
        self._describe_data()
        self.built = member.built = built = build(prepared, resumed)
        member.save_parts()
        self.tracking = Tracking(experiment.track, workdir.path, say, hosts.chief)
        self.curve = Curve(self.console, self.board, workdir, experiment.train.summary_every_steps, self.total_steps,
                           prepared.epochs.tokens, self.tracking)
        make_trainer = functools.partial(Trainer, built.model, built.optimizer, prepared.task.loss, experiment.train,
                                         whole_batch=prepared.task.whole_batch, halves=prepared.halves)
        self.loop = Loop(
            experiment.train, experiment.eval, workdir.checkpoints, model=built.model, optimizer=built.optimizer,
            make_trainer=make_trainer, strategy=prepared.strategy, goal=Goal.of(experiment),
            parts=lambda: self._parts(cache), total_steps=self.total_steps, evaluation_steps=self._next_evaluation,
            xla=prepared.xla, hosts=hosts, hooks=Hooks(self.curve.after_steps, self._after_evaluation, self._save_best,
                                                       member.describe_batch, say))
        workdir.forget_after(self.loop.start_step, self.loop.state.evaluated_step)
        workdir.write_environment({
            "devices": [d.name for d in tf.config.list_logical_devices()],
            "replicas": strategy.num_replicas_in_sync, "hosts": hosts.count, "stores": member.stores,
            "total_steps": self.total_steps})
        self._describe_model()

    # ---- before training

    def _describe_data(self) -> None:
        prepared = self.prepared
        for told in self.member.describe_data():
            self.console.say(told)
        plan = prepared.epochs.epoch(0).plan
        chosen = "" if self.experiment.train.epochs or self.experiment.train.steps else f"; {prepared.num_epochs} epochs"
        self.console.say(f"plan: {plan.num_batches:,} batches an epoch, {plan.padding_waste:.1%} of them padding{chosen}")

    def _describe_model(self) -> None:
        model, config = self.built.model, self.experiment.train
        kind = json.loads(self.built.backbone_description)["class_name"]
        batch = f"{config.tokens_per_batch:,} tokens" if config.tokens_per_batch else f"{config.global_batch_size} examples"
        self.console.say(f"model: {kind}, {model.count_params():,} weights, {trained_weights(model):,} trained; "
                         f"{self.total_steps:,} steps of {batch}{'; ' if self.built.adopted else ''}{self.built.adopted}")

    def _parts(self, cache: Path) -> tuple[Feed, Evaluator | None, Any]:
        """What the loop reads, judges and computes by, of the weights that the run stands at."""
        prepared, built = self.prepared, self.built
        with self.hosts.together():  # a disk may be full
            splits = activations.read_splits(prepared)
            above = activations.make(prepared, built, splits, cache, self.console)
        hidden, forward = (above.hidden, above.model) if above else ({}, None)
        if "validation" in splits:
            self.member.make_evaluator(splits["validation"], self.hosts, self._evaluating, forward, hidden.get("validation"))
        return make_feed(prepared, built.model, hidden.get("train")), self.member.evaluator, forward

    def _evaluating(self, done: int, total: int) -> None:
        self.loop.look()
        self.console.now_and_then(f"evaluating: batch {done:,} of {total:,}")

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

    @property
    def tracked(self) -> Experiment:
        return self.experiment

    # ---- hooks of the loop

    def _after_evaluation(self, step: int, metrics: dict[str, float], better: bool) -> None:
        self.board.scalars("validation", step, metrics)
        self.tracking.log("validation", step, metrics)
        report = self.member.evaluator.report
        self.member.show_report(self.board, step)
        epoch = self.prepared.epochs.locate(step - 1)[0] + 1
        self.workdir.append_metrics({"step": step, "kind": "validation", "epoch": epoch, "best": better, **metrics})
        main = self.experiment.eval.metric
        others = "  ".join(f"{k} {v:.4f}" for k, v in metrics.items() if k != main and "/" not in k)
        self.console.say(f"step {step:,} (epoch {epoch}): validation {main} {metrics[main]:.4f}  {others}"
                         f"{'  (best so far)' if better else ''}")
        name = main.rpartition("/")[2]
        if of_sources := [f"{source} {value:.4f}" for source in report.by_source
                          if (value := metrics.get(f"{source}/{name}")) is not None]:
            self.console.say(f"{name} by source: {'  '.join(of_sources)}")
        self._flush()

    def _save_best(self, name: str, step: int, metrics: dict[str, float]) -> None:
        if self.hosts.chief:
            self.member.save_weights("best", step, metrics)

    # ---- after training

    def _summary(self, state) -> None:
        step = int(self.loop.global_step.numpy())
        path = shlex.quote(str(self.workdir.path))
        rows = [("steps", f"{step:,} of {self.total_steps:,}{' (stopped early)' if state.stopped_early else ''}"),
                ("time in training steps", f"{duration(state.seconds)}, {state.seconds / max(1, step):.3g} s each"),
                ("memory for weights, gradients, optimizer", f"{self.built.fixed_bytes / 1e9:.2f} GB")]
        scale = self.built.optimizer.loss_scale
        if scale is not None:
            rows += [("steps skipped (float16 overflow)", f"{int(scale.skipped_steps.numpy()):,}"),
                     ("loss scale at the end", f"{float(scale.scale.numpy()):,.0f}")]
        rows += told_profile(state.profile)
        if kept := kept_ranks(sections(self.built.backbone)[1]):
            rows += [("ranks of the last step, by matrix", kept)]
        if state.best is not None:
            rows += [(f"{which} validation {self.experiment.eval.metric}", f"{value:.4f} at step {at:,}{used}")
                     for which, value, at, used in self._judged(state)]
        if self.loop.start_step == step:
            self.console.say("this run was finished already; to train longer choose another --workdir")
        self.console.say(table(rows))
        if self.hosts.chief:
            self.member.leave(self.console, state.evaluated_step, self._compare(state), self.workdir.tensorboard)
        if in_notebook():
            self.console.say("next: run.evaluate(), run.predict([...]), run.export()")
            self._flush()
            return
        asked = " ".join(f"--{name}='...'" for name in self.prepared.preparer.reading.encoder.fields)
        self.console.say("\n".join(["next:", f"  python -m tfft.evaluate --workdir={path}",
                                    f"  python -m tfft.predict --workdir={path} {asked}",
                                    f"  python -m tfft.export --workdir={path}", f"  tensorboard --logdir={path}/tensorboard"]))
        self._flush()

    def _judged(self, state) -> list[tuple[str, float, int, str]]:
        """(which weights, the metric, their step, what to say of them)"""
        best = ("best", state.best, state.best_step, "")
        if self.experiment.export.weights == "best" or state.last is None:
            return [best]
        return [best, ("last", state.last, state.evaluated_step, ", which is used (config.export.weights)")]

    def _compare(self, state) -> str:
        """Says whether the weights that are used are better than simple methods."""
        said = "" if state.best is None else self.member.compared(self._judged(state)[-1][1])
        if said:
            self.console.say(f"on the validation rows {said}")
        return said


def hyperparameters(experiment: Experiment | MultiTask) -> dict[str, bool | float | str]:
    """The settings of a run, flat: {"train.epochs": 2, "tasks.topics.train.head_rate": 10.0, ...}"""
    made: dict[str, bool | float | str] = {}

    def flatten(values: dict, prefix: str) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                flatten(value, f"{prefix}{name}.")
            else:
                made[f"{prefix}{name}"] = value if isinstance(value, (bool, int, float, str)) else str(value)

    flatten(json.loads(any_to_json(experiment)), "")
    return made


def told_profile(shares: dict[str, float]) -> list[tuple[str, str]]:
    """Where the time of profiled steps went, as rows of the summary."""
    told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return [("time of the profiled steps", told)] if shares else []


def facts(experiment: Experiment) -> dict[str, str]:
    """What all hosts must have in common: {"config.train.epochs": "2", ...} of what is no default, versions."""
    changes = [line.partition(": ") for line in differences(default_experiment(experiment.task.name), experiment)]
    return {**{f"config.{name}": change.partition(" -> ")[2] for name, _, change in changes},
            "config.train.steps_per_loop": str(experiment.train.steps_per_loop),
            "config.eval.global_batch_size": str(experiment.eval.global_batch_size),
            "the version of tfft": __version__, "the version of TensorFlow": tf.__version__}
