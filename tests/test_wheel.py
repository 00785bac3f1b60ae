"""tfft as a wheel brings it: in a folder without the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The unpacked wheel of this checkout, as site-packages would have it."""
    checkout, folder = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("site-packages")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    for name in ("tfft", "configs"):
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet",
                    "--disable-pip-version-check", f"--wheel-dir={folder}", str(checkout)], check=True, timeout=120)
    wheel, = folder.glob("tfft-*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def tfft(installed: Path, folder: Path, *command: str, code: int = 0) -> str:
    """What a command says, on one line."""
    made = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(installed), "TFFT_CACHE": str(folder / "cache")})
    assert made.returncode == code, made.stderr[-3000:]
    return " ".join((made.stdout + made.stderr).split())


def test_the_wheel_has_what_the_package_has(installed):
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tfft").rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}
    files |= {f"tfft/{path.relative_to(ROOT)}" for path in (ROOT / "configs").glob("*.py")}
    assert "tfft/configs/imdb.py" in files and "tfft/serving/server/page.html" in files
    assert {str(path.relative_to(installed)) for path in (installed / "tfft").rglob("*") if path.is_file()} == files


def test_its_configs_have_names(installed, tmp_path):
    code = "import tfft; print(tfft.__file__); from tfft.config import shipped; print(shipped.find('imdb:quick'))"
    assert tfft(installed, tmp_path, "-c", code) == f"{installed}/tfft/__init__.py {installed}/tfft/configs/imdb.py:quick"
    said = tfft(installed, tmp_path, "-m", "tfft", "train", "--config=imbd", code=2)
    assert "Unknown config 'imbd'. Did you mean 'imdb'? Known: clinc150," in said


@pytest.mark.slow
def test_it_trains(installed, tiny_preset, reviews, tmp_path):
    shutil.copy(reviews, tmp_path / "my.csv")
    said = tfft(installed, tmp_path, "-m", "tfft", "train", "--config=my_csv:my.csv", "--workdir=run",
                f"--config.model.backbone={tiny_preset}", "--config.data.max_length=16", "--config.train.steps=3")
    assert "next: python -m tfft.evaluate --workdir=run" in said
