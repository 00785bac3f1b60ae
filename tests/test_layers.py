"""Imports inside tfft point down the layers, never up, and never between two packages of one layer; what is one task's own
stays in its folder."""

import ast
import pathlib
import re

TFFT = pathlib.Path(__file__).parent.parent / "tfft"
# Lowest first. What is not named here is an entry module: a single file on top of all.
LAYERS = [{"errors"}, {"files"}, {"behaviour", "config", "converters", "notebook"}, {"assets"}, {"data", "models"}, {"vectors"},
          {"tasks"}, {"checks", "training"}, {"evaluation", "tpu"}, {"pages"}, {"explaining"}, {"run"},
          {"serving", "tuning"}, {"folds"}]
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
TOP = len(LAYERS)
COMMON = ("texts",)  # what several tasks are made of
TASKS = sorted(path.name for path in (TFFT / "tasks").iterdir() if path.is_dir() and path.name not in ("__pycache__", *COMMON))
# Words of text classification that nobody else may know.
OWN = re.compile(r"\b(single_label|multi_label|regression|problem)\b")


def imported(path: pathlib.Path):
    """The modules and names of tfft that a file imports: 'from tfft.data import plan' -> ('data', 'plan')."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write the whole name instead of a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (tuple(name.split(".")[1:]) for name in names if name.startswith("tfft."))


def breaches(part: str, others) -> list[str]:
    """[data], [models] -> ['data imports models']."""
    level = LEVEL.get(part, TOP)
    allowed = [o for o in others if LEVEL.get(o, TOP) < level or o == part or o == "__version__" or level == TOP]
    return [f"{part} imports {o}" for o in others if o not in allowed]


def task_breaches(task: str, others) -> list[str]:
    """What a task's folder imports of other tasks, or of what is made of all: it knows tasks.base, what is common, itself."""
    return [f"{task} imports {'.'.join(other[:2])}" for other in others
            if other[0] == "tasks" and other[1:2] not in (("base",), (task,), *((name,) for name in COMMON))]


def test_imports_point_down():
    files = sorted(TFFT.rglob("*.py"))
    assert len(files) > 5
    names = [path.relative_to(TFFT).with_suffix("") for path in files]
    found = [f"{n}: {breach}" for n, path in zip(names, files)
             for breach in breaches(n.parts[0], [other[0] for other in imported(path)])]
    assert not found, "\n".join(found)


def test_every_folder_has_a_layer():
    folders = {path.relative_to(TFFT).parts[0] for path in TFFT.rglob("*.py") if path.parent != TFFT}
    assert folders <= LEVEL.keys()


def test_a_task_knows_no_other_task():
    assert "text_classification" in TASKS
    for task in (*TASKS, *COMMON):
        files = sorted((TFFT / "tasks" / task).rglob("*.py"))
        found = [f"{path.name}: {breach}" for path in files for breach in task_breaches(task, imported(path))]
        assert files and not found, "\n".join(found)


def test_only_the_tables_know_all_tasks():
    for path in (TFFT / "tasks").glob("*.py"):
        of_tasks = {other[1] for other in imported(path) if other[0] == "tasks" and other[1] in TASKS}
        assert not of_tasks or path.name in ("table.py", "fields.py", "guesses.py"), path
    for path in TFFT.rglob("*.py"):
        if path.relative_to(TFFT).parts[0] != "tasks":
            assert not [other for other in imported(path) if other[0] == "tasks" and other[1] in TASKS], path


def test_words_of_one_task_are_in_its_folder_alone():
    files = [path for path in TFFT.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    own = [TFFT / "config", TFFT / "tasks" / "text_classification"]
    others = [path for path in files if not any(folder in path.parents for folder in own)]
    assert len(files) > len(others) > 50
    found = [f"{path.relative_to(TFFT)}: {OWN.search(text)[0]}" for path in others
             if OWN.search(text := path.read_text("utf-8"))]
    assert not found, "\n".join(found)
    assert OWN.search(" problem:") and not OWN.search("problems, logistic_regression")


def test_no_function_is_converted_by_autograph():
    """It takes as long as tracing does, at every start of every command, and nothing here needs it: loops and conditions of
    graphs are tf.while_loop and tf.cond."""
    nodes = [node for path in TFFT.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    calls = [ast.unparse(n) for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "tf.function"]
    assert len(calls) > 10 and not [call for call in calls if "autograph=False" not in call]
    assert "tf.function" not in {ast.unparse(d) for n in nodes if isinstance(n, ast.FunctionDef) for d in n.decorator_list}


def test_breaches_are_seen(tmp_path):
    assert breaches("data", ["errors", "config", "data"]) == []
    assert breaches("data", ["models"]) == ["data imports models"]
    assert breaches("config", ["tasks", "train"]) == ["config imports tasks", "config imports train"]
    assert breaches("run", ["evaluation", "serving"]) == ["run imports serving"]
    assert breaches("train", ["serving", "__main__"]) == []
    (tmp_path / "a.py").write_text("import tfft.tasks.two.task\nfrom tfft.tasks import base, table\n"
                                   "from tfft.tasks.one import task\nimport numpy\nfrom tfft import config\n")
    assert list(imported(tmp_path / "a.py")) == [("tasks", "two", "task"), ("tasks", "base"), ("tasks", "table"),
                                                 ("tasks", "one", "task"), ("config",)]
    assert task_breaches("one", imported(tmp_path / "a.py")) == ["one imports tasks.two", "one imports tasks.table"]
