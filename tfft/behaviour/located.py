"""YAML whose values know their line, so that a mistake in it can be told with one. Read by PyYAML's safe loader."""

from typing import Any

import yaml

from tfft.errors import UserError, unknown
from tfft.files import to_path


class Section(dict):
    """A mapping of a YAML file: where it begins and where each of its keys stands."""

    place = ""
    places: dict[str, str] = {}

    def fail(self, key: str, what: str):
        """Raises: UserError about one of its keys, or about all of it where the key is ''."""
        raise UserError(f"{self.places.get(key, self.place)}: {key and f'{key}: '}{what}")

    def check(self, what: str, known: tuple[str, ...]) -> None:
        """Raises: UserError where a key is none of `known`."""
        for key in self:
            if key not in known:
                raise UserError(f"{self.places[key]}: {unknown(f'key of {what}', key, known)}")


class _Loader(yaml.SafeLoader):
    """The safe loader, whose mappings are Sections."""


def _section(loader: _Loader, node: yaml.MappingNode):
    made = Section()
    yield made
    loader.flatten_mapping(node)
    made.place, made.places = _place(loader, node), {}
    for key, value in node.value:
        name = loader.construct_object(key, deep=True)
        if not isinstance(name, (str, int, float, bool)):
            raise UserError(f"{_place(loader, key)}: a name is expected here, not {name!r:.40}.")
        name = name if isinstance(name, str) else key.value  # `no:` is a name as it is written
        if name in made:
            raise UserError(f"{_place(loader, key)}: {name} is there twice.")
        made[name], made.places[name] = loader.construct_object(value, deep=True), _place(loader, key)


def _place(loader: _Loader, node: yaml.Node) -> str:
    return f"{loader.name}, line {node.start_mark.line + 1}"


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _section)


def read_yaml(path: str) -> Section:
    """The mapping that a file is. Raises: UserError with the line where it is none."""
    try:
        text = to_path(path).read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    loader = _Loader(text)
    loader.name = path
    try:
        made: Any = loader.get_single_data()
    except yaml.YAMLError as error:
        why, mark = error.args[2:4] if isinstance(error, yaml.MarkedYAMLError) else (str(error), None)
        raise UserError(f"{path}{f', line {mark.line + 1}' if mark else ''}: this is no YAML: {why}.") from error
    except ValueError as error:  # of a value that looks like a date or a number and is none
        raise UserError(f"{path}: a value is none of the kind that it looks like: {error}. Write texts such as 2026-02-30 in "
                        "quotes.") from error
    finally:
        loader.dispose()
    if not isinstance(made, Section):
        raise UserError(f"{path}: it has no keys. Write tests: and below it a list, as docs/behaviour.md shows.")
    return made
