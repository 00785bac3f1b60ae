"""From a CSV to an answer: tfft init, train, serve."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


def test_from_a_csv_to_an_answer(tiny_preset, reviews, tmp_path):
    shutil.copy(reviews, tmp_path / "films.csv")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TFFT_CACHE": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""}

    def tfft(*command):
        made = subprocess.run([sys.executable, "-m", "tfft", *command], cwd=tmp_path, env=environment, capture_output=True,
                              text=True, timeout=300)
        assert made.returncode == 0, made.stderr[-3000:]
        return made.stdout

    commands = tfft("init", "films.csv", "--yes").split("next:")[1]
    train, serve = re.findall(r"tfft ((?:train|serve) .*)", commands)
    tfft(*train.split(), f"--config.model.backbone={tiny_preset}", "--config.data.max_length=24", "--config.train.steps=20",
         "--config.train.peak_learning_rate=0.01")
    server = subprocess.Popen([sys.executable, "-m", "tfft", *serve.split(), "--rest_port=0", "--grpc_port=0"], cwd=tmp_path,
                              env=environment, text=True, stderr=subprocess.PIPE)
    clock = threading.Timer(240, server.kill)
    clock.start()
    try:
        said = ""
        while not (found := re.search(r"(http://127\.0\.0\.1:\d+) grpc", said)):
            line = server.stderr.readline()
            assert line, said
            said += line
        assert "tfft: exporting runs/films first" in said and "exported the weights of step" in said
        body = json.dumps({"instances": ["good film"]}).encode()
        with urllib.request.urlopen(f"{found[1]}/v1/models/films:predict", body, timeout=60) as answer:
            assert json.load(answer)["predictions"][0]["label"] in ("pos", "neg")
    finally:
        clock.cancel()
        server.terminate()
        server.communicate(timeout=60)
