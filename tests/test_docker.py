"""docker/train and docker/tpu: what can be known of an image without building it."""

import fnmatch
import json
import pathlib
import re
import subprocess
from importlib import metadata

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parent.parent
IMAGES = {"train": ("default.txt", "gpu.txt"), "tpu": ("tpu.txt",)}  # image -> its constraints


def instructions(image: str) -> list[tuple[str, str]]:
    """(instruction, arguments) with continued lines joined and comments left out."""
    text = (ROOT / "docker" / image / "Dockerfile").read_text("utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.M)).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def arguments(image: str, name: str) -> list[str]:
    return [rest for instruction, rest in instructions(image) if instruction == name]


def context() -> list[str]:
    """The files that .dockerignore lets into the context; the last pattern that fits a file decides."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]

    def sent(name: str) -> bool:
        decided = True
        for pattern in patterns:
            bare = pattern.lstrip("!").rstrip("/").removeprefix("**/")
            parents = [name, *(str(parent) for parent in pathlib.PurePath(name).parents)]
            anywhere = "**/" in pattern and any(fnmatch.fnmatch(part, bare) for part in pathlib.PurePath(name).parts)
            if anywhere or any(fnmatch.fnmatch(parent, bare) for parent in parents):
                decided = pattern.startswith("!")
        return decided

    top = [path for path in ROOT.iterdir() if path.name != ".git" and not path.name.startswith(".venv")]
    paths = [path for path in top if path.is_file()] + [path for folder in top for path in folder.rglob("*") if path.is_file()]
    return [name for name in (str(path.relative_to(ROOT)) for path in paths) if sent(name)]


@pytest.mark.parametrize("image", IMAGES)
def test_instructions_are_well_formed(image):
    known = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT"}
    assert {name for name, _ in instructions(image)} == known and instructions(image)[0][0] == "FROM"
    assert arguments(image, "FROM") == ["python:3.11-slim-bookworm"]  # the Python that the constraints are for
    for script in arguments(image, "RUN"):
        subprocess.run(["sh", "-n", "-c", script], check=True)


@pytest.mark.parametrize("image", IMAGES)
def test_runs_training_and_not_as_root(image):
    assert json.loads(arguments(image, "ENTRYPOINT")[0]) == ["python", "-m", "tfft.train"]
    names = [name for name, _ in instructions(image)]
    assert arguments(image, "USER") == ["1000"] and names.index("USER") > max(i for i, n in enumerate(names) if n == "RUN")


@pytest.mark.parametrize("image", IMAGES)
def test_copies_files_that_are_in_the_context(image):
    sent = set(context())
    copied = [rest.split()[:-1] for rest in arguments(image, "COPY")]
    assert len(copied) >= 5
    for source in sum(copied, []):
        assert source in sent or any(name.startswith(f"{source}/") for name in sent), source
    assert [f"constraints/{name}" for name in IMAGES[image]] in copied


def test_the_context_is_small():
    sent = context()
    assert {"tfft/train.py", "tools/install_tpu.sh", "setup.cfg"} <= set(sent)
    assert not [name for name in sent if name.startswith(("tests/", "docs/", "runs/", ".")) or "__pycache__" in name]
    sizes = {name: (ROOT / name).stat().st_size for name in sent}
    assert sum(sizes.values()) < 2_800_000 and max(sizes.values()) < 50_000
    assert sum(size for name, size in sizes.items() if not name.endswith(".py")) < 150_000


def test_train_image_installs_the_pinned_gpu_stack():
    pip, = (script for script in arguments("train", "RUN") if "pip install" in script)
    assert pip == 'pip install --constraint constraints/default.txt --constraint constraints/gpu.txt --editable ".[gpu]"'


def test_gpu_constraints_pin_what_tensorflow_asks_for():
    """The extra that brings CUDA asks for ranges of twelve packages; each is pinned, within its range."""
    lines = (ROOT / "constraints" / "gpu.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line[0] != "#")
    asked = [Requirement(text) for text in metadata.requires("tensorflow") if "and-cuda" in text]
    assert {requirement.name for requirement in asked} == pinned.keys()
    if metadata.version("tensorflow").startswith("2.20."):  # the TPU stack's TensorFlow asks for others
        assert all(pinned[requirement.name] in requirement.specifier for requirement in asked)


def test_tpu_image_installs_as_a_tpu_host_does():
    """One script for both, so that they cannot differ in order or versions; and one set of variables."""
    assert "tools/install_tpu.sh /opt/venv/bin/python" in arguments("tpu", "RUN")
    assert "pip" not in " ".join(arguments("tpu", "RUN"))
    host, image = (ROOT / "tools" / "tpu_host").read_text("utf-8"), " ".join(arguments("tpu", "ENV"))
    flags = re.search(r'TF_XLA_FLAGS="[^"]*"', host.replace("\\\n", ""))[0]
    for setting in ("TPU_NAME=local", "PJRT_DEVICE=TPU", "NEXT_PLUGGABLE_DEVICE_USE_C_API=true", "TPU_LIBRARY_PATH=",
                    "TF_PLUGGABLE_DEVICE_LIBRARY_PATH=", flags):
        assert setting in host.replace("\\\n", "") and setting in image, setting


@pytest.mark.parametrize("image", IMAGES)
def test_no_version_but_those_of_the_constraints(image):
    """What a Dockerfile pins itself must be what the constraints say; its comments name the same TensorFlow."""
    text = (ROOT / "docker" / image / "Dockerfile").read_text("utf-8")
    pins = "".join((ROOT / "constraints" / name).read_text("utf-8") for name in IMAGES[image])
    for pin in re.findall(r"[\w-]+==[\w.]+", text):
        assert pin in pins.splitlines()
    named = re.search(r"(?:TensorFlow|tensorflow-tpu) (\d+\.\d+(?:\.\d+)?)", text)[1]
    assert re.search(rf"^tensorflow=={re.escape(named)}", pins, re.M)
