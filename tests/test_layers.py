"""Imports inside tfft point down the layers, never up, and never between two packages of one layer."""

import ast
import pathlib

TFFT = pathlib.Path(__file__).parent.parent / "tfft"
# Lowest first. What is not named here is an entry module: a single file on top of all.
LAYERS = [{"errors"}, {"config", "files"}, {"assets"}, {"data", "models"}, {"tasks"}, {"training"}, {"workdir"},
          {"evaluation", "tpu"}, {"serving"}]
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
TOP = len(LAYERS)


def imported(path: pathlib.Path):
    """The parts of tfft that a file imports: 'from tfft.data import plan' -> 'data'."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write the whole name instead of a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("tfft."))


def breaches(part: str, others) -> list[str]:
    """[data], [models] -> ['data imports models']."""
    level = LEVEL.get(part, TOP)
    allowed = [o for o in others if LEVEL.get(o, TOP) < level or o == part or o == "__version__" or level == TOP]
    return [f"{part} imports {o}" for o in others if o not in allowed]


def test_imports_point_down():
    files = sorted(TFFT.rglob("*.py"))
    assert len(files) > 5
    names = [path.relative_to(TFFT).with_suffix("") for path in files]
    found = [f"{n}: {breach}" for n, path in zip(names, files) for breach in breaches(n.parts[0], imported(path))]
    assert not found, "\n".join(found)


def test_every_folder_has_a_layer():
    folders = {path.relative_to(TFFT).parts[0] for path in TFFT.rglob("*.py") if path.parent != TFFT}
    assert folders <= LEVEL.keys()


def test_breaches_are_seen():
    assert breaches("data", ["errors", "config", "data"]) == []
    assert breaches("data", ["models"]) == ["data imports models"]
    assert breaches("config", ["tasks", "train"]) == ["config imports tasks", "config imports train"]
    assert breaches("train", ["serving", "__main__"]) == []
