"""What reads a file of each kind into records, by name: so that another process can be told."""

from collections.abc import Iterator

from tfft.data import conll, formats
from tfft.data.formats import Broken, Record


def _table(sentence_column: str, **arguments) -> Iterator[Record | Broken]:
    records = formats.read(**arguments)
    return conll.token_table(records, sentence_column) if sentence_column else records


def _props(**arguments) -> Iterator[Record | Broken]:
    return conll.props_records(conll.read(**arguments))


def _squad(**arguments) -> Iterator[Record | Broken]:
    return formats.read("squad", **arguments)


READERS = {"table": _table, "conll": conll.read, "props": _props, "squad": _squad}
