"""The configs that come with tfft, by name: "imdb:quick". In the repository they lie in the folder configs."""

import difflib
import runpy
from pathlib import Path

from tfft.errors import UserError, unknown

FOLDER = Path(__file__).parent.parent / "configs"


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def find(spec: str) -> str:
    """The config file that FILE.py[:VARIANT] or NAME[:VARIANT] names: "imdb:quick" -> ".../configs/imdb.py:quick".

    Raises: UserError where there is none.
    """
    path, colon, variant = spec.partition(":")
    if Path(path).is_file():
        return spec
    if path == Path(path).name and not path.endswith(".py"):
        if path not in names():
            raise UserError(f"{unknown('config', path, names())} A file of your own is named with its .py.")
        return f"{FOLDER / path}.py{colon}{variant}"
    folder = Path(path).parent
    near = difflib.get_close_matches(Path(path).name, [p.name for p in folder.glob("*.py")], n=1, cutoff=0.3)
    known = Path(path).stem
    raise UserError(f"There is no config file {path}."
                    f"{f' Did you mean {folder / near[0]}?' if near else ''} (looked in {folder.resolve()})"
                    f"{f' The one that comes with tfft is {known}{colon}{variant}.' if known in names() else ''}")


def load(spec: str):
    """The ConfigDict of FILE.py[:VARIANT] or NAME[:VARIANT]. Raises: UserError where there is none."""
    path, _, variant = find(spec).partition(":")
    made = runpy.run_path(path)
    if "get_config" not in made:
        raise UserError(f"{path} defines no get_config(variant).")
    return made["get_config"](variant)
