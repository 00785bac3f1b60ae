"""Asks a served model for a while, and says how long its answers took: TF Serving or tfft serve, REST or gRPC.

    python tools/load_test.py --server=http://localhost:8501/imdb --clients=8 --seconds=30 --texts=reviews.csv
    python tools/load_test.py --server=grpc://localhost:8500/imdb --rate=20 --lengths=20:0.5,200:0.5 --output=load.json

--clients: closed loop, so many clients that send a request when the answer to their last one is there. --rate: open loop,
requests arrive at random (Poisson) at so many a second, whatever the server does, and a latency counts from the moment that a
request was meant to be sent: a server that stalls, or a sender that is late, cannot hide it. Every answer is compared with
the first one to the same text. The exit code is 1 where a request failed.
"""

import argparse
import asyncio
import collections
import csv
import json
import pathlib
import random
import sys
import time

import aiohttp
import numpy as np

from tfft.errors import UserError, exit_code
from tfft.serving.client import Address

TOLERANCE = 1e-4  # between answers to one text in other batches
PERCENTILES = (50, 90, 95, 99, 99.9)
WORDS = "the a of and film plot scene actor was is good bad slow bright story end it that with never some music".split()


class Rest:
    """Requests as bytes, to :predict."""

    def __init__(self, address: Address, timeout: float):
        self._url = f"{address.url}:predict"
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def __aenter__(self):
        self._session = aiohttp.ClientSession(timeout=self._timeout, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *details):
        await self._session.close()

    def encode(self, texts: list[str]) -> bytes:
        return json.dumps({"inputs": {"text": texts}}).encode()

    async def send(self, request: bytes) -> tuple[str, np.ndarray | None]:
        """(what went wrong, or '', the scores)"""
        try:
            async with self._session.post(self._url, data=request, headers={"Content-Type": "application/json"}) as answer:
                content = await answer.read()
                if answer.status != 200:
                    return f"HTTP {answer.status}: {content[:120].decode(errors='replace')}", None
        except TimeoutError:
            return "timeout", None
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__}: {error}"[:120], None
        outputs = json.loads(content)["outputs"]
        return "", np.array(outputs["scores"] if isinstance(outputs, dict) else outputs, np.float32)


class Grpc:
    """Requests as bytes, to PredictionService.Predict."""

    def __init__(self, address: Address, timeout: float):
        import grpc
        from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

        self._grpc, self._address, self._timeout = grpc, address, timeout
        self._request, self._response = PredictRequest, PredictResponse

    async def __aenter__(self):
        self._channel = self._grpc.aio.insecure_channel(self._address.target)
        self._call = self._channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        return self

    async def __aexit__(self, *details):
        await self._channel.close()

    def encode(self, texts: list[str]) -> bytes:
        from tensorflow.core.framework.types_pb2 import DT_STRING

        request = self._request()
        request.model_spec.name, request.model_spec.version_label = self._address.model, self._address.label
        if self._address.version is not None:
            request.model_spec.version.value = self._address.version
        tensor = request.inputs["text"]
        tensor.dtype = DT_STRING
        tensor.tensor_shape.dim.add().size = len(texts)
        tensor.string_val.extend(text.encode() for text in texts)
        return request.SerializeToString()

    async def send(self, request: bytes) -> tuple[str, np.ndarray | None]:
        """(what went wrong, or '', the scores)"""
        try:
            content = await self._call(request, timeout=self._timeout)
        except self._grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"[:120], None
        outputs = self._response.FromString(content).outputs
        tensor = outputs["scores" if "scores" in outputs else next(iter(outputs))]
        values = np.frombuffer(tensor.tensor_content, np.float32) if tensor.tensor_content else np.array(tensor.float_val)
        return "", values.astype(np.float32).reshape([d.size for d in tensor.tensor_shape.dim])


class Load:
    """Requests that go round and round, and a record of what became of them."""

    def __init__(self, address: str, texts: list[str], batch: int, timeout: float):
        chosen = Address.parse(address)
        self.address, self.batch = chosen, batch
        self.sender = (Grpc if chosen.scheme == "grpc" else Rest)(chosen, timeout)
        self._requests = [self.sender.encode(texts[i:i + batch]) for i in range(0, len(texts) - batch + 1, batch)]
        self._first: list[np.ndarray | None] = [None] * len(self._requests)
        self._next = 0
        self.latencies: list[float] = []  # seconds
        self.errors: collections.Counter[str] = collections.Counter()
        self.outstanding = 0

    def forget(self) -> None:
        """Begins the record anew."""
        self.latencies, self.errors = [], collections.Counter()

    async def one(self, meant: float) -> None:
        """Sends the next request, whose time to be sent was `meant`."""
        number = self._next % len(self._requests)
        self._next += 1
        self.outstanding += 1
        wrong, scores = await self.sender.send(self._requests[number])
        ended = time.perf_counter()
        self.outstanding -= 1
        if not wrong and self._first[number] is None:
            self._first[number] = scores
        elif not wrong and not (scores.shape == self._first[number].shape
                                and np.abs(scores - self._first[number]).max() <= TOLERANCE):
            wrong = "another answer than the first to the same text"
        if wrong:
            self.errors[wrong] += 1
        else:
            self.latencies.append(ended - meant)

    async def closed(self, clients: int, seconds: float) -> float:
        """So many clients for so long; returns the seconds until the last answer."""
        began = time.perf_counter()

        async def client():
            while time.perf_counter() < began + seconds:
                await self.one(time.perf_counter())

        await asyncio.gather(*(client() for _ in range(clients)))
        return time.perf_counter() - began

    async def open(self, rate: float, seconds: float, draw: random.Random) -> float:
        """`rate` requests a second on average; returns the seconds until the last answer."""
        began = meant = time.perf_counter()
        running = set()
        while (meant := meant + draw.expovariate(rate)) < began + seconds:
            await asyncio.sleep(max(0.0, meant - time.perf_counter()))
            task = asyncio.create_task(self.one(meant))
            running.add(task)
            task.add_done_callback(running.discard)
        while running:
            await asyncio.wait(running)
        return time.perf_counter() - began


def summary(load: Load, seconds: float) -> dict:
    """Figures of a record that took so long."""
    made = np.array(load.latencies) * 1000
    names = [f"p{p:g}" for p in PERCENTILES]
    values = np.percentile(made, PERCENTILES) if len(made) else [float("nan")] * len(names)
    return {"requests": len(made) + sum(load.errors.values()), "failed": sum(load.errors.values()), "errors": dict(load.errors),
            "seconds": seconds, "requests_per_second": len(made) / seconds,
            "texts_per_second": len(made) * load.batch / seconds,
            "latency_ms": {**dict(zip(names, map(float, values))), "max": float(made.max(initial=0.0))}}


def table(found: dict) -> str:
    latency = found["latency_ms"]
    return "\n".join([
        "| requests | failed | texts/s | " + " | ".join(f"{name} ms" for name in latency) + " |",
        "| " + " | ".join(["---"] * (3 + len(latency))) + " |",
        f"| {found['requests']:,} | {found['failed']:,} | {found['texts_per_second']:.1f} | "
        + " | ".join(f"{value:.1f}" for value in latency.values()) + " |",
        *(f"failed {count:,} times: {error}" for error, count in found["errors"].items())])


async def progress(load: Load, every: float = 5.0) -> None:
    """A line on standard error every few seconds, until it is cancelled."""
    while True:
        before = len(load.latencies)
        await asyncio.sleep(every)
        done = load.latencies[before:]
        worst = f"{1000 * max(done):.0f} ms at worst" if done else "no answer"
        print(f"{load.batch * len(done) / every:8.1f} texts/s, {worst}, {load.outstanding} under way, "
              f"{sum(load.errors.values())} failed", file=sys.stderr, flush=True)


def read_texts(path: pathlib.Path, column: str, count: int) -> list[str]:
    """Texts of a csv or jsonl file, at most `count`."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file) if path.suffix == ".csv" else map(json.loads, file)
        texts = [row.get(column) for row, _ in zip(rows, range(count))]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise UserError(f"{path} has rows without a text in column {column!r}, or no rows.")
    return texts


def made_texts(lengths: str, count: int, draw: random.Random) -> list[str]:
    """Texts of words: "20:0.7,200:0.3" has seven in ten of 20 words and three of 200."""
    try:
        parts = [part.partition(":") for part in lengths.split(",")]
        words, shares = [int(part[0]) for part in parts], [float(part[2] or 1) for part in parts]
    except ValueError as error:
        raise UserError(f"--lengths={lengths}: {error}. It is like 20:0.7,200:0.3, words and shares.") from error
    return [" ".join(draw.choices(WORDS, k=size)) for size in draw.choices(words, shares, k=count)]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What load_test.py and soak_test.py share."""
    parser.add_argument("--server", required=True, help="http://host:8501/imdb or grpc://host:8500/imdb")
    parser.add_argument("--texts", type=pathlib.Path, help="a .csv or .jsonl file of texts")
    parser.add_argument("--column", default="text", help="its column")
    parser.add_argument("--lengths", default="20:0.5,200:0.5", help="without --texts: words in a text, and the share of such")
    parser.add_argument("--count", type=int, default=512, help="different texts")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file for all figures")


def texts_of(arguments: argparse.Namespace) -> list[str]:
    if arguments.texts:
        return read_texts(arguments.texts, arguments.column, arguments.count)
    return made_texts(arguments.lengths, arguments.count, random.Random(arguments.seed))


async def run(arguments: argparse.Namespace) -> dict:
    texts = texts_of(arguments)
    load = Load(arguments.server, texts * -(-arguments.batch // len(texts)), arguments.batch, arguments.timeout)
    async with load.sender:
        await load.closed(arguments.clients or 4, arguments.warmup)
        load.forget()
        lines = asyncio.create_task(progress(load))
        seconds = await (load.open(arguments.rate, arguments.seconds, random.Random(arguments.seed)) if arguments.rate
                         else load.closed(arguments.clients, arguments.seconds))
        lines.cancel()
    return summary(load, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser)
    parser.add_argument("--clients", type=int, default=0, help="closed loop: clients at the same time")
    parser.add_argument("--rate", type=float, default=0.0, help="open loop: requests a second")
    parser.add_argument("--batch", type=int, default=1, help="texts in a request")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warmup", type=float, default=3.0, help="seconds before that, which do not count")
    arguments = parser.parse_args()
    if (arguments.clients > 0) == (arguments.rate > 0):
        raise UserError("Say either --clients=8 or --rate=20.")
    found = asyncio.run(run(arguments))
    print(table(found))
    if arguments.output:
        settings = {name: str(value) for name, value in vars(arguments).items()}
        arguments.output.write_text(json.dumps({"settings": settings, **found}, indent=1) + "\n")
    return int(found["failed"] > 0 or not found["requests"])


if __name__ == "__main__":
    sys.exit(exit_code(main))
