"""Joins what waits into batches: nobody waits for others, but who waits anyway is computed together."""

import asyncio
import collections
import threading
import time

import numpy as np

from tfft.serving.server.refusal import Code, Refusal
from tfft.serving.server.settings import Batching
from tfft.serving.server.version import Signature

NEAR = 2.0        # rows whose lengths in bytes differ by more than this factor are not padded to each other
SHORT = 64        # bytes; below, differences cost nothing


class Job:
    """A request in the batcher: its rows are computed in pieces; the future gets all outputs, in the rows' order."""

    def __init__(self, signature: Signature, arrays: dict[str, np.ndarray], deadline: float, joined: bool):
        self.signature, self.arrays, self.deadline = signature, arrays, deadline
        self.loop = asyncio.get_running_loop()
        self.future = self.loop.create_future()
        self.joined = joined
        self.rows = len(next(iter(arrays.values()))) if joined else 1
        self.outputs: dict[str, np.ndarray] = {}
        self.todo: collections.deque[Piece] = collections.deque()  # not in the queue yet
        self.queued = 0  # rows in the queue
        self.left = 0    # pieces without an answer
        self.dropped = False
        self._lock = threading.Lock()

    def cut(self, limit: int, by_length: bool) -> None:
        """Makes the pieces: at most `limit` rows each, of similar lengths."""
        if not self.joined or not self.signature.divisible:
            made = [Piece(self, None, 0, self.rows)]
        elif (lengths := self._lengths() if by_length else None) is None:
            made = [Piece(self, slice(i, i + limit), 0, min(limit, self.rows - i)) for i in range(0, self.rows, limit)]
        else:
            made, order, first = [], np.argsort(lengths, kind="stable"), 0
            for i in range(1, self.rows + 1):
                if i == self.rows or i - first == limit or lengths[order[i]] > NEAR * max(SHORT, lengths[order[first]]):
                    made.append(Piece(self, order[first:i], int(lengths[order[i - 1]]), i - first))
                    first = i
        if len(made) == 1:
            made[0].rows = None  # in their own order
        self.left = len(made)
        self.todo.extend(made)

    def _lengths(self) -> np.ndarray | None:
        """Bytes of each row's longest string; None without string inputs."""
        texts = [array for array in self.arrays.values() if array.dtype == object and array.ndim == 1]
        if not texts:
            return None
        return np.max([[len(text) for text in array] for array in texts], axis=0)

    def put(self, piece: "Piece", outputs: dict[str, np.ndarray]) -> bool:
        """Takes the outputs of some rows and ends the request with the last; False if they do not fit the others'."""
        if piece.count == self.rows:
            self.end(outputs)
            return True
        with self._lock:
            self.left -= 1
            for name, array in outputs.items():
                whole = self.outputs.setdefault(name, np.empty((self.rows, *array.shape[1:]), array.dtype))
                if whole.shape[1:] != array.shape[1:]:
                    return False
                whole[piece.rows] = array
            if self.left == 0:
                self.end(self.outputs)
            return True

    def alone(self) -> None:
        """Computes the whole request at once, without others."""
        if not self.dropped:
            try:
                self.end(self.signature.run(self.arrays))
            except Exception as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        self.dropped = True
        self.loop.call_soon_threadsafe(_settle, self.future, None, error)

    def end(self, outputs) -> None:
        self.dropped = True
        self.loop.call_soon_threadsafe(_settle, self.future, outputs, None)


def _settle(future: asyncio.Future, outputs, error) -> None:
    if not future.done():
        future.set_exception(error) if error else future.set_result(outputs)


class Piece:
    """Rows of a job that are computed at once. key tells with which others it can be joined."""

    def __init__(self, job: Job, rows, length: int, count: int):
        self.job, self.rows, self.length, self.count = job, rows, length, count
        shapes = tuple((array.shape[1:], array.dtype.char) for array in job.arrays.values()) if job.joined else id(self)
        self.key = (job.signature.name, shapes)

    def near(self, other: "Piece") -> bool:
        """Whether the two are worth padding to one length."""
        short, long = sorted((self.length, other.length))
        return long <= NEAR * max(SHORT, short)

    def array(self, name: str) -> np.ndarray:
        whole = self.job.arrays[name]
        return whole if self.rows is None else whole[self.rows]


class Batcher:
    """The queue and the threads of one loaded version."""

    def __init__(self, batching: Batching, observe=lambda rows, seconds: None):
        self.batching, self._observe = batching, observe
        self._queue: collections.deque[Piece] = collections.deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True, name="batches")
                         for _ in range(batching.num_batch_threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return self._rows

    async def run(self, signature: Signature, arrays: dict[str, np.ndarray], deadline: float) -> dict[str, np.ndarray]:
        """The outputs of a request. Raises: Refusal; deadline is a time of time.monotonic()."""
        job = Job(signature, arrays, deadline, joined=signature.batched and self.batching.enabled)
        job.cut(self.batching.max_batch_size, self.batching.by_length)
        with self._changed:
            rows = self._rows + min(job.rows, self.batching.max_batch_size)
            if self._queue and rows > self.batching.max_batch_size * self.batching.max_enqueued_batches:
                raise Refusal(Code.UNAVAILABLE, "The batch scheduling queue to which this request was submitted is full")
            self._feed(job)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await job.future
        except TimeoutError as error:
            raise Refusal(Code.DEADLINE_EXCEEDED, "The deadline passed before the request was answered") from error
        finally:
            job.dropped = True  # of no use any more: answered, timed out, or its client is gone

    def close(self) -> None:
        """Ends the threads, which may take as long as their last batch. The queue must be empty."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                batch = self._take()
            try:
                self._run(batch)
            except Exception as error:  # a defect must not end the thread
                for piece in batch:
                    piece.job.fail(error)

    def _feed(self, job: Job) -> None:
        """Queues a job's next pieces, a batch's worth of rows at a time: a large request comes around like many small ones."""
        while job.todo and job.queued < self.batching.max_batch_size and not job.dropped:
            piece = job.todo.popleft()
            self._queue.append(piece)
            job.queued += piece.count
            self._rows += piece.count
            self._changed.notify()

    def _take(self) -> list[Piece]:
        """The oldest piece, and others of its kind and of similar length that waited with it."""
        kept: collections.deque[Piece] = collections.deque()
        batch: list[Piece] = []
        rows, now = 0, time.monotonic()
        for piece in self._queue:
            if piece.job.dropped or piece.job.deadline <= now:
                self._rows -= piece.count
                continue
            if batch and (piece.key != batch[0].key or not piece.near(batch[0])
                          or rows + piece.count > self.batching.max_batch_size):
                kept.append(piece)
                continue
            batch.append(piece)
            rows += piece.count
        self._queue = kept
        self._rows -= rows
        for piece in batch:
            piece.job.queued -= piece.count
            self._feed(piece.job)
        return batch

    def _run(self, batch: list[Piece]) -> None:
        """Computes a batch. Where it fails, or does not answer row by row, each of its requests is computed alone."""
        if not batch:
            return
        job, rows = batch[0].job, sum(piece.count for piece in batch)
        alone = len(batch) == 1 and rows == job.rows
        try:
            started = time.perf_counter()
            arrays = {name: batch[0].array(name) if len(batch) == 1 else np.concatenate([p.array(name) for p in batch])
                      for name in job.signature.inputs}
            outputs = job.signature.run(arrays)
            self._observe(rows, time.perf_counter() - started)
        except Exception as error:
            if alone:
                return job.fail(error)
            outputs = None
        if alone:
            return job.end(outputs)
        if outputs is not None and any(array.shape[:1] != (rows,) for array in outputs.values()):
            job.signature.batched, outputs = False, None  # not what its shapes said
        first = 0
        for piece in batch:
            if outputs is None:
                piece.job.alone()
            elif not piece.job.put(piece, {name: array[first:first + piece.count] for name, array in outputs.items()}):
                job.signature.divisible = False  # its rows have a common shape that is a matter of all of them
                piece.job.alone()
            first += piece.count
