"""The training curve of a run: in the console, in TensorBoard and in metrics.jsonl."""

from collections.abc import Callable

from tfft.run.tracking import Tracking
from tfft.run.workdir import Workdir
from tfft.training.summaries import Board, Console


class Curve:
    """every: steps between two points. tokens: (first step, last) -> (examples, real tokens, token positions). means: of the
    trainer's outputs, those that are means over steps. tracking: who is told besides."""

    def __init__(self, console: Console, board: Board, workdir: Workdir, every: int, total_steps: int,
                 tokens: Callable[[int, int], tuple[int, int, int]], tracking: Tracking,
                 means: tuple[str, ...] = ("loss", "gradient_norm")):
        self._console, self._board, self._workdir = console, board, workdir
        self._every, self._total, self._tokens, self._means = every, total_steps, tokens, means
        self._tracking = tracking
        self._reset_window()

    def _reset_window(self) -> None:
        """Begins to add up the steps of one point in TensorBoard."""
        self._window = {"examples": 0, "tokens": 0, "padded": 0, "seconds": 0.0, "updates": 0,
                        **dict.fromkeys(self._means, 0.0)}

    def after_steps(self, first: int, step: int, output: dict[str, float], seconds: float) -> None:
        """A hook of the loop."""
        window, steps = self._window, step - first
        examples, tokens, padded = self._tokens(first, step)
        updates = int(output.get("updates", steps))  # float16 skips some; loss and norm are means over the others
        for name in self._means:
            window[name] += output[name] * updates
        for name, value in (("examples", examples), ("tokens", tokens), ("padded", padded), ("seconds", seconds),
                            ("updates", updates)):
            window[name] += value
        if step % self._every < steps or step == self._total:
            self._point(step, output)
        rate = tokens / max(seconds, 1e-9)
        note = f"loss {output['loss']:.4f}" if updates else "no update"
        if output.get("skipped_steps"):
            note += f"  {output['skipped_steps']:,.0f} steps skipped, loss scale {output['loss_scale']:,.0f}"
        self._console.advance(step, f"{note}  {rate:,.0f} tokens/s")

    def _point(self, step: int, output: dict[str, float]) -> None:
        w = self._window
        values = {name: w[name] / w["updates"] for name in self._means if w["updates"]}
        values |= {name: output[name] for name in ("loss_scale", "skipped_steps") if name in output}
        values |= {
            "learning_rate": output["learning_rate"], "tokens_per_second": w["tokens"] / w["seconds"],
            "examples_per_second": w["examples"] / w["seconds"], "padding_waste": 1 - w["tokens"] / w["padded"]}
        self._board.scalars("train", step, values)
        self._tracking.log("train", step, values)
        self._workdir.append_metrics({"step": step, "kind": "train", **values, "tokens": w["tokens"],
                                      "seconds": w["seconds"]})
        self._reset_window()

    def flush(self) -> None:
        """Everything told so far can be read where the work directory is."""
        self._board.flush()
        self._workdir.flush()
        self._console.flush()
