"""Encoder-decoders that read one text and write another: summaries, translation. Settings, columns, metrics and rules."""

import dataclasses

from tfft.config import groups, writing
from tfft.config.groups import TaskConfig, no_calibration
from tfft.config.schema import setting
from tfft.config.writing import Writing
from tfft.errors import UserError


@dataclasses.dataclass(frozen=True)
class Seq2SeqData(groups.Data):
    """Which column is what."""

    max_length: int = setting(256, "longest source in tokens, special tokens included; a longer one loses its end", low=8)
    max_target_length: int = setting(128, "longest target in tokens, the one that ends it included; a longer one loses its end",
                                     low=2)
    source_column: str = setting("source", "column of the text that is read", own=True)
    target_column: str = setting("target", "column of the text that is written", own=True)
    prefix: str = setting("", "what is put before every source, such as 'summarize: ' for T5; '' for nothing", own=True)


@dataclasses.dataclass(frozen=True)
class Seq2Seq(Writing):
    """A text is learnt that follows from another one."""

    name: str = setting("seq2seq", "the task", choices=("seq2seq",))
    decoder_layers: int = setting(0, "an encoder that gets a decoder made of its own layers: of so many; 0: as many as it has. "
                                     "BART and T5 have theirs", low=0)


def _check(e) -> None:
    data = e.data
    for name in ("source_column", "target_column"):
        if not getattr(data, name):
            raise UserError(f"config.data.{name} is empty: a row needs a source and its target.")
    if data.source_column == data.target_column:
        raise UserError(f"config.data.source_column and target_column are both {data.source_column!r}.")
    writing.check(e.task)


CONFIG = TaskConfig(settings=Seq2Seq, data=Seq2SeqData, metrics=writing.metrics, fill=lambda e: e, check=_check,
                    check_calibration=no_calibration("an encoder-decoder is judged by its perplexity"),
                    lower_is_better=writing.LOWER_IS_BETTER, head=("decoder_layers",))
