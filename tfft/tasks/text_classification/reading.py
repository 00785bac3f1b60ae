"""How rows to classify become examples, and how they are augmented."""

from collections.abc import Iterator
from pathlib import Path

from tfft.config import Experiment, TextClassificationData
from tfft.data.augment import augment, vocabulary_of
from tfft.data.mixture import turns
from tfft.data.prepare import Reading, Split
from tfft.data.sources import Row
from tfft.data.tokenize import TextEncoder, TextTokenizer
from tfft.tasks.text_classification.pattern import PatternTokenizer
from tfft.tasks.text_classification.rows import label_columns, row_fields


def make_reading(experiment: Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
    """The tokenizer in an experiment's settings, shared by training, evaluation, prediction and the export."""
    data = experiment.data
    pairs = bool(data.text_pair_column)
    given = {"max_length": data.max_length, "truncation": data.truncation, "head_fraction": data.head_fraction, "pairs": pairs}
    pattern = experiment.task.pattern
    texts = PatternTokenizer(tokenizer, pattern, **given) if pattern else TextTokenizer(tokenizer, **given)
    fraction = data.head_fraction if data.truncation == "head_tail" else None
    return Reading(row_fields(experiment, cache), TextEncoder(texts, ("text", "text_pair") if pairs else ("text",)),
                   label_columns, int(tokenizer.vocabulary_size()),
                   [fingerprint, data.truncation, fraction, *([pattern] if pattern else [])],
                   augmented=(lambda split, epoch: _augmented(split, epoch, data)) if data.augmentation.enabled else None,
                   augmentation=data.augmentation)


def _augmented(split: Split, epoch: int, data: TextClassificationData) -> Iterator[Row]:
    base = split.store
    some = split.rows[::-(-len(split.rows) // 2000)]  # spread evenly: files are often sorted by label
    vocabulary = vocabulary_of([base.string("text", row) for row in some])
    for row, turn in zip(split.rows, turns(split.rows, epoch).tolist(), strict=True):
        text = augment(base.string("text", row), data.augmentation, vocabulary, epoch=turn, row=int(row))
        others = {name: base.string(name, row) for name in base.fields if name != "text"}
        yield Row(base.string("id", row), {"text": text, **others, "label": None}, "", int(row), {})
