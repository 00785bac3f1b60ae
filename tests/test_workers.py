"""Several worker processes: what TF_CONFIG may say, and two workers that give one device's results, whatever stops them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, arguments, run, saved, start, wait_for
from safetensors.numpy import load_file

from tfft.config import Distribution
from tfft.errors import UserError
from tfft.training.cluster import Cluster, check_port, find_cluster, read_cluster
from tfft.training.hosts import CommonMistake, Hosts
from tfft.training.multi_worker import explain
from tfft.training.strategy import choose

TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]


def tf_config(cluster=None, task=None) -> str:
    return json.dumps({"cluster": {"worker": TWO} if cluster is None else cluster,
                       "task": {"type": "worker", "index": 1} if task is None else task})


# ---- TF_CONFIG

def test_cluster_of_workers():
    assert read_cluster(tf_config()) == Cluster(tuple(TWO), 1)
    assert read_cluster(tf_config(task={"type": "worker", "index": "0"})).chief
    assert read_cluster(tf_config({"worker": ["[::1]:80", "b-1.local:81"]})).name(0) == "worker 0 ([::1]:80)"


def test_a_chief_is_worker_0():
    cluster = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    assert read_cluster(tf_config(cluster, {"type": "chief", "index": 0})) == Cluster(("a:1", "b:1", "c:1"), 0, 1)
    assert read_cluster(tf_config(cluster)) == Cluster(("a:1", "b:1", "c:1"), 2, 1)


@pytest.mark.parametrize("text", ["", " ", "{}", '{"task": {"type": "worker", "index": 0}}', tf_config({"chief": ["a:1"]})])
def test_no_cluster(text):
    assert read_cluster(text) is None


@pytest.mark.parametrize("text, told", [
    ("{'cluster'", "TF_CONFIG is not valid JSON"),
    ("[1]", "it must be an object in braces, not [1]"),
    ('{"cluster": ["a:1"]}', 'cluster must be an object in braces, not ["a:1"]'),
    (tf_config({"workers": TWO}), "cluster has the job 'workers'; a run of tfft has workers only. Unknown job 'workers'. Did "
                                  "you mean 'worker'?"),
    (tf_config({"worker": TWO, "ps": ["a:1"]}), "cluster has the job 'ps'"),
    (tf_config({"worker": "a:1,b:1"}), 'cluster.worker must be a list of host:port, not "a:1,b:1"'),
    (tf_config({"worker": ["a:1", "b"]}), 'cluster.worker[1] must be host:port, such as 10.0.0.1:2222, not "b"'),
    (tf_config({"worker": ["http://a:1", "b:1"]}), "cluster.worker[0] must be host:port"),
    (tf_config({"worker": ["a:0", "b:1"]}), "cluster.worker[0] must be host:port"),
    (tf_config({"worker": ["a:1", "a:1"]}), "cluster names a:1 twice"),
    (tf_config({"chief": TWO}), "cluster.chief names 2 tasks"),
    (tf_config(task=3), "task must be an object in braces, not 3"),
    (tf_config(task={"index": 0}), "task.type must name the job of this process, one of worker; it is missing"),
    (tf_config(task={"type": "chief", "index": 0}), "one of worker; it is 'chief'"),
    (tf_config(task={"type": "worker"}), "task.index is missing: the number of this process in cluster.worker, 0 to 1"),
    (tf_config(task={"type": "worker", "index": 2}), "task.index must be the number of this process in cluster.worker, 0 to 1"),
    (tf_config(task={"type": "worker", "index": True}), "0 to 1, not true"),
    (tf_config(task={"type": "worker", "index": -1}), "0 to 1, not -1"),
])
def test_mistakes_in_tf_config_name_the_key(text, told):
    with pytest.raises(UserError) as error:
        read_cluster(text)
    assert told in str(error.value)


def test_who_looks_at_tf_config():
    environment = {"TF_CONFIG": tf_config()}
    assert find_cluster(Distribution(), environment) == find_cluster(Distribution(strategy="multi_worker"), environment)
    assert find_cluster(Distribution(), environment).index == 1
    broken = {"TF_CONFIG": "{"}
    for alone in (Distribution(strategy="one_device"), Distribution(strategy="mirrored"), Distribution(cpu_replicas=2)):
        assert find_cluster(alone, broken) is None
    assert find_cluster(Distribution(), {}) is None


def test_a_port_in_use_is_told():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of worker 0 \(localhost:{port}\) is in use on this machine"):
            check_port(Cluster((f"localhost:{port}", "b:1"), 0))
    check_port(Cluster((f"localhost:{port}", "b:1"), 0))


def test_multi_worker_without_tf_config_says_how(tiny_preset, reviews, cache, tmp_path):
    command = arguments(tiny_preset, reviews, tmp_path / "run", "--config.distribution.strategy=multi_worker")
    _, error = run(command, cache, code=2)
    assert "needs the environment variable TF_CONFIG" in error and "tools/launch_local 2 -- --config=" in error
    assert "loading TensorFlow" not in error and not (tmp_path / "run").exists()


# ---- the launcher, with scripts that need no TensorFlow

def launch_command(*more: str) -> list[str]:
    return [sys.executable, str(ROOT / "tools" / "launch_local.py"), *more]


def script(tmp_path, text: str) -> str:
    path = tmp_path / "script.py"
    path.write_text("import json, os, signal, sys, time\nindex = json.loads(os.environ['TF_CONFIG'])['task']['index']\n" + text)
    return str(path)


def test_launcher_starts_workers_and_marks_their_lines(tmp_path):
    path = script(tmp_path, "print(os.environ['TF_CONFIG'], os.environ['TF_NUM_INTRAOP_THREADS'], *sys.argv[1:])")
    command = launch_command("3", "--cpu-threads=2", "--", path, "--a=b")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    configs = []
    for i, line in enumerate(sorted(done.stdout.splitlines())):
        match = re.fullmatch(rf"\[{i}\] (.*) 2 --a=b", line)
        assert match, line
        configs.append(json.loads(match[1]))
    assert [c["task"] for c in configs] == [{"type": "worker", "index": i} for i in range(3)]
    assert configs[0]["cluster"] == configs[1]["cluster"] == configs[2]["cluster"]
    assert len({address.split(":")[1] for address in configs[0]["cluster"]["worker"]}) == 3


def test_launcher_leaves_with_the_first_failure(tmp_path):
    path = script(tmp_path, "time.sleep(0.5 * index); sys.exit([5, 75][index])")
    done = subprocess.run(launch_command("2", "--", path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 5 and "worker 0 ended with exit code 5" in done.stderr


def test_launcher_blames_no_worker_that_left_for_another(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import launch_local

    ended = [subprocess.Popen([sys.executable, "-c", f"import sys; sys.exit({code})"]) for code in (75, 5, 0)]
    assert [worker.wait(timeout=60) for worker in ended] == [75, 5, 0] and launch_local._watch(ended, []) == 5


def test_launcher_stops_workers_that_outlive_a_killed_one(tmp_path):
    path = script(tmp_path, "time.sleep(0.5)\nos.kill(os.getpid(), signal.SIGKILL) if index else time.sleep(60)")
    hurried = f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import launch_local; launch_local.PATIENCE = 1; " \
              f"sys.argv = ['launch_local', '2', '--', {path!r}]; sys.exit(launch_local.main())"
    done = subprocess.run([sys.executable, "-c", hurried], capture_output=True, text=True, timeout=30)
    assert done.returncode == 128 + signal.SIGKILL
    assert "worker 1 ended with signal SIGKILL" in done.stderr and "stopping the workers that are left" in done.stderr


def test_launcher_passes_signals_on(tmp_path):
    path = script(tmp_path, "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
                            "print('ready', file=sys.stderr, flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(launch_command("2", "--", path), stderr=subprocess.PIPE, text=True)
    ready = {process.stderr.readline().strip() for _ in range(2)}
    assert ready == {"[0] ready", "[1] ready"}
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 143 and "ended with" not in error


@pytest.mark.parametrize("given, told", [(["2"], "follow after --"), (["1", "--", "x.py"], "at least 2"),
                                         (["two", "--", "x.py"], "invalid int")])
def test_launcher_says_how_it_is_used(given, told):
    done = subprocess.run(launch_command(*given), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and told in done.stderr


# ---- what workers tell each other

def test_auto_chooses_what_is_there(monkeypatch):
    cluster = read_cluster(tf_config())
    assert choose(Distribution(), cluster) == choose(Distribution(strategy="multi_worker"), cluster) == "multi_worker"
    assert choose(Distribution(), None) == choose(Distribution(strategy="multi_worker"), None) == "one_device"
    assert choose(Distribution(cpu_replicas=2), None) == choose(Distribution(strategy="mirrored"), None) == "mirrored"
    monkeypatch.setenv("TPU_NAME", "local")
    assert choose(Distribution(), find_cluster(Distribution(), {"TF_CONFIG": tf_config()})) == "tpu"
    assert choose(Distribution(strategy="one_device"), None) == "one_device"


class Fake(Hosts):
    """Host 0 of two; `others` is what the other one says at each exchange in turn."""

    def __init__(self, *others: str):
        super().__init__(tf.distribute.get_strategy(), Cluster(("a:1", "b:1"), 0))
        self.others = list(others)

    def gather(self, text):
        return [text, self.others.pop(0)]


def test_hosts_that_agree_and_hosts_that_do_not():
    Fake('{"x": "1"}').agree({"x": "1"})
    with pytest.raises(CommonMistake) as error:
        Fake('{"x": "1", "y": "2", "z": "4"}').agree({"x": "1", "y": "3"})
    assert "worker 1 (b:1) would not train what worker 0 (a:1) does:" in str(error.value)
    assert "y: 3 on worker 0, 2 on worker 1\n" in str(error.value)
    assert "z: the default on worker 0, 4 on worker 1" in str(error.value) and "x:" not in str(error.value)


def test_a_mistake_of_one_host_is_raised_on_all():
    with Fake("").together():
        pass
    with pytest.raises(CommonMistake, match=r"worker 1 \(b:1\) stopped: no such file"), Fake("no such file").together():
        pass
    with pytest.raises(CommonMistake, match="mine"), Fake("").together():
        raise UserError("mine")


@pytest.mark.parametrize("error, told", [
    ("aborted by: Error reported from /job:worker/task:1: The following tasks are unhealthy (stopped sending heartbeats):\n"
     "/job:worker/replica:0/task:1\nThe tasks have crashed.", "worker 1 (b:1) is gone: its process ended"),
    ("Connection reset by peer from remote target /job:worker/replica:0/task:0", "another worker is gone"),
    ("aborted by: Error reported from /job:worker/task:1: <<tfft: worker 1 (b:1) stopped: the disk\nis full>>\nThe error could",
     "worker 1 (b:1) stopped: the disk\nis full\nThis worker stops too."),
])
def test_aborted_operations_are_told_as_workers_that_are_gone(error, told):
    said = explain(Cluster(("a:1", "b:1"), 0), error)
    assert said.startswith(told) and "The same command on all workers continues" in said


# ---- training: two worker processes

TRAIN_TWO = ("tools/launch_local.py", "2", "--")
EXACT = ("--config.model.dropout=0", "--config.model.head_dropout=0", "--config.train.summary_every_steps=1",
         "--config.eval.every_steps=8", "--config.train.layer_decay=0.9", "--config.train.clip_norm=0.5")
LONG = ("--config.train.epochs=12", "--config.train.checkpoint_every_steps=15", "--config.eval.every_steps=60",
        "--config.train.ema_decay=0.99")


# said by libraries: native log lines, which no level silences before absl is there, and Python's warnings
OF_LIBRARIES = re.compile(r"All log messages before absl::InitializeLog|^\[\d\] [IWEF]\d{4} \d\d:\d\d:|"
                          r"^\[\d\] \d{4}-\d\d-\d\d [\d:.]+: [IWEF] |\.py:\d+: \w+Warning: |^\[\d\]   warnings.warn\(")


def lines(workdir: Path, kind: str) -> list[dict]:
    """The lines of metrics.jsonl of one kind, without what the clock decides."""
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k} for line in found if line["kind"] == kind]


def weights(workdir: Path, which: str) -> dict[str, np.ndarray]:
    return load_file(workdir / which / "weights.safetensors")


def worker_pids(launcher: subprocess.Popen) -> list[int]:
    """The processes of workers 0 and 1."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    found = {}
    for pid in map(int, children):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        config = next(value for value in environment if value.startswith(b"TF_CONFIG="))
        found[json.loads(config.partition(b"=")[2])["task"]["index"]] = pid
    return [found[i] for i in sorted(found)]


@pytest.fixture(scope="module")
def pair(tiny_preset, reviews, tmp_path_factory):
    """(folder of a run on one device, folder of the same on two workers, what the two said)."""
    folder = tmp_path_factory.mktemp("pair")
    cache = str(folder / "cache")
    run(arguments(tiny_preset, reviews, folder / "one", *EXACT), cache)
    process = start(arguments(tiny_preset, reviews, folder / "two", *EXACT)[1:], cache, TRAIN_TWO)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-3000:]
    assert out == ""
    return folder / "one", folder / "two", error


@pytest.mark.slow
def test_two_workers_train_and_judge_like_one_device(pair):
    one, two, _ = pair
    assert len(lines(one, "train")) == 24 and len(lines(one, "validation")) == 3
    for kind in ("train", "validation"):
        for a, b in zip(lines(one, kind), lines(two, kind), strict=True):
            assert a.keys() == b.keys()
            assert [b[k] for k in a if k != "kind"] == pytest.approx([a[k] for k in a if k != "kind"], rel=1e-6)
    for which in ("last", "best"):
        for name, value in weights(one, which).items():
            np.testing.assert_allclose(weights(two, which)[name], value, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_the_chief_alone_writes_and_speaks(pair):
    one, two, said = pair
    assert sorted(p.name for p in two.iterdir()) == sorted(p.name for p in one.iterdir())
    log = (two / "train.log").read_text()
    assert log.count("next:") == log.count("my_csv: text_classification") == said.count("next:") == 1
    assert not [line for line in said.splitlines() if not line.startswith("[0]") and not OF_LIBRARIES.search(line)]
    environment = json.loads((two / "environment.json").read_text())
    assert (environment["replicas"], environment["hosts"]) == (2, 2)


@pytest.fixture(scope="module")
def uninterrupted(tiny_preset, reviews, tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    run(arguments(tiny_preset, reviews, folder / "run", *LONG)[1:], str(folder / "cache"), program=TRAIN_TWO)
    return folder / "run", str(folder / "cache")


@pytest.mark.slow
def test_stopped_and_killed_workers_resume_bit_for_bit(uninterrupted, tiny_preset, reviews, tmp_path):
    whole, cache = uninterrupted
    workdir = tmp_path / "run"
    command = arguments(tiny_preset, reviews, workdir, *LONG)[1:]

    process = start(command, cache, TRAIN_TWO)  # a signal to one worker stops both after one step, and the chief saves
    wait_for(lambda: saved(workdir) >= 30, process)
    os.kill(worker_pids(process)[1], signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    step = saved(workdir)
    assert process.returncode == 128 + signal.SIGTERM and f"[0] tfft: stopped by signal 15 at step {step}" in error
    assert "Traceback" not in error

    process = start(command, cache, TRAIN_TWO)  # a dead worker is noticed, and the other leaves
    wait_for(lambda: saved(workdir) >= step + 30, process)
    os.kill(worker_pids(process)[1], signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL and f"continuing at step {step}" in error
    assert "[0] tfft: worker 1 (127.0.0.1:" in error and "is gone" in error and "Traceback" not in error

    reached = saved(workdir)
    _, said = run(command, cache, program=TRAIN_TWO)
    assert step + 30 <= reached < 144 and f"continuing at step {reached}" in said
    for which in ("last", "best"):
        ours, theirs = weights(workdir, which), weights(whole, which)
        assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)
    assert lines(workdir, "validation") == lines(whole, "validation")
