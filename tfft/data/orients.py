"""The rows of a JSON document that is one object: of columns, or as pandas' DataFrame.to_json writes it."""

from typing import Any

from tfft.errors import UserError

SPLIT = {"columns", "index", "data", "index_names", "column_names"}

def rows(value: dict, path: str, key: str) -> tuple[list[dict] | None, str]:
    """(the rows of a lone object, or itself as the only one; a word about how it was read, or '').

        {"text": ["a", "b"], "label": [0, 1]}                           columns
        {"columns": ["text"], "index": [0], "data": [["a"]]}            pandas' orient split
        {"schema": {"fields": [...]}, "data": [{"text": "a"}]}          table
        {"text": {"0": "a", "1": "b"}, "label": {"0": 0, "1": 1}}       columns, its default
        {"0": {"text": "a", "label": 0}, "1": {...}}                    index

    Raises: UserError where a member must be picked.
    """
    where = f"{path}{'#' + key if key else ''}"
    data = value.get("data")
    if isinstance(data, list) and isinstance(value.get("columns"), list) and not set(value) - SPLIT:
        return _split(value["columns"], data, where), ""
    if isinstance(data, list) and isinstance(value.get("schema"), dict) and "fields" in value["schema"]:
        return data, ""
    if found := _nested(value, where):
        return found
    return _columns(value, where, path, key), ""


def _split(columns: list, data: list, where: str) -> list[dict]:
    names = [" ".join(map(str, name)) if isinstance(name, list) else str(name) for name in columns]
    for number, row in enumerate(data, 1):
        if not isinstance(row, list) or len(row) != len(names):
            raise UserError(f"{where}: row {number} of its member 'data' does not have the {len(names)} values that its member "
                            "'columns' names. Mend the file.")
    return [dict(zip(names, row)) for row in data]


def _nested(value: dict, where: str) -> tuple[list[dict], str] | None:
    """The rows of an object of objects: of columns by row, or of rows by column; None for another."""
    if len(value) < 1 or not all(isinstance(inner, dict) and inner for inner in value.values()):
        return None
    if not any(not isinstance(cell, (dict, list)) for inner in value.values() for cell in inner.values()):
        return None
    inner_names = list(dict.fromkeys(name for inner in value.values() for name in inner))
    same = all(inner.keys() == next(iter(value.values())).keys() for inner in value.values())
    inner_numbers, outer_numbers = all(map(str.isdigit, inner_names)), all(map(str.isdigit, value))
    if inner_numbers and not outer_numbers:
        by_column = True
    elif outer_numbers and not inner_numbers:
        by_column = False
    elif same and len(value) != len(inner_names):  # rows are more than columns
        by_column = len(value) < len(inner_names)
    else:
        return None
    if by_column:
        made = [{column: cells[row] for column, cells in value.items() if row in cells} for row in inner_names]
        return made, f"it is read as columns ({', '.join(list(value)[:5])}) of rows, which is pandas' orient columns"
    return list(value.values()), f"it is read as rows of columns ({', '.join(inner_names[:5])}), which is pandas' orient index"


def _columns(value: dict, where: str, path: str, key: str) -> list[dict] | None:
    lists: dict[str, Any] = {name: v for name, v in value.items() if isinstance(v, list)}
    nested = [name for name, v in lists.items() if v and all(isinstance(x, (dict, list)) for x in v)]
    if len(lists) == len(value) and len({len(v) for v in lists.values()}) == 1 and len(nested) < len(lists):
        return [dict(zip(value, row)) for row in zip(*value.values())]
    if nested or key:
        pick = "train" if "train" in value else (nested or list(value) or ["NAME"])[0]
        raise UserError(f"{where} is an object with the members {', '.join(value)}. Pick the one that holds the rows, "
                        f"e.g. json:{path}#{key}{'/' if key else ''}{pick}.")
    if len(lists) == len(value) and len(lists) > 1:
        lengths = ", ".join(f"{name} {len(v)}" for name, v in lists.items())
        raise UserError(f"{where} is an object of columns of different lengths: {lengths}. Mend the file.")
    return [value]
