"""python -m tfft.serve as a process: its lines, its end, and its mistakes."""

import http.client
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest
from commands import ROOT, run, start, wait_for
from served import versions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tiny_saved, tmp_path_factory):
    return versions(tmp_path_factory.mktemp("models") / "tiny", tiny_saved, 1)


class Process:
    """A running server and the lines it has said."""

    def __init__(self, *flags: str):
        self.process = start(["serve", "--rest_port=0", "--grpc_port=0", *flags], "", ("-m", "tfft"))
        self.said = ""
        self.ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self.ready.wait(120), self.said
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+) grpc://127\.0\.0\.1:\d+", self.said)[1])

    def _read(self) -> None:
        for line in self.process.stderr:
            self.said += line
            if "tfft: serving tiny version" in line:
                self.ready.set()
        self.ready.set()

    def ask(self, body: dict, connection=None):
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", "/v1/models/tiny:predict", json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.getheader("Connection")

    def wait_for_a_request(self) -> None:
        """Until one is being answered."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        wait_for(lambda: b"tfft_requests_in_flight 1.0" in urllib.request.urlopen(url, timeout=30).read(), self.process, 30)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


def test_a_drained_server_answers_what_it_has_taken(folder):
    server = Process(f"--model={folder}")
    idle = http.client.HTTPConnection("127.0.0.1", server.port)
    assert server.ask({"instances": ["a"]}, idle)[0] == 200
    answers = []
    long = threading.Thread(target=lambda: answers.append(server.ask({"signature_name": "slow", "inputs": [8000]})))
    long.start()
    server.wait_for_a_request()
    assert server.end(signal.SIGTERM) == 0
    long.join()
    assert answers == [(200, {"outputs": [8000]}, "close")]
    with pytest.raises(OSError):
        http.client.HTTPConnection("127.0.0.1", server.port).request("GET", "/healthz")
    assert server.said.rstrip().endswith("tfft: draining") or "unloaded tiny version 1" in server.said
    assert "Traceback" not in server.said and "deprecated" not in server.said, server.said


def test_killed_in_mid_request_and_started_again(folder):
    """The client has an error, never an answer; files are never written, even where none may be."""
    server = Process(f"--model={folder}")
    outcome = []

    def ask():
        try:
            outcome.append(server.ask({"signature_name": "slow", "inputs": [100_000]}))
        except (OSError, http.client.HTTPException) as error:
            outcome.append(type(error))

    client = threading.Thread(target=ask)
    client.start()
    server.wait_for_a_request()
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    client.join()
    assert len(outcome) == 1 and isinstance(outcome[0], type)
    before = sorted(folder.rglob("*"))
    again = Process(f"--model={folder}")
    resource.prlimit(again.process.pid, resource.RLIMIT_FSIZE, (0, 0))  # not one byte into any file: a full disk
    assert again.ask({"instances": ["a"]})[0] == 200
    assert again.end(signal.SIGINT) == 0
    assert sorted(folder.rglob("*")) == before


def test_a_request_that_does_not_end_is_not_waited_for(folder):
    server = Process(f"--model={folder}", "--drain_seconds=0.2", "--request_timeout=0.5")
    status, made, _ = server.ask({"signature_name": "slow", "inputs": [100_000]})
    assert status == 504 and "deadline" in made["error"].lower()
    assert server.end(signal.SIGTERM) == 0


def test_mistakes_are_told_at_once(folder, tmp_path):
    for flags, message in (([], "Say what to serve: --model=models/imdb"), ([f"--model={tmp_path}/none"], "there is no folder"),
                           ([f"--model={folder}/1"], "is a version's folder"),
                           ([f"--model={folder}", "--rest_port=x"], "rest_port"),
                           ([f"--model={folder}", "--port=1"], "Unknown command line flag 'port'"),
                           ([f"--model_config_file={tmp_path}/none"], "No such file"),
                           ([f"--model={folder}", "--max_batch_size=0"], "max_batch_size")):
        _, error = run(["serve", *flags], "", code=2)
        assert message in error and "loading TensorFlow" not in error and "Traceback" not in error, error


def test_a_port_in_use_is_told(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for kind, other in (("rest", "grpc"), ("grpc", "rest")):
            _, error = run(["serve", f"--model={folder}", f"--{kind}_port={port}", f"--{other}_port=0"], "", code=2)
            assert f"127.0.0.1:{port} is in use. Choose another with --{kind}_port=PORT" in error
            assert "loading TensorFlow" not in error
    for flags, message in ((["--host=no.such.host.invalid"], "is no address of this machine"),
                           ([f"--rest_port={port}", f"--grpc_port={port}"], "they need one each")):
        assert message in run(["serve", f"--model={folder}", *flags], "", code=2)[1]


def test_the_help_lists_the_flags():
    made = subprocess.run([sys.executable, "-m", "tfft", "serve", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == 0 and "--model_config_file" in made.stdout and "--drain_seconds" in made.stdout
