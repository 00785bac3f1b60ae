"""How a mixture's epochs are drawn, for a person."""

from tfft.run.assembly import Prepared, drawn
from tfft.training.summaries import table


def mixture_table(prepared: Prepared) -> str:
    """The sources: training rows, rate, rows of an epoch, how often an epoch and the run go over them; rows that judge."""
    splits = prepared.splits
    drawing = drawn(splits["train"], prepared.experiment.data, prepared.epochs.settings.seed)
    epochs = prepared.total_steps / prepared.epochs.num_batches(0) if prepared.experiment.train.steps else prepared.num_epochs
    others = {name: {source: len(rows) for source, rows in split.by_source().items()}
              for name, split in splits.items() if name != "train"}
    lines = [(part.name, f"{part.rows:,}", f"{part.rate:.1%}", f"{part.drawn:,}", f"{part.passes:.2f}",
              f"{part.passes * epochs:.2f}", *(f"{counts.get(part.name, 0):,}" for counts in others.values()))
             for part in drawing.parts]
    total = "all", f"{sum(part.rows for part in drawing.parts):,}", "", f"{drawing.drawn:,}", "", "", *(
        f"{sum(counts.values()):,}" for counts in others.values())
    return table([*lines, total], ("source", "training rows", "rate", "rows an epoch", "passes an epoch", "passes in all",
                                   *(f"{name} rows" for name in others)))
