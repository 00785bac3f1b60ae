"""The learning-rate range test (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3)."""

import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.config import Experiment
from tfft.errors import UserError
from tfft.files import write_text
from tfft.run.assembly import build, make_feed, prepare
from tfft.training.step import Trainer
from tfft.training.summaries import Console

SMOOTHING = 0.9   # of the losses of batches: each has other texts
BEYOND = 2.0      # it ends where the smoothed loss is so many times its lowest value,
AWAY = 0.1        # but not in the first tenth of the steps
FALLEN = 0.98     # of the mean of these steps: a loss that falls less falls nowhere
WIDTH, HEIGHT = 64, 14  # of the plot in a terminal


class Found(NamedTuple):
    """rates, losses, smoothed: float[n] of the steps, in their order. steepest: the rate at which the smoothed loss falls
    fastest; lowest: at which it is lowest; None where it falls nowhere."""

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    steepest: float | None
    lowest: float | None


def find_rates(experiment: Experiment, preset: str, cache: Path, steps: int, lowest: float, highest: float,
               target: Path | None) -> int:
    """Prints what was found, and writes it; returns the exit code."""
    console = Console()
    changed = dataclasses.replace(
        experiment.train, steps=steps, schedule="exponential", warmup_fraction=0.0, peak_learning_rate=lowest,
        end_learning_rate_fraction=(highest / lowest) ** (steps / (steps - 1)), activation_cache="none", ema_decay=0.0)
    losses, done = _losses(dataclasses.replace(experiment, train=changed), preset, cache, console)
    if len(losses) < 3:
        raise UserError(f"The loss is no number from a learning rate of {lowest:g} on. Give it a lower --lowest, or "
                        "--config.train.precision=float32, and look at the rows (tfft plan).")
    places = np.array(list(losses))
    found = judge(lowest * (highest / lowest) ** (places / (steps - 1)), np.array(list(losses.values())))
    print(f"learning rates from {lowest:g} to {found.rates[-1]:.2g} over {done} steps; the loss, smoothed:\n")
    print(drawn(found))
    print("\n" + advised(found, done < steps))
    if target:
        write(found, target)
        print(f"written: {target}")
    return 0


def _losses(experiment: Experiment, preset: str, cache: Path, console: Console) -> tuple[dict[int, float], int]:
    """(the losses of steps that moved the weights, by these; how many steps there were), until they are beyond bounds."""
    prepared = prepare(experiment, preset, cache, console.say)
    built, total = build(prepared), experiment.train.steps
    if built.optimizer.budget:
        built.optimizer.budget.total_steps = 1000 * total  # no rank goes so early
    with prepared.strategy.scope():
        step = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
    trainer = Trainer(built.model, built.optimizer, prepared.task.loss, experiment.train, dataset=None, global_step=step,
                      total_steps=total, strategy=prepared.strategy, use_loop=False, xla=prepared.xla,
                      whole_batch=prepared.task.whole_batch, halves=prepared.halves)
    feed, losses, done = make_feed(prepared, built.model), {}, 0
    console.start("learning rates", total)
    while done < total:
        trainer.train_dataset, _ = feed.take(done, done + 1)
        made = {name: float(value) for name, value in trainer.train(tf.constant(1)).items()}
        if made.get("updates", 1) and math.isfinite(made["loss"]):  # float16 skips a step that overflows
            losses[done] = made["loss"]
        done += 1
        console.advance(done, f"rate {made['learning_rate']:.1e}  loss {made['loss']:.4f}")
        if int(trainer.first_bad_step.numpy()) >= 0 or beyond(smooth([*losses.values()]), total):
            break
    console.stop()
    return losses, done


def smooth(losses) -> np.ndarray:
    """float[n]: the mean of each loss and those before it, which count less the longer ago they were.

    [1, 2] -> [1, (0.9 x 1 + 2) / 1.9]
    """
    weights = SMOOTHING ** np.arange(len(losses))
    return np.array([np.dot(weights[:i + 1][::-1], losses[:i + 1]) / weights[:i + 1].sum() for i in range(len(losses))])


def beyond(smoothed: np.ndarray, total: int) -> bool:
    """Whether the loss has left for good."""
    return len(smoothed) > AWAY * total and bool(smoothed[-1] > BEYOND * max(smoothed.min(), 1e-3))


def judge(rates: np.ndarray, losses: np.ndarray) -> Found:
    """What the losses at some rates say."""
    smoothed = smooth(losses)
    place = int(smoothed.argmin())
    if place < 2 or smoothed[place] > FALLEN * smoothed[:max(1, len(losses) // 10)].mean():
        return Found(rates, losses, smoothed, None, None)
    reach = max(1, min(len(losses) // 20, place // 2))  # to both sides: from one step to the next it is noise
    falls = smoothed[2 * reach:place + 1] - smoothed[:place + 1 - 2 * reach]
    return Found(rates, losses, smoothed, float(rates[reach + int(falls.argmin())]), float(rates[place]))


def advised(found: Found, ended: bool) -> str:
    """What to make of it."""
    end = f" At {found.rates[-1]:.1e} it was beyond bounds, and the test ended." if ended else ""
    if found.steepest is None or found.lowest is None:
        return (f"The loss falls at no rate.{end} Look at the labels (tfft plan), give it more --steps, or other rates "
                "(--lowest, --highest).")
    low, high = sorted((found.steepest, found.lowest / 10))
    return (f"The loss falls fastest at {found.steepest:.1e} and is lowest at {found.lowest:.1e}.{end}\nTry "
            f"--config.train.peak_learning_rate={low:.0e}" + (f" to {high:.0e}" if f"{low:.0e}" != f"{high:.0e}" else "")
            + ": a tenth of the rate with the lowest loss, and that where it falls fastest. A range test sees the first steps "
            "alone, and long runs take less.")


def drawn(found: Found) -> str:
    """The plot for a terminal: rates to the right, logarithmically."""
    shown = np.interp(np.linspace(0, len(found.rates) - 1, WIDTH), np.arange(len(found.rates)), found.smoothed)
    low, high = float(shown.min()), float(shown.max())
    rows = np.round((high - shown) / max(high - low, 1e-9) * (HEIGHT - 1)).astype(int)
    lines = []
    for row in range(HEIGHT):
        label = f"{high - (high - low) * row / (HEIGHT - 1):9.4f}" if row in (0, HEIGHT // 2, HEIGHT - 1) else " " * 9
        lines.append(f"{label} |" + "".join("*" if at == row else " " for at in rows))
    first, last = f"{found.rates[0]:.1e}", f"{found.rates[-1]:.1e}"
    return "\n".join([*lines, " " * 10 + "+" + "-" * WIDTH, " " * 11 + first + last.rjust(WIDTH - len(first))])


def write(found: Found, target: Path) -> None:
    """As a table, or as a picture, by the file's suffix."""
    if target.suffix == ".svg":
        write_text(target, picture(found))
    elif target.suffix == ".json":
        values = {name: values.tolist() for name, values in zip(("rates", "losses", "smoothed"), found[:3], strict=True)}
        write_text(target, json.dumps({"steepest": found.steepest, "lowest": found.lowest, **values}, indent=1) + "\n")
    else:
        with open(target, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("rate", "loss", "smoothed"))
            writer.writerows(zip(*(values.tolist() for values in found[:3]), strict=True))


def picture(found: Found) -> str:
    """The plot as SVG, light or dark as its page is."""
    width, height, left, bottom = 640, 360, 60, 40
    logs, values = np.log10(found.rates), found.smoothed
    low, high = float(values.min()), float(min(values.max(), np.quantile(found.losses, 0.98)))

    def place(log: float, value: float) -> str:
        x = left + (log - logs[0]) / max(logs[-1] - logs[0], 1e-9) * (width - left - 20)
        y = 20 + (high - min(max(value, low), high)) / max(high - low, 1e-9) * (height - bottom - 30)
        return f"{x:.1f},{y:.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             "<style>svg{color:#222;background:#fff}@media(prefers-color-scheme:dark){svg{color:#ddd;background:#161616}}</style>",
             f'<g stroke="currentColor" fill="none"><path d="M{left} 20V{height - bottom}H{width - 20}"/></g>']
    for power in range(math.ceil(logs[0] - 1e-9), math.floor(logs[-1] + 1e-9) + 1):
        x = place(power, low).split(",")[0]
        parts.append(f'<text x="{x}" y="{height - bottom + 18}" text-anchor="middle" fill="currentColor">1e{power}</text>')
    for value in np.linspace(low, high, 5):
        y = place(logs[0], value).split(",")[1]
        parts.append(f'<text x="{left - 8}" y="{y}" text-anchor="end" fill="currentColor">{value:.3f}</text>')
    dots = [place(*one).split(",") for one in zip(logs, found.losses, strict=True)]
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="1.5"/>' for x, y in dots)
    line = " ".join(place(*one) for one in zip(logs, values, strict=True))
    parts += [f'<g fill="#888">{dots}</g>', f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-width="2"/>']
    for rate, name, top in ((found.steepest, "falls fastest", 14), (found.lowest, "lowest", 30)):
        if rate:
            x = place(math.log10(rate), low).split(",")[0]
            parts.append(f'<path d="M{x} 20V{height - bottom}" stroke="#d62728" stroke-dasharray="4"/>'
                         f'<text x="{x}" y="{top}" text-anchor="middle" fill="currentColor">{name}: {rate:.1e}</text>')
    label = f'<text x="{width // 2}" y="{height - 4}" text-anchor="middle" fill="currentColor">learning rate; loss</text>'
    return "\n".join([*parts, label, "</svg>\n"])
