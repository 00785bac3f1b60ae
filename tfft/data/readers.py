"""What reads a file of each kind into records, by name: so that another process can be told."""

from collections.abc import Iterator

from tfft.data import conll, formats, plain
from tfft.data.records import Broken, Note, Record
from tfft.data.token_table import token_table


def _table(sentence_column: str, **arguments) -> Iterator[Record | Broken | Note]:
    records = formats.read(**arguments)
    return token_table(records, sentence_column) if sentence_column else records


def _props(**arguments) -> Iterator[Record | Broken | Note]:
    return conll.props_records(conll.read(**arguments))


def _squad(**arguments) -> Iterator[Record | Broken | Note]:
    return formats.read("squad", **arguments)


READERS = {"table": _table, "conll": conll.read, "props": _props, "squad": _squad, "text": plain.read_lines,
           "files": plain.read_files}
