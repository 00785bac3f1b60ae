"""examples/quickstart.ipynb, run by a kernel on the tiny backbone."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parent.parent


def read():
    return nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)


def outputs(notebook) -> list:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def text(output) -> str:
    return output.text if output.output_type == "stream" else output.data["text/plain"]


def check(notebook) -> None:
    """Nothing in it that a notebook shows badly."""
    for output in outputs(notebook):
        assert output.output_type in ("stream", "display_data", "execute_result") and output.get("name") != "stderr", output
        assert not {"\r", "\x1b", "\b"} & set(text(output)) and "Warning" not in text(output)
    bars = [text(output) for output in outputs(notebook) if output.output_type == "display_data"]
    assert [bar.split()[0] for bar in bars] == ["training", "evaluating"] and all("(100%)" in bar for bar in bars)


@pytest.mark.slow
def test_the_quickstart_runs(tiny_preset, tmp_path, monkeypatch):
    notebook = read()
    parameters, = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    assert parameters.source.startswith('BACKBONE = ""')
    parameters.source = f"BACKBONE, EPOCHS = {tiny_preset!r}, 1\n"
    for cell in notebook.cells:
        cell.source = cell.source.replace("if BACKBONE:", "if BACKBONE:\n    config.data.max_length = 32")  # its limit
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TFFT_CACHE", str(tmp_path / "cache"))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    check(notebook)
    said = [text(output) for output in outputs(notebook)]
    assert said[-1] == "PosixPath('runs/tickets/export/1')" and (tmp_path / "runs/tickets/export/1/saved_model.pb").exists()


def test_what_is_saved_with_the_quickstart_is_tidy():
    notebook = read()
    check(notebook)
    assert all(cell.outputs for cell in notebook.cells[-1:]) and not re.search(r"/(root|home|Users)/", str(outputs(notebook)))
