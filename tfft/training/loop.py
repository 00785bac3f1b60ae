"""The outer loop: Orbit's controller between evaluations, checkpoints, best weights, early stopping, signals, resume."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import orbit
import tensorflow as tf

from tfft.config import TASKS, Eval, Experiment, Train
from tfft.errors import UserError
from tfft.models.kernels import on_cpu
from tfft.training.checkpoints import Checkpoints
from tfft.training.feed import Feed, Feeds
from tfft.training.hosts import Hosts
from tfft.training.optimizer import AdamW
from tfft.training.profiling import Profiler
from tfft.training.step import Trainer


@dataclasses.dataclass
class State:
    """The loop's own memory; saved with every checkpoint, beside what TensorFlow keeps."""

    best: float | None = None
    best_step: int = 0
    last: float | None = None  # of evaluated_step
    evaluated_step: int = 0
    without_gain: int = 0
    stopped_early: bool = False
    seconds: float = 0.0  # spent in training steps, over all sessions of the run
    of_tasks: dict[str, list] = dataclasses.field(default_factory=dict)  # of several: name -> [best, its step, last]
    profile: dict[str, float] = dataclasses.field(default_factory=dict)  # where the time of profiled steps went


class Goal(NamedTuple):
    """What weights are chosen by. lower: less of it is better."""

    metric: str
    lower: bool

    @classmethod
    def of(cls, experiment: Experiment, prefix: str = "") -> "Goal":
        """prefix: of the names of its metrics."""
        metric = experiment.eval.metric
        return cls(f"{prefix}{metric}", metric.rpartition("/")[2] in TASKS[experiment.task.name].lower_is_better)

    def gain(self, value: float, before: float) -> float:
        """By how much a value is better than another."""
        return before - value if self.lower else value - before


class Interrupted(Exception):
    """SIGTERM or Ctrl-C arrived; a checkpoint has been saved."""

    def __init__(self, number: int, step: int):
        super().__init__(f"signal {number} at step {step}")
        self.number, self.step = number, step


class _Signals:
    """Remembers SIGTERM, SIGINT and SIGHUP until the loop looks; a second one is not held back."""

    def __enter__(self):
        self.received = 0
        self._before = {}
        with contextlib.suppress(ValueError):  # not in the main thread: nobody sends signals there
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                    self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.received = number
        signal.signal(number, self._before[number])
        os.write(2, b"\ntfft: stopping after this step and saving; once more to leave at once\n")

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)


@dataclasses.dataclass
class Hooks:
    """What the loop tells the outside; each is called between steps."""

    after_steps: Callable[[int, int, dict[str, float], float], None]  # first step, step, {loss, ...}, seconds they took
    after_evaluation: Callable[[int, dict[str, float], bool], None]  # step, metrics, whether it is the best so far
    save_best: Callable[[str, int, dict[str, float]], None]  # name of a goal of `goals`, or '' for `goal`; step, metrics
    describe_batch: Callable[[int], str]  # step -> its rows, for the message about a loss that is not finite
    warn: Callable[[str], None]


def steps_per_loop(config: Train, xla: bool) -> int:
    """Steps between two looks at the clock, signals and logs; a CPU's steps are long."""
    return config.steps_per_loop or (20 if xla or not on_cpu() else 1)


class Loop:
    """Trains from wherever the work directory's last checkpoint stands to the last step.

    model: its variables are what a checkpoint keeps. make_trainer: of what the loop knows (see its call) and a `forward`.
    parts() -> (feed, evaluator, that forward), made when the weights have been restored. goal: of the whole run; goals: of its
    tasks, by name, where it has several.
    """

    def __init__(self, train: Train, judging: Eval, folder: Path, *, model, optimizer: AdamW, strategy,
                 make_trainer: Callable[..., Trainer], goal: Goal,
                 parts: Callable[[], tuple[Feed | Feeds, orbit.AbstractEvaluator | None, Callable | None]], total_steps: int,
                 evaluation_steps: Callable[[int], int], hooks: Hooks, xla: bool = False, hosts: Hosts | None = None,
                 goals: dict[str, Goal] | None = None):
        self._config, self._eval, self._goal, self._goals = train, judging, goal, goals or {}
        self.hooks, self.total_steps = hooks, total_steps
        self._next_evaluation, self._optimizer = evaluation_steps, optimizer
        self._hosts = hosts = hosts or Hosts(strategy)
        with strategy.scope():
            self.global_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step",
                                           aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self.checkpoints = Checkpoints(folder, model, optimizer, self.global_step, train.keep_checkpoints,
                                       io_device="/job:localhost" if xla else "")
        self.state = State()
        restored = self._restore()
        if restored is not None:
            self.state = State(**restored)
        self.start_step = int(self.global_step.numpy())
        self._saved_step, self._saved_time = self.start_step, time.monotonic()
        self._feed, self._evaluator, forward = parts()
        self.steps_per_loop = steps_per_loop(train, xla)
        self._trainer = make_trainer(dataset=None, global_step=self.global_step, total_steps=total_steps, strategy=strategy,
                                     use_loop=self.steps_per_loop > 1, xla=xla, forward=forward)
        self._controller = orbit.Controller(
            global_step=self.global_step, trainer=self._trainer, evaluator=self._evaluator, strategy=strategy,
            steps_per_loop=self.steps_per_loop, train_actions=[self._after_loop])
        self._profiler = Profiler(train.profile, folder.parent / "tensorboard", hooks.warn, hosts.chief)
        self._output: dict[str, float] = {}
        self._signals = _Signals()

    def _restore(self) -> dict | None:
        """The loop's state as the chief finds it in the work directory, which other hosts need not see."""
        with self._hosts.together():
            restored = self.checkpoints.restore(self.hooks.warn) if self._hosts.chief else None
        self._hosts.share(self.checkpoints.variables)
        return json.loads(self._hosts.from_chief(json.dumps(restored)))

    def run(self) -> State:
        """Trains to the end, or to early stopping.

        Raises: Interrupted after a signal; UserError where the loss is not finite.
        """
        state = self.state
        with self._signals:
            step = self.start_step
            if 0 < step == self._next_evaluation(step - 1) and state.evaluated_step < step:
                self._judge(step)  # stopped by a signal between the last step of an epoch and its evaluation
            while step < self.total_steps and not state.stopped_early:
                boundary = min(self._next_evaluation(step), self.total_steps)
                while step < boundary:
                    step = self._train(step, self._profiler.limit(step, min(step + self.steps_per_loop, boundary)))
                    self.look(save=True)
                    self._save_now_and_then(step)
                self._judge(step)
                self.look()
            if state.evaluated_step < step:
                self._judge(step)
        return state

    def look(self, save: bool = False) -> None:
        """Leaves if a signal came to any host; the last step has been saved wherever this is called, evaluations included,
        or else is to be saved now.

        Raises: Interrupted, on all hosts after the same step.
        """
        number = self._hosts.most(self._signals.received)
        if not number:
            return
        step = int(self.global_step.numpy())
        if save:
            self._save(step)
        self._hosts.most(0)  # none leaves before the chief has saved
        raise Interrupted(number, step)

    def _judge(self, step: int) -> None:
        self._keep_profile(self._profiler.stop)
        if self._evaluator is not None:
            if self._saved_step < step:
                self._save(step)  # an evaluation may be long
            self._evaluate(step)
        self.state.evaluated_step = step
        self._save(step)

    def _train(self, first: int, limit: int) -> int:
        """Runs Orbit's loop to a step, `limit` at most, and checks what came out. Returns that step."""
        begin = time.monotonic()
        iterator, until = self._feed.take(first, limit)
        self._trainer.train_dataset = iterator  # Orbit calls iter() on it: an iterator answers with itself
        # Orbit prints every loop; the hooks do that for us
        with self._profiler.step(first), contextlib.redirect_stdout(io.StringIO()):
            self._controller.train(until, checkpoint_at_completion=False)
        seconds = time.monotonic() - begin
        self._keep_profile(lambda: self._profiler.after(until))
        bad = int(self._trainer.first_bad_step.numpy())
        if bad >= 0:
            raise UserError(self._not_finite(bad))
        self.state.seconds += seconds
        self.hooks.after_steps(first, until, self._output, seconds)
        return until

    def _keep_profile(self, call: Callable[[], None]) -> None:
        call()
        self.state.profile = self._profiler.shares or self.state.profile

    def _after_loop(self, output) -> None:
        self._output = {name: float(value) for name, value in output.items()}

    def _not_finite(self, step: int) -> str:
        saved = self.checkpoints.list()
        kept = f"The last good checkpoint, {saved[-1].name}, is kept." if saved else "Nothing had been saved yet."
        rate, skipped = self._output.get("learning_rate", 0.0), self._output.get("skipped_steps")
        scale = f", loss scale 1 after {skipped:,.0f} skipped steps" if skipped else ""
        return (f"The loss or its gradient is not a finite number at step {step + 1} (learning rate {rate:.3g}{scale}). The "
                f"batch: {self.hooks.describe_batch(step)}. Try a lower --config.train.peak_learning_rate, a longer warm-up "
                f"(--config.train.warmup_fraction), --config.train.clip_norm=1.0 or --config.train.precision=float32, and "
                f"look at these rows, in another --workdir. {kept}")

    def _evaluate(self, step: int) -> None:
        """Judges the weights (their average where there is one), keeps the best, counts towards early stopping."""
        state, config, metric = self.state, self._eval, self._goal.metric
        with self.averaged():
            with contextlib.redirect_stdout(io.StringIO()):
                metrics = {k: float(v) for k, v in self._controller.evaluate(steps=-1).items()}
            value = metrics.get(metric)
            if value is None:
                raise UserError(f"config.eval.metric={metric} could not be computed on the validation rows "
                                f"(computed: {', '.join(metrics)}). Choose one of these, or add validation rows.")
            better = state.best is None or self._goal.gain(value, state.best) > config.min_delta
            state.last = value
            if better:
                state.best, state.best_step, state.without_gain = value, step, 0
                self.hooks.save_best("", step, metrics)
            else:
                state.without_gain += 1
            self._keep_best_of_tasks(step, metrics)
        state.stopped_early = bool(config.patience) and state.without_gain >= config.patience
        self.hooks.after_evaluation(step, metrics, better)

    def _keep_best_of_tasks(self, step: int, metrics: dict[str, float]) -> None:
        for name, goal in self._goals.items():
            value = metrics[goal.metric]
            best, at, _ = self.state.of_tasks.get(name, (None, 0, None))
            better = best is None or goal.gain(value, best) > self._eval.min_delta
            self.state.of_tasks[name] = [value, step, value] if better else [best, at, value]
            if better:
                self.hooks.save_best(name, step, metrics)

    @contextlib.contextmanager
    def averaged(self):
        """The model has its averaged weights inside, where there are any."""
        if not self._optimizer.averages:
            yield
            return
        self._optimizer.swap_averages()
        try:
            yield
        finally:
            self._optimizer.swap_averages()

    def _save_now_and_then(self, step: int) -> None:
        config = self._config
        if config.checkpoint_every_steps:
            due = step - self._saved_step >= config.checkpoint_every_steps
        else:
            due = config.checkpoint_minutes > 0 and time.monotonic() - self._saved_time > 60 * config.checkpoint_minutes
        if due:
            self._save(step)

    def _save(self, step: int) -> None:
        if self._hosts.chief:
            self.checkpoints.save(dataclasses.asdict(self.state))
        self._saved_step, self._saved_time = step, time.monotonic()
