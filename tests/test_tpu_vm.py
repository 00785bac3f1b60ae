"""tools/tpu_vm and tools/tpu_host: the commands they build, against this machine's gcloud, and what happens on a host."""

import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PLACE = ["--name=my-tpu", "--zone=us-west4-a", "--project=mine"]
COMMON = {"--help", "--dry-run", "--name", "--zone", "--project", "--internal-ip"}
# Every command with every flag that it has, as the user types it.
EVERY = {
    "create": ["--accelerator=v5litepod-8", "--spot", "--internal-ip", "--network=n", "--subnetwork=s",
               "--service-account=a@b", "--give-up-after=6h", "--runtime=r"],
    "create at once": ["--accelerator=v4-32", "--spot", "--no-queue", "--internal-ip", "--network=n", "--subnetwork=s",
                       "--service-account=a@b"],
    "status": [], "status at once": ["--no-queue"], "setup": ["--internal-ip"],
    "setup by clone": ["--clone=https://example.org/tfft", "--branch=main"],
    "train": ["--", "--config=configs/imdb.py:quick", "--workdir=gs://bucket/a run"], "logs": ["--lines=5", "--no-follow"],
    "progress": [], "stop": [], "ssh": ["--worker=2"], "ssh with a command": ["--worker=all", "--", "ls", "-l", "a b"],
    "fetch": ["--internal-ip", "--", "tfft/runs/imdb", "runs"], "delete": ["--yes"],
    "delete at once": ["--no-queue"], "list": [], "offers": [],
}
VERBS = ("create", "describe", "ssh", "scp", "delete", "list")


def tpu_vm(command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "tools" / "tpu_vm", command, *arguments], capture_output=True, text=True,
                          env={"PATH": "/usr/bin:/bin", **environment}, timeout=60)


def dry_run(command: str, *arguments: str) -> list[list[str]]:
    """The commands that a dry run prints, split as a shell would."""
    place = PLACE[1:] if command in ("list", "offers") else PLACE
    run = tpu_vm(command, "--dry-run", *place, *arguments)
    assert run.returncode == 0, run.stderr
    return [shlex.split(line) for line in run.stdout.splitlines()]


def every_command() -> list[list[str]]:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = pool.map(lambda item: dry_run(item[0].split()[0], *item[1]), EVERY.items())
        return [command for commands in runs for command in commands]


def test_dry_run_lists_every_command_of_the_help():
    """EVERY above leaves none out."""
    listed = re.findall(r"^    (\w+) {2,}\w", tpu_vm("help").stdout.split("\nCommands")[1], re.M)
    assert set(listed) == {name.split()[0] for name in EVERY}
    for name in listed:
        flags = set(re.findall(r"--[a-z-]+", tpu_vm(name, "--help").stdout))
        tried = " ".join(" ".join(given) for key, given in EVERY.items() if key.split()[0] == name)
        assert flags - COMMON <= set(re.findall(r"--[a-z-]+", tried)), name


def test_create_asks_for_a_queued_resource():
    assert dry_run("create", "--accelerator=v5e-8", "--spot") == [[
        "gcloud", "compute", "tpus", "queued-resources", "create", "my-tpu", "--node-id=my-tpu",
        "--runtime-version=v2-alpha-tpuv5-lite", "--accelerator-type=v5litepod-8", "--spot", "--zone=us-west4-a",
        "--project=mine"]]


@pytest.mark.parametrize("accelerator, runtime", [
    ("v4-8", "tpu-ubuntu2204-base"), ("v5litepod-8", "v2-alpha-tpuv5-lite"), ("v5p-8", "v2-alpha-tpuv5"),
    ("v6e-8", "v2-alpha-tpuv6e"), ("v6e-1", "v2-alpha-tpuv6e"), ("v4-16", "tpu-vm-tf-2.19.0-pod-pjrt"),
    ("v5litepod-16", "tpu-vm-tf-2.19.0-pod-pjrt"), ("v5p-128", "tpu-vm-tf-2.19.0-pod-pjrt")])
def test_create_chooses_the_runtime(accelerator, runtime):
    command, = dry_run("create", "--no-queue", f"--accelerator={accelerator}")
    assert command[3:6] == ["tpu-vm", "create", "my-tpu"]
    assert f"--version={runtime}" in command and f"--accelerator-type={accelerator}" in command


def test_slice_runtime_has_the_pinned_tensorflow():
    """A slice's own TensorFlow servers and the leading process must be of one minor version."""
    pinned = re.search(r"^tensorflow==(\d+\.\d+)\.", (ROOT / "constraints" / "tpu.txt").read_text("utf-8"), re.M)[1]
    command, = dry_run("create", "--accelerator=v6e-16")
    assert any(argument.startswith(f"--runtime-version=tpu-vm-tf-{pinned}.") for argument in command)


def test_setup_is_for_all_hosts_and_train_for_the_first():
    tar, scp, ssh = dry_run("setup")
    assert tar[0] == "tar" and "--worker=all" in scp and "--worker=all" in ssh and scp[6] == "my-tpu:tfft.tar.gz"
    train, = dry_run("train", "--", "--config=configs/imdb.py", "--config.name=it's two", "--workdir=gs://b/x")
    assert "--worker=0" in train
    remote, = (argument.removeprefix("--command=") for argument in train if argument.startswith("--command="))
    assert shlex.split(remote) == ["tfft/tools/tpu_host", "train", "my-tpu", "--config=configs/imdb.py",
                                   "--config.name=it's two", "--workdir=gs://b/x"]


def test_train_warns_of_a_work_directory_that_goes_with_the_tpu():
    cases = ((["--workdir=runs/imdb"], True), ([], True), (["--workdir=gs://b/x"], False), (["--workdir", "gs://b"], False))
    for workdir, warned in cases:
        run = tpu_vm("train", "--dry-run", *PLACE, "--", "--config=configs/imdb.py", *workdir)
        assert run.returncode == 0 and ("on the host's disk" in run.stderr) == warned, workdir


def test_delete_takes_the_tpu_with_the_request():
    assert dry_run("delete", "--yes")[0][4:8] == ["delete", "my-tpu", "--force", "--quiet"]


def test_commands_of_the_page_are_understood():
    """Each tools/tpu_vm line of docs/tpu.md and of the tool's own help, run dry, with the files that it names."""
    text = (ROOT / "docs" / "tpu.md").read_text("utf-8") + (ROOT / "tools" / "tpu_vm").read_text("utf-8")
    lines = sorted(set(re.findall(r"^    tools/tpu_vm ((?:(?!  ).)+)", text, re.M)))
    assert len(lines) > 10 and {line.split()[0] for line in lines} > {"create", "status", "setup", "train", "logs", "delete"}
    for line in lines:
        command, *given = shlex.split(line)
        run = tpu_vm(command, "--dry-run", *given, TPU_VM_NAME="my-tpu", TPU_VM_ZONE="us-west4-a")
        assert run.returncode == 0, run.stderr
        for path in re.findall(r"--config=(\S+\.py)", line):
            assert (ROOT / path).is_file()


def flags_of(help_text: str) -> dict[str, bool]:
    """Flag -> whether it takes a value, from the places where gcloud's help defines flags."""
    found = {name: bool(value) for name, value in re.findall(r"^ +(--[a-z-]+)(=?)", help_text, re.M)}
    wide = re.search(r"GCLOUD WIDE FLAGS(.*?)Run ", help_text, re.S)
    return {**{name: name != "--quiet" for name in re.findall(r"--[a-z-]+", wide[1])}, **found}


@pytest.mark.slow
def test_every_flag_exists_in_gcloud(tmp_path):
    """Compares each command that the tool can run with `gcloud ... --help` of this machine. Contacts nobody."""
    gcloud = shutil.which("gcloud")
    if not gcloud:
        pytest.skip("gcloud is not installed on this machine")
    commands = [command for command in every_command() if command[0] == "gcloud"]
    names = [next(tuple(c[1:i + 1]) for i in range(len(c)) if c[i] in VERBS) for c in commands]

    def help_text(name: tuple[str, ...]) -> str:
        run = subprocess.run([gcloud, *name, "--help"], capture_output=True, text=True, timeout=120, env={
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path), "PAGER": "cat"})
        assert run.returncode == 0, run.stderr
        return re.sub(r"\x1b\[[0-9;]*m", "", run.stdout)

    distinct = sorted(set(names))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        known = {name: flags_of(text) for name, text in zip(distinct, pool.map(help_text, distinct))}
    assert len(known) == 12
    for flags in known.values():
        assert "--zone" in flags and flags["--project"] and "--no-such-flag" not in flags
    for command, name in zip(commands, names):
        for argument in command:
            if argument.startswith("--"):
                flag, equals, _ = argument.partition("=")
                assert flag in known[name], f"{flag} is no flag of gcloud {' '.join(name)}"
                assert known[name][flag] == bool(equals), f"{argument}: gcloud {' '.join(name)}"


@pytest.mark.parametrize("arguments, message", [
    (["creat"], "Unknown command 'creat'. Did you mean 'create'?"),
    (["create", *PLACE], "Say which TPU: --accelerator=v5litepod-8"),
    (["create", *PLACE, "--accelerator=v5lite-8"], "Unknown accelerator 'v5lite-8'. Did you mean 'v5litepod-8'?"),
    (["create", *PLACE, "--accelerator=v6e-12"], "Unknown accelerator 'v6e-12'. Did you mean 'v6e-1"),
    (["create", *PLACE, "--acelerator=v4-8"], "Did you mean '--accelerator'?"),
    (["create", *PLACE, "--accelerator=v4-8", "--no-queue", "--give-up-after=1h"], "--no-queue does not wait"),
    (["status", "--zone=us-west4-a"], "Name the TPU: --name=my-tpu"),
    (["status", "--name=My_TPU", "--zone=us-west4-a"], "small letters, digits and dashes"),
    (["status", "--name=my-tpu"], "Name the zone: --zone=us-west4-a"),
    (["status", "--name=my-tpu", "--zone=us-west4"], "is no zone; one looks like us-west4-a"),
    (["train", *PLACE, "--config=configs/imdb.py"], "Unknown flag of tools/tpu_vm train '--config'"),
    (["train", *PLACE, "--", "--workdir=gs://a/b"], "Name an experiment after two dashes"),
    (["stop", *PLACE, "--", "now"], "stop takes nothing after --"),
    (["ssh", *PLACE, "--worker=all"], "needs a command"),
    (["fetch", *PLACE, "--", "one"], "fetch takes a path on host 0 and a local one"),
    (["logs", *PLACE, "--lines=many"], "invalid int value: 'many'"),
    (["status", *PLACE], "gcloud is not installed"),
])
def test_mistakes_are_told(arguments, message, tmp_path):
    run = tpu_vm(*arguments, PATH=str(tmp_path))
    assert run.returncode == 2 and not run.stdout
    assert message in " ".join(run.stderr.split()) and "Traceback" not in run.stderr


def test_name_and_zone_from_the_environment():
    run = tpu_vm("stop", "--dry-run", TPU_VM_NAME="a", TPU_VM_ZONE="us-east1-d", TPU_VM_PROJECT="p")
    assert shlex.split(run.stdout)[4:7] == ["ssh", "a", "--worker=0"]
    assert shlex.split(run.stdout)[-2:] == ["--zone=us-east1-d", "--project=p"]


def fake(folder: pathlib.Path, name: str, body: str) -> None:
    """A program in a folder, written in sh."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def test_setup_sends_the_sources(tmp_path):
    fake(tmp_path / "bin", "gcloud", f'printf "%s\\n" "$*" >> {tmp_path}/calls; exit $(grep -c ssh {tmp_path}/calls)')
    run = tpu_vm("setup", *PLACE, PATH=f"{tmp_path}/bin:/usr/bin:/bin", TMPDIR=str(tmp_path))
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[3] for call in calls] == ["scp", "ssh"]
    assert run.returncode == 1  # what gcloud's second call said
    with tarfile.open(tmp_path / "tfft.tar.gz") as archive:
        names = archive.getnames()
    assert {"./tfft/train.py", "./tools/tpu_host", "./configs/imdb.py", "./constraints/tpu.txt"} <= set(names)
    assert not [name for name in names if re.search(r"/\.git(/|$)|\.venv|^\./runs|__pycache__", name)]


@pytest.fixture
def host(tmp_path):
    """A TPU host: a home folder with an environment whose Python is a fake, and a fake metadata server."""
    home = tmp_path / "home"
    fake(home / "tfft-venv" / "bin", "python", """
env | grep -E "^(TPU|PJRT|TF_PLUGGABLE|NEXT|TF_XLA)" | sort
echo "arguments: $*"
case "$*" in *mistake*) exit 2;; esac
trap 'echo saved; exit 0' TERM
while :; do sleep 0.05; done""")
    library = home / "tfft-venv" / "lib" / "python3.11" / "site-packages" / "libtpu" / "libtpu.so"
    library.parent.mkdir(parents=True)
    library.touch()
    fake(tmp_path / "bin", "curl", 'printf %s "${ENDPOINTS-unknown:unknown:10.0.0.1}"')

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        # The pipe is ssh's: this would hang if the training kept it open.
        return subprocess.run([ROOT / "tools" / "tpu_host", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=60,
                              env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(home), **environment})

    call.home = home
    return call


def test_host_trains_detached_and_stops_on_request(host):
    assert "no training has been started" in host("status").stdout
    started = host("train", "my-tpu", "--config=a.py", "--config.name=two words")
    assert started.returncode == 0 and "training on" in started.stdout
    pid = int((host.home / "tfft-train.pid").read_text())
    try:
        assert os.getsid(pid) == pid  # a session of its own: no signal of the terminal reaches it
        log = host("logs", "50").stdout
        assert "arguments: -m tfft.train --config=a.py --config.name=two words" in log
        library = host.home / "tfft-venv/lib/python3.11/site-packages/libtpu/libtpu.so"
        for setting in ("TPU_NAME=local", "PJRT_DEVICE=TPU", f"TF_PLUGGABLE_DEVICE_LIBRARY_PATH={library}"):
            assert setting in log.splitlines()
        again = host("train", "my-tpu", "--config=b.py")
        assert again.returncode == 1 and f"runs already (process {pid})" in again.stdout
        assert f"process {pid}: arguments" in host("status").stdout
        following = subprocess.Popen([ROOT / "tools" / "tpu_host", "logs", "1", "follow"], stdout=subprocess.PIPE, text=True,
                                     env={"PATH": "/usr/bin:/bin", "HOME": str(host.home)})
        time.sleep(0.3)
        assert "ended" in host("stop").stdout
        assert following.communicate(timeout=20)[0].endswith("saved\n")
    finally:
        subprocess.run(["kill", "-9", str(pid)], capture_output=True)
    assert "the last one said: saved" in host("status").stdout
    assert "no training runs" in host("stop").stdout


def test_host_tells_a_mistake_at_once(host):
    run = host("train", "my-slice", "--config=mistake.py", ENDPOINTS="x:y:10.0.0.1,x:y:10.0.0.2")
    assert run.returncode == 2 and "exit code 2" in run.stdout
    # Two hosts: this process leads the TensorFlow servers of the TPU and leaves libtpu alone.
    assert "TPU_NAME=my-slice\n" in run.stdout and "TPU_LOAD_LIBRARY=0\n" in run.stdout and "PJRT" not in run.stdout
    assert "no training runs" in host("stop").stdout


def test_host_refuses_a_machine_without_tpu(host):
    run = host("train", "my-tpu", "--config=a.py", ENDPOINTS="")
    assert run.returncode == 1 and "Is this a TPU VM?" in run.stdout
    assert host("begin").returncode == 1 and "usage" in host("begin").stdout


def test_install_leaves_tensorflow_out_and_tensorflow_tpu_last(tmp_path):
    fake(tmp_path, "python", f"""
[ "$1" = -m ] || exit 0
echo "$*" >> {tmp_path}/calls
while [ $# -gt 0 ]; do [ "$1" = --requirement ] && cp "$2" {tmp_path}/requirements; shift; done; exit 0""")
    subprocess.run([ROOT / "tools" / "install_tpu.sh", tmp_path / "python"], check=True)
    first, second, third = (tmp_path / "calls").read_text().splitlines()
    assert "--no-deps" in first and third.endswith(f"--no-deps --no-build-isolation --editable {ROOT}")
    assert "--no-deps" not in second and second.endswith("tensorflow-tpu==2.19.1") and "constraints/tpu.txt" in second
    wanted = (tmp_path / "requirements").read_text().splitlines()
    pinned = [p for p in (ROOT / "constraints" / "tpu.txt").read_text("utf-8").splitlines() if p[0] != "#"]
    assert set(pinned) - set(wanted) == {"tensorflow==2.19.1"}
    assert {"tensorflow-text==2.19.0", "keras-hub==0.30.0"} <= set(wanted)
