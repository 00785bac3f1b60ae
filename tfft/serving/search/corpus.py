"""The documents of a corpus, (id, text) each: of any source with a column for either. Imports no TensorFlow."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from tfft.config import Data
from tfft.data import fields
from tfft.data.beir import IDS
from tfft.data.collections import SCHEMES
from tfft.data.fields import Field
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.run.other_rows import OWN_FLAGS, by_its_own_rule, with_flags


class Corpus:
    """The rows of a source, or what a collection (beir:FOLDER, trec:FOLDER) has.

    id_column: where it is '', that is "_id" or "id", where there is one, or the row's number. data: as the run's own rows are
    read; reading: settings of config.data that say how these files are. Raises: UserError.
    """

    def __init__(self, spec: str, data: Data, cache: Path, *, id_column: str, text_column: str, reading: dict[str, str],
                 say: Callable[[str], None]):
        self.spec, self.text_column, self.reading = spec, text_column, reading
        spec = f"documents:{spec.strip()}" if spec.strip().partition(":")[0] in SCHEMES else spec
        columns = (Field("text", "text_column", text_column, fields.text),)
        data = dataclasses.replace(data, where="", id_column=id_column, group_column="", on_broken_row="skip")
        with own_flags():
            data = by_its_own_rule(data, spec, columns, cache, True, reading, say)
            first = next(Source(spec, data, columns, cache).rows(True), None)
            if not id_column and first:
                id_column = next((name for name in IDS if name in first.record), "")
            self.id_column = id_column
            self._source = Source(spec, dataclasses.replace(data, id_column=id_column), columns, cache)

    def documents(self) -> Iterator[tuple[str, str]]:
        with own_flags():
            for number, row in enumerate(self._source.rows(True), 1):
                yield row.id if self.id_column else str(number), row.values["text"]

    def fingerprint(self) -> str:
        return self._source.fingerprint()

    def told(self) -> list[str]:
        """What a user should know of the documents that were read."""
        return self._source.told()


@contextlib.contextmanager
def own_flags() -> Iterator[None]:
    """Tells the block's UserErrors about settings of config.data by the flags of the same names."""
    try:
        yield
    except UserError as error:
        raise UserError(with_flags(str(error), f"{OWN_FLAGS}|text_column|id_column")) from error
