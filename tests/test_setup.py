"""What is installed: imports are declared, declared packages are pinned, the first second stays free of TensorFlow."""

import ast
import configparser
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Import name -> the distribution that brings it, where the names differ. orbit and official come with the Model Garden.
DISTRIBUTIONS = {
    "absl": "absl-py", "apache_beam": "apache-beam", "faiss": "faiss-cpu", "google": "protobuf", "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking", "jaxlib": "jax",
    "official": "tf-models-official", "orbit": "tf-models-official", "sklearn": "scikit-learn",
    "tensorflow_serving": "tensorflow-serving-api", "yaml": "pyyaml",
}
# Imported by tfft and required by a declared package for good: tensorboard and protobuf by tensorflow, and so on.
# IPython is imported in its own kernel alone.
IMPLIED = {"ipython", "protobuf", "tensorboard", "tf-models-official", "threadpoolctl"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(extra: str = "") -> set[str]:
    """Normalised names of install_requires, or of an extra."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    lines = setup["options.extras_require"][extra] if extra else setup["options"]["install_requires"]
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines.split("\n") if line and not line.startswith("#")}


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "constraints" / name).read_text("utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(parts) == 2 for parts in found)
    return {normal(package): version for package, version in found}


def imported(folder: pathlib.Path) -> set[str]:
    """Top-level names of everything that the files in a folder import."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return names


def test_imports_are_declared():
    third_party = imported(ROOT / "tfft") - set(sys.stdlib_module_names) - {"tfft"}
    assert "numpy" in third_party
    missing = {normal(DISTRIBUTIONS.get(name, name)) for name in third_party}
    missing -= requirements() | requirements("preflight") | requirements("search") | requirements("beam")
    missing -= requirements("gguf") | requirements("tune") | IMPLIED
    assert not missing, f"declare in setup.cfg: {sorted(missing)}"


@pytest.mark.parametrize("name, extras", [("default.txt", ("test", "bench", "preflight", "search", "tune", "wandb")),
                                          ("tpu.txt", ("test",)), ("beam.txt", ("test", "beam"))])
def test_constraints_pin_everything_that_is_declared(name, extras):
    declared = requirements().union(*(requirements(extra) for extra in extras))
    assert len(declared) > 10
    assert declared <= pins(name).keys()


def test_the_two_stacks():
    default, tpu = pins("default.txt"), pins("tpu.txt")
    assert default["tensorflow"].startswith("2.20.") and tpu["tensorflow"] == "2.19.1"
    assert default["keras-hub"] == default["keras-nlp"] and tpu["keras-hub"] == tpu["keras-nlp"] == "0.30.0"
    # What resolves with pip and fails on import: see the heads of the two files.
    assert default["setuptools"] == tpu["setuptools"] == "80.9.0" and tpu["tensorflow-metadata"] == "1.17.3"


def test_the_stack_with_beam_is_the_default_one_but_for_what_beam_asks_for():
    default, beam = pins("default.txt"), pins("beam.txt")
    other = {name for name in default.keys() & beam.keys() if default[name] != beam[name]}
    assert other == {"protobuf", "grpcio-health-checking", "pyarrow", "pillow", "python-dateutil"}


@pytest.mark.parametrize("module", ["tfft", "tfft.errors", "tfft.config"])
def test_import_without_tensorflow(module):
    code = f"import sys, {module}; print([m for m in ('tensorflow', 'keras', 'numpy', 'torch') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"


def test_no_machine_paths_in_the_setup_files():
    for name in ("setup.cfg", "pyproject.toml", "constraints/default.txt", "constraints/tpu.txt", "constraints/beam.txt",
                 "tools/setup.sh"):
        text = (ROOT / name).read_text("utf-8")
        assert not re.search(r"/home/|/root/|/work/|file:/|https?:", text), name


def tool(name: str, cwd: pathlib.Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([ROOT / "tools" / name], capture_output=True, text=True, cwd=cwd, timeout=60,
                          env={"PATH": "/usr/bin:/bin", **environment})


def test_tools_refuse_a_folder_that_is_no_environment(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    run = tool("train", tmp_path, TFFT_VENV=str(tmp_path))
    assert run.returncode == 1 and "is not empty and no virtual environment" in run.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_tools_say_which_python_is_missing(tmp_path):
    """Every Python that the script can find is a fake one of version 3.13."""
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for name in ("python", "python3", "python3.11", "python3.12"):
        (fakes / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.13.9\nexit 1\n')
        (fakes / name).chmod(0o755)
    run = tool("test", tmp_path, TFFT_VENV=str(tmp_path / "venv"), PATH=f"{fakes}:/usr/bin:/bin")
    assert run.returncode == 1 and "tfft needs Python 3.11 or 3.12" in run.stderr and "Python 3.13.9" in run.stderr


def test_an_environment_has_the_pip_that_the_docs_call(tmp_path):
    """Where it had none, `pip install` in an activated one would be another Python's."""
    script = f'source {ROOT}/tools/setup.sh; python="$1/bin/python"; make_venv "$1" "$1/tfft-unfinished"'
    subprocess.run(["bash", "-c", script, "bash", tmp_path / "venv"], check=True, capture_output=True, timeout=120,
                   env={**os.environ, "TFFT_PYTHON": sys.executable})
    made = subprocess.run([tmp_path / "venv/bin/pip", "--version"], check=True, capture_output=True, text=True)
    assert str(tmp_path) in made.stdout


@pytest.mark.parametrize("free, held, name, need", [(3_000_000, 0, "train", "3.5"), (3_600_000, 0, "test", "4.0"),
                                                    (3_600_000, 0, "train", ""), (1_000_000, 3_000_000, "train", ""),
                                                    ("-", 0, "train", "")])
def test_tools_look_for_room_on_the_disk_first(tmp_path, free, held, name, need):
    """df and du are fakes, and so is the environment's Python, whose pip fails: it is not reached where there is no room."""
    fakes, python = tmp_path / "fakes", tmp_path / "venv/bin/python"
    fakes.mkdir()
    python.parent.mkdir(parents=True)
    (tmp_path / "venv/pyvenv.cfg").write_text("prompt = 'mine'\n")
    for path, script in ((fakes / "df", f"echo Filesystem 1024-blocks; echo /dev/x 9 9 {free} 9% /; [ {free} != - ]"),
                         (fakes / "du", f"echo {held} $2; exit 1"),
                         (python, 'case "$*" in *"pip install"*) echo asked; exit 1 ;; esac')):
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    run = tool(name, tmp_path, TFFT_VENV=str(tmp_path / "venv"), PATH=f"{fakes}:/usr/bin:/bin")
    assert run.returncode == 1 and ("asked" in run.stderr) == (not need)
    if need:
        said = f"need {need} GB in {tmp_path}/venv, and its disk has {free * 1024 / 1e9 - 0.05:.1f} GB free."
        assert run.stderr.startswith(f"tfft: error: tfft and TensorFlow {said}") and len(run.stderr.splitlines()) == 1
        assert "installing" not in run.stdout


def test_tools_end_a_failed_installation_without_a_stamp(tmp_path):
    """pip is a fake that fails; a second run tries again, and a third finds what a good pip installed."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    (tmp_path / "pyvenv.cfg").write_text("prompt = 'mine'\n")
    fake = """#!/bin/sh
case "$*" in
    *"pip install"*) echo "no such package"; exit {} ;;
    *tfft.*) echo "runs $2" ;;
esac
"""
    for code, wanted in ((1, 1), (1, 1), (0, 0)):
        python.write_text(fake.format(code))
        python.chmod(0o755)
        run = subprocess.run([ROOT / "tools" / "train", "--config=x"], capture_output=True, text=True, cwd=tmp_path,
                             timeout=60, env={"PATH": "/usr/bin:/bin", "TFFT_VENV": str(tmp_path)})
        assert run.returncode == wanted
        assert (tmp_path / "tfft-installed").exists() == (code == 0)
        assert ("no such package" in run.stderr) == (code == 1)
    assert run.stdout.endswith("runs tfft.train\n")
    python.write_text(fake.format(1))
    run = tool("train", tmp_path, TFFT_VENV=str(tmp_path))
    assert run.returncode == 0 and "installing" not in run.stdout
    assert re.findall("runs (.*)", run.stdout) == ["tfft.train", "tfft.evaluate", "tfft.export"]
    assert "3. " in run.stdout and run.stdout.splitlines()[-1].startswith("tfft: done.")


def test_tools_test_takes_a_stack(tmp_path):
    """pip, ruff and pytest are a fake that writes down what it is asked."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    (tmp_path / "pyvenv.cfg").write_text("prompt = 'mine'\n")
    python.write_text(f'#!/bin/sh\n[ "$1" != -m ] || echo "$*" >> {tmp_path}/calls\n')
    python.chmod(0o755)

    def run(*arguments: str) -> list[str]:
        (tmp_path / "calls").write_text("")
        subprocess.run([ROOT / "tools" / "test", *arguments], capture_output=True, check=True, timeout=60,
                       env={"PATH": "/usr/bin:/bin", "TFFT_VENV": str(tmp_path)})
        return (tmp_path / "calls").read_text().splitlines()

    install = f"--constraint {ROOT}/constraints/{{}}.txt --editable {ROOT}[test]"
    calls = run("-k", "unknown", "--stack=tpu", "tests/test_config.py")
    assert any(call.endswith(install.format("tpu")) for call in calls)
    assert calls[-1] == "-m pytest -n 2 --dist=loadfile --no-loadscope-reorder -k unknown tests/test_config.py"
    assert not any("--editable" in call for call in run("--stack=tpu"))  # installed already
    assert any(call.endswith(install.format("default")) for call in run())
    assert any(call.endswith(install.format("beam").replace("[test]", "[test,beam]")) for call in run("--stack=beam"))
    wrong = subprocess.run([ROOT / "tools" / "test", "--stack=gpu"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "Known: --stack=default, --stack=tpu, --stack=beam" in wrong.stderr


@pytest.mark.parametrize("user, present, works", [(0, False, True), (0, False, False), (1000, False, True), (0, True, True)])
def test_ci_brings_chromium_where_it_can(tmp_path, user, present, works):
    """apt-get, id and the environment's Python are fakes; PATH has everything else that the machine has, but no Chromium."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for program in {path.name: path for folder in ("/bin", "/usr/bin") for path in pathlib.Path(folder).iterdir()}.values():
        if not program.name.startswith(("chromium", "google-chrome", "apt")):
            (bin / program.name).symlink_to(program)

    def fake(name: str, script: str) -> None:
        path = tmp_path / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    calls = tmp_path / "calls"
    fake("bin/id", f"echo {user}")
    fake("bin/apt-get", f'echo "apt-get $*" >> {calls}; echo E: no such host; exit {0 if works else 100}')
    if present:
        fake("bin/chromium", "")
    fake("venv/bin/python", f'[ "$1" != -m ] || echo "$*" >> {calls}')
    (tmp_path / "venv" / "pyvenv.cfg").write_text("prompt = 'mine'\n")
    run = subprocess.run([ROOT / ".ci" / "run", "-k", "page"], capture_output=True, text=True, check=True, timeout=60,
                         env={"PATH": str(bin), "TFFT_VENV": str(tmp_path / "venv")})
    made = calls.read_text().splitlines()
    assert made[-1] == "-m pytest -n 2 --dist=loadfile --no-loadscope-reorder --durations=25 -k page"
    wanted = [] if present or user else ["update", "chromium"] if works else ["update"]
    assert [call.split()[-1] for call in made if call.startswith("apt-get ")] == wanted
    assert ("will be skipped" in run.stdout) == (not present and not (works and user == 0))
    assert ("E: no such host" in run.stdout) == (not works)
