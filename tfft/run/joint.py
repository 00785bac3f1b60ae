"""One process's part of a training run of several tasks that share a backbone."""

import dataclasses
import functools
import json
import math
import shlex
from pathlib import Path

import orbit
import tensorflow as tf

from tfft.config import Experiment, MultiTask, in_task
from tfft.data.plan import PlanSettings
from tfft.data.prepare import describe_data
from tfft.errors import UserError
from tfft.models.adaptation import trained_weights
from tfft.run import activations
from tfft.run.assembly import Built, Prepared, build_together, fixed_bytes, make_feed, prepare
from tfft.run.curve import Curve
from tfft.run.member import Member
from tfft.run.session import AnySession, facts, told_profile
from tfft.run.tracking import Tracking
from tfft.run.workdir import Workdir
from tfft.training.cluster import Cluster
from tfft.training.feed import Feeds
from tfft.training.hosts import Hosts
from tfft.training.joint import JointTrainer, Part, Variables
from tfft.training.loop import Goal, Hooks, Loop
from tfft.training.schedules import epochs_by_size
from tfft.training.strategy import make_strategy, set_up
from tfft.training.summaries import Board, Console, duration, table
from tfft.training.tpu import compiled_by_xla

MEAN = "mean"  # of the tasks' own main metrics


class JointEvaluator(orbit.AbstractEvaluator):
    """Evaluates every task that has validation rows; metrics are named NAME/METRIC. `mean` is that of the tasks' main metrics,
    where one of which less is better counts negative."""

    def __init__(self, members: dict[str, Member], goals: dict[str, Goal]):
        self._members, self._goals = members, goals

    def evaluate(self, num_steps=None) -> dict[str, float]:
        made = {f"{name}/{metric}": value for name, member in self._members.items() if name in self._goals
                for metric, value in member.evaluator.evaluate().items()}
        for name, goal in self._goals.items():
            if goal.metric not in made:
                known = [metric.partition("/")[2] for metric in made if metric.startswith(f"{name}/")]
                raise UserError(f"config.tasks.{name}.eval.metric={goal.metric.partition('/')[2]} could not be computed on the "
                                f"validation rows (computed: {', '.join(known)}). Choose one of these.")
        signed = [-made[goal.metric] if goal.lower else made[goal.metric] for goal in self._goals.values()]
        return {MEAN: sum(signed) / len(signed), **made}


@dataclasses.dataclass
class Course:
    """How long the run is: an epoch is as many steps as there are examples of all tasks in batches."""

    config: MultiTask
    tasks: dict[str, Prepared]

    @property
    def epoch_steps(self) -> int:
        examples = sum(len(one.epochs.epoch(0).examples) for one in self.tasks.values())
        return -(-examples // self.config.train.global_batch_size)

    @property
    def total_steps(self) -> int:
        config = self.config.train
        return config.steps or self.epoch_steps * (config.epochs or epochs_by_size(self.epoch_steps))

    def settled(self) -> dict[str, Prepared]:
        """The tasks, each with the run's steps for its own."""
        return {name: dataclasses.replace(one, experiment=in_train(self.config.tasks[name], steps=self.total_steps))
                for name, one in self.tasks.items()}

    def tokens(self, first: int, last: int) -> tuple[int, int, int]:
        """(examples, real tokens, token positions with padding) of steps first..last-1, of all tasks."""
        return tuple(map(sum, zip(*(one.epochs.tokens(first, last) for one in self.tasks.values()), strict=True)))

    def table(self) -> str:
        """What of a step is each task's, and how often its training examples are read in all."""
        rows = [(name, one.experiment.task.name, self.config.tasks[name].train.global_batch_size,
                 len(one.epochs.epoch(0).examples), f"{self.total_steps / one.epochs.num_batches(0):.3g}")
                for name, one in self.tasks.items()]
        return table(rows, ("name", "task", "examples of a step", "training examples", "passes"))


def prepare_tasks(config: MultiTask, presets: dict[str, tuple[str, Path]], say, strategy: tf.distribute.Strategy,
                  recorded: dict[str, PlanSettings | None]) -> Course:
    """Reads, tokenises, splits and plans each task. presets: (preset, cache) of each."""
    check_parts(config, strategy.num_replicas_in_sync)
    made = {}
    for name, experiment in config.tasks.items():
        if compiled_by_xla(strategy):
            _check_shape(name, experiment, recorded[name])
            experiment = one_shape(experiment)
        with in_task(name):
            made[name] = prepare(experiment, *presets[name], lambda text, name=name: say(f"{name}: {text}"), recorded[name],
                                 strategy)
    return Course(config, made)


def check_parts(config: MultiTask, replicas: int) -> None:
    """Raises: UserError where a task's part of a step cannot be divided over the replicas."""
    accumulation = config.train.accumulation
    for name, experiment in config.tasks.items():
        if experiment.train.global_batch_size % (replicas * accumulation):
            sizes = ", ".join(f"{other}: {e.train.global_batch_size}" for other, e in config.tasks.items())
            raise UserError(f"The part of {name} in a step of config.train.global_batch_size={config.train.global_batch_size} "
                            f"examples ({sizes}) cannot be divided over {replicas} replicas x {accumulation} micro-batches. "
                            "Choose it and config.tasks.NAME.rate so that all parts can.")


def parts_of(config: MultiTask, tasks: dict[str, Prepared], built: list[Built]) -> list[Part]:
    """What a JointTrainer computes of each task."""
    return [Part(name, each.model, one.task.loss, config.share(name), one.task.whole_batch, one.halves)
            for (name, one), each in zip(tasks.items(), built, strict=True)]


def one_shape(experiment: Experiment) -> Experiment:
    """The task as it is where XLA compiles: its batches have one static shape."""
    return in_train(experiment, length_buckets=(experiment.data.max_length,))


def _check_shape(name: str, experiment: Experiment, recorded: PlanSettings | None) -> None:
    """XLA compiles a step, of all tasks: each has one static shape, so that there is one step."""
    if recorded and recorded.buckets != (experiment.data.max_length,):
        raise UserError(f"This run began where {name} had batches of many lengths, and a TPU compiles one step of all tasks. "
                        "Continue it on the devices it began with, or start it anew in another --workdir.")


def in_train(experiment: Experiment, **settings) -> Experiment:
    return dataclasses.replace(experiment, train=dataclasses.replace(experiment.train, **settings))


class JointSession(AnySession):
    """Builds a run of several tasks, resumes it where it stands, tells of it, and leaves in each task's folder what a run of
    that task alone would leave there."""

    def __init__(self, config: MultiTask, workdir: Workdir, presets: dict[str, tuple[str, Path]], resumed: bool,
                 cluster: Cluster | None = None):
        self.config, self.workdir = config, workdir
        self.console = Console(workdir.path / "train.log", quiet=cluster is not None and not cluster.chief)
        self.board = Board(workdir.tensorboard)
        say = self.console.say
        say(f"{config.name}: {len(config.tasks)} tasks in {workdir.path}" + (" (resumed)" if resumed else ""))
        for name, experiment in config.tasks.items():
            say(f"{name}: {experiment.task.name}; {describe_data(experiment.data)}")
        strategy = make_strategy(config.distribution, cluster)
        set_up(config.train)
        self.hosts = hosts = Hosts(strategy, cluster)
        for name, experiment in config.tasks.items():
            hosts.agree({f"{name}: {key}": value for key, value in {**facts(experiment), "weight": str(
                config.parts[name].weight)}.items()})
        folders = {name: Workdir(workdir.path / name, joint=workdir) for name in config.tasks}
        recorded = {name: self._recorded_plan(folder) for name, folder in folders.items()}
        with hosts.together():
            course = prepare_tasks(config, presets, say, strategy, recorded)
            self.total_steps, self.epoch_steps = course.total_steps, course.epoch_steps
            self.members = members = {name: Member(folders[name], one) for name, one in course.settled().items()}
            stores = {f"{name}/{split}": store for name, member in members.items() for split, store in member.stores.items()}
            workdir.check_data(stores)
            for member in members.values():
                member.workdir.begin(member.prepared.experiment)
                member.workdir.record_plan(member.prepared.epochs.settings)
        hosts.agree({**{f"the rows of {name}": store for name, store in stores.items()},
                     **{f"the plan of {name}": str(one.epochs.settings) for name, one in course.tasks.items()}})
        for name, member in members.items():
            for told in member.describe_data():
                say(f"{name}:\n{told}")
        say(course.table())
        self._build(strategy)
        workdir.forget_after(self.loop.start_step, self.loop.state.evaluated_step)
        about = {"devices": [d.name for d in tf.config.list_logical_devices()], "replicas": strategy.num_replicas_in_sync,
                 "hosts": hosts.count}
        workdir.write_environment({**about, "stores": stores})
        for member in members.values():
            member.workdir.forget_after(self.loop.start_step, self.loop.state.evaluated_step)
            member.workdir.write_environment({**about, "stores": member.stores})
        self._describe_model()

    def _build(self, strategy: tf.distribute.Strategy) -> None:
        """Models, and the loop, which restores them."""
        config, members = self.config, self.members
        tasks = {name: member.prepared for name, member in members.items()}
        for member, built in zip(members.values(), build_together(list(tasks.values())), strict=True):
            member.built = built
            member.save_parts()
        self.variables = Variables.of([member.built.model for member in members.values()])
        self.optimizer = next(iter(members.values())).built.optimizer
        self.tracking = Tracking(config.track, self.workdir.path, self.console.say, self.hosts.chief)
        self.curve = Curve(self.console, self.board, self.workdir, config.train.summary_every_steps, self.total_steps,
                           Course(config, tasks).tokens, self.tracking,
                           ("loss", *(f"{name}/loss" for name in members if config.share(name)), "gradient_norm"))
        parts = parts_of(config, tasks, [member.built for member in members.values()])
        self.goals = {name: Goal.of(member.prepared.experiment, f"{name}/") for name, member in members.items()
                      if "validation" in member.prepared.splits}
        self.loop = Loop(
            config.train, config.eval, self.workdir.checkpoints, model=self.variables, optimizer=self.optimizer,
            make_trainer=functools.partial(JointTrainer, parts, self.optimizer, config.train), strategy=strategy,
            goal=Goal(MEAN, lower=False), goals=self.goals, parts=self._parts, total_steps=self.total_steps,
            evaluation_steps=self._next_evaluation, xla=compiled_by_xla(strategy), hosts=self.hosts,
            hooks=Hooks(self.curve.after_steps, self._after_evaluation, self._save_best, self._describe_batch,
                        self.console.say))

    def _parts(self):
        for name in self.goals:
            member = self.members[name]
            with self.hosts.together():
                split = activations.read_splits(member.prepared)["validation"]
            member.make_evaluator(split, self.hosts, functools.partial(self._evaluating, name))
        feeds = Feeds([make_feed(member.prepared, member.built.model) for member in self.members.values()])
        return feeds, JointEvaluator(self.members, self.goals) if self.goals else None, None

    def _describe_model(self) -> None:
        built = next(iter(self.members.values())).built
        kind, config = json.loads(built.backbone_description)["class_name"], self.config.train
        total = sum(math.prod(v.shape) for part in self.variables for v in part if "seed_generator" not in v.path)
        adopted = "".join(f"; {name}: {one.built.adopted}" for name, one in self.members.items() if one.built.adopted)
        self.console.say(f"model: {kind} with {len(self.members)} heads, {total:,} weights, "
                         f"{trained_weights(self.variables):,} trained; {self.total_steps:,} steps of "
                         f"{config.global_batch_size} examples, {self.epoch_steps:,} an epoch{adopted}")

    def _evaluating(self, name: str, done: int, total: int) -> None:
        self.loop.look()
        self.console.now_and_then(f"evaluating {name}: batch {done:,} of {total:,}")

    def _next_evaluation(self, step: int) -> int:
        """The first step after `step` that an evaluation follows."""
        every = self.config.eval.every_steps or self.epoch_steps
        return (step // every + 1) * every

    @property
    def tracked(self) -> MultiTask:
        return self.config

    # ---- hooks of the loop

    def _after_evaluation(self, step: int, metrics: dict[str, float], better: bool) -> None:
        self.board.scalars("validation", step, metrics)
        self.tracking.log("validation", step, metrics)
        epoch, best = -(-step // self.epoch_steps), self.loop.state.of_tasks
        self.workdir.append_metrics({"step": step, "kind": "validation", "epoch": epoch, "best": better, **metrics})
        told = [f"step {step:,} (epoch {epoch}): validation {MEAN} {metrics[MEAN]:.4f}{'  (best so far)' if better else ''}"]
        for name, goal in self.goals.items():
            member, is_best = self.members[name], best[name][1] == step
            member.show_report(self.board, step, f"{name}/")
            own = _own(name, metrics)
            member.workdir.append_metrics({"step": step, "kind": "validation", "epoch": epoch, "best": is_best, **own})
            others = "".join(f"  {k} {v:.4f}" for k, v in own.items() if f"{name}/{k}" != goal.metric and "/" not in k)
            told.append(f"  {goal.metric} {metrics[goal.metric]:.4f}{others}{'  (best so far)' if is_best else ''}")
        self.console.say("\n".join(told))
        self._flush()

    def _flush(self) -> None:
        super()._flush()
        for member in self.members.values():
            member.workdir.flush()

    def _save_best(self, name: str, step: int, metrics: dict[str, float]) -> None:
        if name and self.hosts.chief:  # each task has its own; of the mean there are none
            self.members[name].save_weights("best", step, _own(name, metrics))

    def _describe_batch(self, step: int) -> str:
        return "; ".join(f"{name}, {member.describe_batch(step)}" for name, member in self.members.items())

    # ---- after training

    def _summary(self, state) -> None:
        step = int(self.loop.global_step.numpy())
        rows = [("steps", f"{step:,} of {self.total_steps:,}{' (stopped early)' if state.stopped_early else ''}"),
                ("time in training steps", f"{duration(state.seconds)}, {state.seconds / max(1, step):.3g} s each"),
                ("memory for weights, gradients, optimizer",
                 f"{fixed_bytes([member.built.model for member in self.members.values()], self.optimizer) / 1e9:.2f} GB")]
        rows += told_profile(state.profile)
        if state.best is not None:
            rows.append((f"best validation {MEAN}", f"{state.best:.4f} at step {state.best_step:,}"))
        used = {}  # what the weights that are used reach
        for name, (best, at, last) in state.of_tasks.items():
            use_last = self.config.tasks[name].export.weights == "last"
            used[name] = last if use_last else best
            rows += [(f"best validation {self.goals[name].metric}", f"{best:.4f} at step {at:,}"),
                     *([(f"last validation {self.goals[name].metric}", f"{last:.4f}, which is used (config.export.weights)")]
                       if use_last else [])]
        if self.loop.start_step == step:
            self.console.say("this run was finished already; to train longer choose another --workdir")
        self.console.say(table(rows))
        for name, member in self.members.items() if self.hosts.chief else ():
            if said := member.compared(used[name]) if name in used else "":
                self.console.say(f"{name}: on the validation rows {said}")
            member.leave(self.console, state.evaluated_step, said, self.workdir.tensorboard)
        self.console.say("\n".join(["next:", *(f"  python -m tfft.evaluate --workdir={shlex.quote(str(member.workdir.path))}"
                                               for member in self.members.values())]))
        self._flush()


def _own(name: str, metrics: dict[str, float]) -> dict[str, float]:
    """Those of a task: "topics", {"topics/f1": 1.0, "entities/f1": 0.5} -> {"f1": 1.0}"""
    return {key.removeprefix(f"{name}/"): value for key, value in metrics.items() if key.startswith(f"{name}/")}
