"""Asks a served model: TF Serving, or tfft serve, by gRPC or REST.

    with Client("grpc://localhost:8500/imdb") as client:
        answers = client.predict(["A fine film."])      # {"label": ["pos"], "scores": [[0.03, 0.97]], ...}

Texts go out in requests of limited size, some of them at the same time. A request that the server cannot take now
(UNAVAILABLE, 503, no connection) is sent again after a pause that doubles each time and is in part random, while there is time.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

import numpy as np

from tfft.errors import UserError
from tfft.serving.transports import DEADLINE, GONE, INVALID, MISSING, Failure, Grpc, Rest

PORTS = {"grpc": 8500, "grpcs": 8500, "http": 8501, "https": 8501}  # TF Serving's own
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds
TOO_MANY = "larger than maximum"  # TF Serving refuses a request of more rows than its max_batch_size, and says no code for it
REQUEST_BYTES = 1 << 20  # of text in one request; a longer text goes alone


class Address(NamedTuple):
    """Where a model is: scheme grpc, grpcs, http or https; its newest version where there is neither version nor label."""

    scheme: str
    host: str
    port: int
    model: str
    version: int | None = None
    label: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """ "grpc://localhost:8500/imdb/labels/stable" -> its parts. Raises: UserError."""
        wanted = (f"{text!r} is no address of a model. It is like grpc://localhost:8500/imdb or http://localhost:8501/imdb; "
                  "after the model's name there may be /versions/3 or /labels/stable.")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise UserError(wanted) from error
        path = re.fullmatch(r"/(?:v1/models/)?([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?/?", parts.path)
        if parts.scheme not in PORTS or not parts.hostname or not path or parts.query or parts.fragment or "@" in parts.netloc:
            raise UserError(wanted)
        return cls(parts.scheme, parts.hostname, PORTS[parts.scheme] if port is None else port, unquote(path[1]),
                   int(path[2]) if path[2] else None, unquote(path[3] or ""))

    @property
    def target(self) -> str:
        """host:port"""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The model's place in the REST API, without a verb."""
        which = (f"/versions/{self.version}" if self.version is not None
                 else f"/labels/{quote(self.label, safe='')}" if self.label else "")
        return f"{self.scheme}://{self.target}/v1/models/{quote(self.model, safe='')}{which}"

    def __str__(self) -> str:
        which = f" version {self.version}" if self.version is not None else f" label {self.label!r}" if self.label else ""
        return f"model {self.model!r}{which} at {self.scheme}://{self.target}"


class Client:
    """One model of a server. Safe to use from several threads.

    timeout: seconds for each request, repetitions included; what is left of it is sent along by gRPC.
    retries: repetitions of a request at most.
    batch_size: texts in a request; half as many where the server finds them too many.
    in_flight: requests under way at the same time.
    certificates: a file of PEM certificates to trust with grpcs and https; '' are the system's.
    """

    def __init__(self, address: str, *, timeout: float = 60.0, retries: int = 5, batch_size: int = 32, in_flight: int = 4,
                 certificates: str = ""):
        if min(timeout, batch_size, in_flight) <= 0 or retries < 0:
            raise UserError("timeout, batch_size and in_flight must be above 0, and retries not below.")
        if certificates and not Path(certificates).is_file():
            raise UserError(f"There is no file of certificates {certificates}.")
        self.address = Address.parse(address)
        self._timeout, self._retries, self._batch_size, self._in_flight = timeout, retries, batch_size, in_flight
        self._transport = (Grpc if self.address.scheme.startswith("grpc") else Rest)(self.address, certificates)
        self._random = random.Random()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *details) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def predict(self, texts: list[str], second: list[str] | None = None, signature: str = "") -> dict[str, np.ndarray]:
        """Arrays of all outputs by name, a row for each text in the texts' order. Strings are in arrays of objects.

        Raises: UserError where the server has no such model, does not answer in time, or refuses the texts.
        """
        if second is not None and len(second) != len(texts):
            raise UserError(f"There are {len(texts)} texts and {len(second)} second ones; they go together.")
        if second is not None and "text_pair" not in (inputs := self.inputs(signature)):  # by REST it would be overlooked
            raise UserError(f"The {self.address} takes {' and '.join(inputs)}, and no text_pair.")
        return self.ask(_columns(texts, second), signature)

    def ask(self, columns: dict[str, list], signature: str = "") -> dict[str, np.ndarray]:
        """As `predict`, with whatever inputs the signature has: {"question": [...], "context": [...]}, say. Where a row
        is a list of texts, the lists are filled up with "" to one length."""
        columns = {name: _sendable(texts) for name, texts in columns.items()}
        parts = self._in_parts(columns, lambda part, seconds: self._transport.predict(part, signature, seconds))
        return {name: _in_order([(rows, made[name]) for rows, made in parts]) for name in parts[0][1]} if parts else {}

    def classify(self, texts: list[str], second: list[str] | None = None, signature: str = "classify") -> list[list[tuple]]:
        """[(label, score), ...] of each text, from the API for tf.Examples. Raises: UserError as `predict`."""
        return self._examples("classify", texts, second, signature)

    def regress(self, texts: list[str], second: list[str] | None = None, signature: str = "regress") -> list[float]:
        """The value of each text, from the API for tf.Examples. Raises: UserError as `predict`."""
        return self._examples("regress", texts, second, signature)

    def _examples(self, method: str, texts: list[str], second: list[str] | None, signature: str) -> list:
        columns = {name: _sendable(values) for name, values in _columns(texts, second).items()}
        parts = self._in_parts(columns, lambda part, seconds: self._transport.examples(method, part, signature, seconds))
        made: list = [None] * len(texts)
        for rows, answers in parts:
            for row, answer in zip(rows, answers, strict=True):
                made[row] = answer
        return made

    def inputs(self, signature: str = "") -> list[str]:
        """The names of a signature's inputs."""
        return self._ask(lambda seconds: self._transport.signature(signature, seconds))[0]

    def _in_parts(self, columns: dict[str, list[str]], call: Callable) -> list[tuple[list[int], object]]:
        """(rows, the call's answer to them) of each request. Texts of like length go together, since a batch is padded
        to its longest."""
        parts = list(requests(columns, self._batch_size))

        def ask(rows: list[int]) -> list[tuple[list[int], object]]:
            part = {name: _filled([values[row] for row in rows]) for name, values in columns.items()}
            try:
                return [(rows, self._ask(lambda seconds: call(part, seconds)))]
            except UserError as error:
                if len(rows) < 2 or TOO_MANY not in str(error.__cause__):
                    raise
            self._batch_size = half = len(rows) // 2
            return ask(rows[:half]) + ask(rows[half:])

        if len(parts) < 2:
            return [made for rows in parts for made in ask(rows)]
        with ThreadPoolExecutor(min(self._in_flight, len(parts))) as pool:
            tasks = [pool.submit(ask, rows) for rows in parts]
            try:
                done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            finally:  # after a failure, or Ctrl-C, what has not begun never does
                for task in tasks:
                    task.cancel()
            failed = next((error for task in done if not task.cancelled() and (error := task.exception())), None)
            if failed:
                raise failed
            return [made for task in tasks for made in task.result()]

    def _ask(self, call: Callable[[float], object]):
        """A call's answer; it is repeated while the server is not available and there is time.

        call: takes the seconds that are left. Raises: UserError.
        """
        end, pause = time.monotonic() + self._timeout, FIRST_PAUSE
        for attempt in range(self._retries + 1):
            try:
                return call(max(0.001, end - time.monotonic()))
            except Failure as failure:
                left = end - time.monotonic()
                if failure.kind != GONE or attempt == self._retries or left <= pause:
                    raise UserError(self._told(failure)) from failure
            time.sleep(pause * self._random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _told(self, failure: Failure) -> str:
        """The paragraph of a failure."""
        said = f": {failure.message}" if failure.message else ""
        kind = "gRPC" if self.address.scheme.startswith("grpc") else "REST"
        return {
            GONE: f"Nobody answers for {kind} at {self.address.target}{said}. Is the server up, and is this its {kind} port? "
                  "TF Serving's own are 8500 for gRPC and 8501 for REST.",
            DEADLINE: f"No answer from {self.address} within {self._timeout:g} s. Give it more time, or fewer texts at once.",
            MISSING: f"There is no {self.address}{said}.",
            INVALID: f"The {self.address} refuses the request{said}.",
        }.get(failure.kind, f"The {self.address} failed{said}.")


def requests(columns: dict[str, list], batch_size: int) -> Iterator[list[int]]:
    """Rows of each request, by length: at most `batch_size` of them and REQUEST_BYTES characters."""
    sizes = [sum(len(value) if isinstance(value, str) else sum(map(len, value)) for value in row)
             for row in zip(*columns.values(), strict=True)]
    rows: list[int] = []
    total = 0
    for row in sorted(range(len(sizes)), key=sizes.__getitem__):
        if rows and (len(rows) == batch_size or total + sizes[row] > REQUEST_BYTES):
            yield rows
            rows, total = [], 0
        rows.append(row)
        total += sizes[row]
    if rows:
        yield rows


def _columns(texts: list[str], second: list[str] | None) -> dict[str, list[str]]:
    return {"text": texts, **({} if second is None else {"text_pair": second})}


def _sendable(texts: list) -> list:
    """Without halves of surrogate pairs, which have no UTF-8: question marks, as in prediction by a run itself."""
    return [text.encode("utf-8", "replace").decode() if isinstance(text, str) else _sendable(text) for text in texts]


def _filled(column: list) -> list:
    """Lists of one length, filled up with ""; of texts the column as it is."""
    if not isinstance(column[0], list):
        return column
    width = max(1, *map(len, column))
    return [[*texts, *[""] * (width - len(texts))] for texts in column]


def _in_order(parts: list[tuple[list[int], np.ndarray]]) -> np.ndarray:
    """[([2, 0], [c, a]), ([1], [b])] -> [a, b, c]"""
    rows = np.concatenate([rows for rows, _ in parts])
    width = max((values.shape[1] for _, values in parts if values.ndim > 1), default=0)  # each answer is as wide as it must be
    values = np.concatenate([_widened(values, width) for _, values in parts])
    made = np.empty_like(values)
    made[rows] = values
    return made


def _widened(values: np.ndarray, width: int) -> np.ndarray:
    """[b,w,...] filled up to [b,width,...] with zeros, or empty strings."""
    if values.ndim < 2 or values.shape[1] == width:
        return values
    made = np.full((len(values), width, *values.shape[2:]), "" if values.dtype == object else 0, values.dtype)
    made[:, :values.shape[1]] = values
    return made
