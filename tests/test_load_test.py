"""tools/load_test.py and soak_test.py: latencies from the intended start, every failure, wrong answers."""

import asyncio
import json
import pathlib
import random
import sys

import numpy as np
import pytest
import served

from tfft.errors import UserError

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tools"))

import load_test  # noqa: E402
import soak_test  # noqa: E402
from load_test import Load  # noqa: E402


class Slow:
    """Answers one request after another, each in a hundredth of a second, but the 20th in half a second."""

    def __init__(self, wrong=()):
        self._lock, self._count, self._wrong = asyncio.Lock(), 0, dict(wrong)

    def encode(self, texts):
        return texts[0].encode()

    async def send(self, request):
        async with self._lock:
            self._count += 1
            count = self._count
            await asyncio.sleep(0.5 if count == 20 else 0.01)
        made = self._wrong.get(count, np.array([[0.5]]))
        return (made, None) if isinstance(made, str) else ("", made)


def load(sender, texts=("a", "b")) -> Load:
    made = Load("http://localhost:8501/imdb", list(texts), 1, 5.0)
    made.sender = sender
    return made


def test_an_open_loop_sees_all_that_waited_for_a_stall():
    """Of about 30 requests a second those meant for the half second of the stall wait too; of a closed loop one does."""
    waited = {}
    for kind in ("open", "closed"):
        made = load(Slow())
        run = made.open(30, 2.0, random.Random(1)) if kind == "open" else made.closed(1, 2.0)
        asyncio.run(run)
        waited[kind] = sum(seconds > 0.1 for seconds in made.latencies)
        assert max(made.latencies) > 0.4 and not made.errors
    assert waited["closed"] == 1 and waited["open"] > 5


def test_failures_and_wrong_answers_are_counted_and_are_no_latencies():
    made = load(Slow({3: "HTTP 503: full", 5: np.array([[0.9]]), 7: "HTTP 503: full", 8: np.array([[0.5, 0.5]])}))
    seconds = asyncio.run(made.closed(2, 0.12))
    found = load_test.summary(made, seconds)
    assert found["errors"] == {"HTTP 503: full": 2, "another answer than the first to the same text": 2}
    assert found["failed"] == 4 and found["requests"] == len(made.latencies) + 4 and made.outstanding == 0
    assert "failed 2 times: HTTP 503: full" in load_test.table(found)


def test_texts(tmp_path):
    (tmp_path / "a.csv").write_text("n,review\n1,good\n2,bad\n")
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": ""}\n')
    assert load_test.read_texts(tmp_path / "a.csv", "review", 1) == ["good"]
    with pytest.raises(UserError, match="rows without a text in column 'text'"):
        load_test.read_texts(tmp_path / "a.jsonl", "text", 5)
    lengths = [len(text.split()) for text in load_test.made_texts("3:0.75,50:0.25", 200, random.Random(0))]
    assert set(lengths) == {3, 50} and 120 < lengths.count(3) < 180
    with pytest.raises(UserError, match="--lengths=long: .* It is like 20:0.7,200:0.3"):
        load_test.made_texts("long", 5, random.Random(0))


def test_versions_change_under_load_without_a_failure(tmp_path, monkeypatch, capsys):
    """Both APIs, as the commands run; what the soak made is gone at its end."""
    import os

    served.versions(tmp_path / "tiny", served.save(tmp_path / "made"), 1)
    (tmp_path / "tiny" / "notes").mkdir()
    with served.serving(served.settings(tmp_path / "tiny")) as server:
        monkeypatch.setattr(sys, "argv", ["soak_test.py", f"--server=grpc://127.0.0.1:{server.server.grpc_port}/tiny",
                                          f"--model={tmp_path / 'tiny'}", f"--pid={os.getpid()}", "--seconds=4", "--rate=50",
                                          "--swap_seconds=0.9", "--measure_seconds=0.3", f"--output={tmp_path / 'soak.json'}"])
        monkeypatch.setattr(soak_test, "WARMUP_SECONDS", 0.1)
        assert soak_test.main() == 0
        monkeypatch.setattr(sys, "argv", ["load_test.py", f"--server={server.url}/tiny", "--clients=2", "--seconds=0.3",
                                          "--warmup=0", "--batch=3"])
        assert load_test.main() == 0
        monkeypatch.setattr(sys, "argv", ["load_test.py", f"--server={server.url}/other", "--clients=1", "--seconds=0.1",
                                          "--warmup=0"])
        assert load_test.main() == 1 and "HTTP 404: " in capsys.readouterr().out
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["failed"] == 0 and found["requests"] > 100
    assert len(found["periods"]) in (4, 5)  # the last is a part of one
    assert [period["newest"] for period in found["periods"]] == list(range(1, len(found["periods"]) + 1))
    assert all(period["memory_mb"] > 10 for period in found["periods"])
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == ["1", "notes"]


def test_either_clients_or_a_rate(monkeypatch):
    for flags in ([], ["--clients=1", "--rate=2"]):
        monkeypatch.setattr(sys, "argv", ["load_test.py", "--server=http://localhost/imdb", *flags])
        with pytest.raises(UserError, match="Say either --clients=8 or --rate=20"):
            load_test.main()
