"""A tiny backbone with a tiny vocabulary, on disk as a user's own preset folder would be."""

import collections
import gc
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "fine", "poor", "film", "a", "the", "##s", ",", "."]


def pytest_addoption(parser) -> None:
    parser.addoption("--product", action="store_true", help="test_adapter_run.py: every task with every method")


def pytest_collection_modifyitems(items) -> None:
    """Files with slow tests come first: of two processes that take file by file (tools/test) neither then waits for the other's
    last one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter, config) -> None:
    """With --durations, as CI runs: which files take the time."""
    seconds = collections.Counter()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if hasattr(report, "duration"):
            seconds[report.nodeid.split("::")[0]] += report.duration
    if (shown := config.getoption("durations")) is not None:
        terminalreporter.section(f"slowest files, of {sum(seconds.values()):,.0f} s")
        for name, duration in seconds.most_common(shown or None):
            terminalreporter.write_line(f"{duration:7.1f} s  {name}")


@pytest.fixture(scope="module", autouse=True)
def nothing_old_is_collected():
    """A process runs a hundred files, and TensorFlow keeps gigabytes of their graphs: the garbage collector need not look
    through all of that again and again, but sees the objects of one file."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def exports_are_proven_in_forks():
    """What proves an export runs as a fork that has imported TensorFlow already, which spares 5 seconds of each. test_export.py
    has it run as it does for a user."""
    patch = pytest.MonkeyPatch()
    patch.setattr("tfft.serving.apart.RUN", _proof)
    yield
    patch.undo()


@pytest.fixture(scope="module", autouse=True)
def mistakes_are_explained_where_it_is_tested(request):
    """Graphs are traced for an explanation, seconds at the end of each training. In these modules it is as for a user."""
    patch = pytest.MonkeyPatch()
    asked = request.module.__name__ in ("test_report", "test_multi_task")
    if not asked and "tfft.run.report" in sys.modules:
        patch.setattr("tfft.run.report._explained", lambda *_: {})
    yield
    patch.undo()


def _proof(command: list[str], **given) -> subprocess.CompletedProcess:
    from forked import Forked

    with tempfile.NamedTemporaryFile("w", suffix=".json") as question:
        question.write(given["input"])
        question.flush()
        code = "import runpy, sys; sys.stdin = open(sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"
        process = Forked(["-c", code, question.name, command[-1]])
        out, error = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, error)


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory) -> str:
    """A KerasHub preset folder: BERT of 2 layers, width 8, 15 words, random weights of a fixed seed."""
    return make_preset(tmp_path_factory.mktemp("preset"), layers=2)


@pytest.fixture(scope="session")
def thin_preset(tmp_path_factory) -> str:
    """The same of 1 layer: half of it to trace, where one process does so many times."""
    return make_preset(tmp_path_factory.mktemp("thin"), layers=1)


def make_preset(folder, layers: int) -> str:
    import keras
    import keras_hub

    keras.utils.set_random_seed(7)
    backbone = keras_hub.models.BertBackbone(vocabulary_size=len(WORDS), num_layers=layers, num_heads=2, hidden_dim=8,
                                             intermediate_dim=16, dropout=0.1, max_sequence_length=32)
    backbone.save_to_preset(str(folder))
    tiny_tokenizer_object().save_to_preset(str(folder))
    return str(folder)


def tiny_tokenizer_object():
    import keras_hub

    return keras_hub.models.BertTokenizer(vocabulary=WORDS, lowercase=True)


@pytest.fixture(scope="session")
def tiny_tokenizer():
    return tiny_tokenizer_object()


def write_reviews(path, count: int, seed: int = 0) -> None:
    """A csv of `count` different texts of 2 to 20 words; the label is pos where 'good' or 'fine' leads, else neg."""
    import csv
    import random

    draw = random.Random(seed)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(count):
            first = draw.choice(["good", "fine", "bad", "poor"])
            rest = [draw.choice(WORDS[9:12] + [f"word{i}"]) for _ in range(draw.randrange(1, 20))]
            writer.writerow([" ".join([first, *rest, str(i)]), "pos" if first in ("good", "fine") else "neg"])


@pytest.fixture(scope="session")
def reviews(tmp_path_factory) -> str:
    """A csv file of 240 tiny reviews."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    write_reviews(path, 240)
    return str(path)


@pytest.fixture
def cache(tmp_path) -> str:
    return str(tmp_path / "cache")


@pytest.fixture(scope="session")
def tiny_saved(tmp_path_factory):
    """The folder of one version of tests/served.py's SavedModel."""
    from served import save

    return save(tmp_path_factory.mktemp("saved") / "1")
