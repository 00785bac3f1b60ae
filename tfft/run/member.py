"""One task of a training run, mostly the only one: its rows, its model, what judges it, and the folder that is its product."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfft.data.prepare import Split
from tfft.evaluation.evaluator import Evaluator
from tfft.run.assembly import Built, Prepared
from tfft.run.baseline import compared
from tfft.run.mixture_table import mixture_table
from tfft.run.projector import project
from tfft.run.report import PAGE, Subject, tell
from tfft.run.workdir import Run, Workdir, open_run, save_parts
from tfft.tasks.base import Report, Wanted
from tfft.training.hosts import Hosts
from tfft.training.summaries import Board, Console, markdown, table
from tfft.training.weights import save_weights


@dataclasses.dataclass
class Member:
    """built and evaluator are there when they have been made; an evaluator where there are validation rows."""

    workdir: Workdir
    prepared: Prepared
    built: Built | None = None
    evaluator: Evaluator | None = None
    judged: Split | None = None  # the evaluator's rows
    best: tuple[int, Report] | None = None  # the step of the best weights, and what this process found of them

    @property
    def stores(self) -> dict[str, str]:
        """The token stores' fingerprints by split."""
        return {name: split.store.folder.name for name, split in self.prepared.splits.items()}

    def describe_data(self) -> list[str]:
        prepared, rows = self.prepared, []
        for name, split in prepared.splits.items():
            lengths = split.full_lengths
            cut = (lengths > prepared.experiment.data.max_length).mean()
            rows.append((name, len(split.rows), f"{split.lengths.sum() / len(split.rows):.0f}", f"{cut:.1%}"))
        mixture = [mixture_table(prepared)] if prepared.splits["train"].sources else []
        learnt = prepared.task.describe()
        return [table(rows, ("split", "rows", "tokens a row", "over max_length")), *mixture, *([learnt] if learnt else [])]

    def save_parts(self) -> None:
        """What the model is rebuilt from."""
        save_parts(self.workdir, self.prepared.tokenizer, self.built.backbone_description, self.prepared.task.learnt)

    def make_evaluator(self, split: Split, hosts: Hosts, progress: Callable[[int, int], None], forward: Any = None,
                       hidden: Any = None) -> None:
        """Of the validation rows, as they are judged. forward, hidden: see Evaluator."""
        prepared, self.judged = self.prepared, split
        self.evaluator = Evaluator(
            self.built.model, prepared.task, split.store, split.rows, pad_id=prepared.pad_id,
            batch_size=prepared.experiment.eval.global_batch_size, max_length=prepared.experiment.data.max_length,
            strategy=prepared.strategy, tune=prepared.task.tunes, progress=progress, xla=prepared.xla, hosts=hosts,
            sources=split.sources, forward=forward, hidden=hidden)

    def save_weights(self, which: str, step: int, metrics: dict[str, float]) -> None:
        """Writes the 'best' or the 'last' weights, with what was tuned with them."""
        tuned = self.evaluator.report.tuned if self.evaluator else None
        if which == "best":
            self.best = step, self.evaluator.report
        save_weights(self.workdir.weights(which), self.built.model.variables, {
            "step": str(step), "metrics": json.dumps(metrics), "tuned": json.dumps(tuned)})

    def show_report(self, board: Board, step: int, prefix: str = "") -> None:
        """The last evaluation's tables and mistakes in TensorBoard."""
        report = self.evaluator.report
        board.text("validation", step, f"{prefix}wrong_answers",
                   markdown(report.mistakes, ("row", "text", "label", "answer")) if report.mistakes else "none")
        for part in report.tables:
            board.text("validation", step, f"{prefix}{part.title}", markdown(part.lines, part.header))

    def leave(self, console: Console, evaluated: int, compared: str, board: Path) -> None:
        """Writes what people look at, of the weights that are used, or where this process has not judged these of those that it
        judged last, at the step `evaluated`: the run's page, and vectors beside the events of a board. Nothing where there are
        validation rows and it judged none."""
        prepared, evaluation, used, which = self.prepared, self.prepared.experiment.eval, None, "last"
        if self.evaluator:
            if self.evaluator.report is None:
                return
            best = self.best if prepared.experiment.export.weights == "best" else None
            used, which = best or (evaluated, self.evaluator.report), "best" if best else "last"
            used[1].details["compared"] = compared
        opened = functools.cache(lambda: open_run(self.workdir.path, which))

        def explained() -> Run:
            prepared.task.explained(prepared.preparer.reading.encoder, Wanted())  # or refused, before a model is opened
            return opened()

        if evaluation.report:
            self.workdir.flush()
            tell(lambda: Subject(self.workdir, prepared.experiment, prepared.task, "validation", *(used or (0, None)),
                                 self.judged, prepared.splits, explained), [self.workdir.path / PAGE], console)
        if evaluation.projector and used:
            project(opened, self.workdir.path.name, self.judged, used[1], evaluation.projector, board / "validation", console)

    def describe_batch(self, step: int) -> str:
        store = self.prepared.splits["train"].store
        rows = store.row_of(self.prepared.epochs.step_examples(step))
        shown = ", ".join(f"{store.string('id', r)} ({store.place(r)})" for r in rows[:32])
        return f"{len(rows)} rows: {shown}{' ...' if len(rows) > 32 else ''}"

    def compared(self, value: float) -> str:
        """Whether weights that reach a value of eval.metric are better than simple methods; '' where nothing is to be said."""
        prepared, validation = self.prepared, self.prepared.splits.get("validation")
        if validation is None or not prepared.experiment.eval.baseline:
            return ""
        return compared(self.workdir, prepared.experiment, prepared.task, prepared.splits["train"], validation,
                        {prepared.experiment.eval.metric: value})
