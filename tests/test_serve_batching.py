"""Batching, on a signature that is a Python function."""

import asyncio
import threading
import time

import numpy as np
import pytest

from tfft.serving.server.batching import Batcher
from tfft.serving.server.refusal import Code, Refusal, invalid
from tfft.serving.server.settings import Batching


class Lengths:
    """Answers the length of each text; remembers its batches; the text b"fail" fails; holds while `gate` is closed."""
    name, inputs, batched, divisible = "lengths", {"text": None}, True, True

    def __init__(self):
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, arrays):
        self.batches.append(sorted(len(text) for text in arrays["text"]))
        assert self.gate.wait(20)
        if b"fail" in arrays["text"]:
            raise invalid("this text fails")
        return {"length": np.array([len(text) for text in arrays["text"]]), "text": arrays["text"]}


def texts(*lengths: int) -> dict:
    return {"text": np.array([b"x" * length for length in lengths], object)}


def batched(body, **changed):
    """Runs body(batcher, signature) in an event loop."""
    async def main():
        signature = Lengths()
        batcher = Batcher(Batching(**changed))
        try:
            return await asyncio.wait_for(body(batcher, signature), 60)
        finally:
            signature.gate.set()
            await asyncio.to_thread(batcher.close)

    return asyncio.run(main())


def soon(seconds: float = 30) -> float:
    return time.monotonic() + seconds


async def behind_a_closed_gate(batcher, signature, *requests):
    """Queues requests behind one that is being computed, then lets them all run; their outcomes."""
    signature.gate.clear()
    first = asyncio.create_task(batcher.run(signature, texts(1), soon()))
    while not signature.batches:
        await asyncio.sleep(0.001)
    tasks = [asyncio.create_task(batcher.run(signature, request, soon())) for request in requests]
    await asyncio.sleep(0.01)
    signature.gate.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_what_waits_is_computed_together():
    async def body(batcher, signature):
        made = await behind_a_closed_gate(batcher, signature, *[texts(length, length + 1) for length in range(10, 20)])
        assert [m["length"].tolist() for m in made] == [[length, length + 1] for length in range(10, 20)]
        assert signature.batches[0] == [1] and len(signature.batches) == 3  # 20 rows: 16 and 4
        assert [len(b) for b in signature.batches[1:]] == [16, 4]

    batched(body, max_batch_size=16)


def test_a_lone_request_does_not_wait():
    async def body(batcher, signature):
        for _ in range(3):
            assert (await batcher.run(signature, texts(5), soon()))["length"].tolist() == [5]
        assert signature.batches == [[5]] * 3

    batched(body)


def test_a_large_request_is_split_by_length_and_put_in_order():
    async def body(batcher, signature):
        lengths = [300, 10, 299, 12, 5000, 0, 310, 11]
        made = await batcher.run(signature, texts(*lengths), soon())
        assert made["length"].tolist() == lengths and [len(t) for t in made["text"]] == lengths
        assert sorted(signature.batches) == [[0, 10, 11], [12], [299, 300, 310], [5000]]

    batched(body, max_batch_size=3)


def test_the_oldest_is_in_the_next_batch_with_its_like():
    async def body(batcher, signature):
        made = await behind_a_closed_gate(batcher, signature, texts(1000), texts(10), texts(1100), texts(20), texts(900))
        assert [m["length"].tolist() for m in made] == [[1000], [10], [1100], [20], [900]]
        assert signature.batches[1:] == [[900, 1000, 1100], [10, 20]]

    batched(body)


def test_a_failing_request_does_not_fail_its_neighbours():
    async def body(batcher, signature):
        bad = {"text": np.array([b"good", b"fail"], object)}
        made = await behind_a_closed_gate(batcher, signature, texts(3), bad, texts(4, 5))
        assert made[0]["length"].tolist() == [3] and made[2]["length"].tolist() == [4, 5]
        assert isinstance(made[1], Refusal) and made[1].message == "this text fails"
        count = len(signature.batches)
        with pytest.raises(Refusal, match="this text fails"):
            await batcher.run(signature, bad, soon())
        assert len(signature.batches) == count + 1  # alone already: not computed again

    batched(body)


def test_expired_and_abandoned_requests_are_not_computed():
    async def body(batcher, signature):
        signature.gate.clear()
        first = asyncio.create_task(batcher.run(signature, texts(1), soon()))
        while not signature.batches:
            await asyncio.sleep(0.001)
        gone = asyncio.create_task(batcher.run(signature, texts(3), soon()))
        with pytest.raises(Refusal) as caught:
            await batcher.run(signature, texts(2), soon(0.05))
        assert caught.value.code == Code.DEADLINE_EXCEEDED
        gone.cancel()
        await asyncio.sleep(0)
        last = asyncio.create_task(batcher.run(signature, texts(4), soon()))
        await asyncio.sleep(0)
        signature.gate.set()
        await asyncio.gather(first, last)
        assert signature.batches == [[1], [4]] and batcher.waiting == 0

    batched(body)


def test_a_full_queue_refuses():
    async def body(batcher, signature):
        signature.gate.clear()
        tasks = [asyncio.create_task(batcher.run(signature, texts(1), soon()))]
        while not signature.batches:
            await asyncio.sleep(0.001)
        tasks += [asyncio.create_task(batcher.run(signature, texts(i), soon())) for i in range(4)]
        await asyncio.sleep(0.01)
        assert batcher.waiting == 4
        with pytest.raises(Refusal, match="queue .* is full") as caught:
            await batcher.run(signature, texts(9), soon())
        assert caught.value.code == Code.UNAVAILABLE
        signature.gate.set()
        assert len(await asyncio.gather(*tasks)) == 5
        assert (await batcher.run(signature, texts(*range(50)), soon()))["length"].tolist() == list(range(50))

    batched(body, max_batch_size=2, max_enqueued_batches=2)


def test_lengths_may_be_left_alone():
    async def body(batcher, signature):
        made = await batcher.run(signature, texts(1, 5000, 2, 7, 3), soon())
        assert made["length"].tolist() == [1, 5000, 2, 7, 3] and signature.batches == [[1, 2, 5000], [3, 7]]

    batched(body, max_batch_size=3, by_length=False)


def test_a_large_request_does_not_hold_small_ones():
    async def body(batcher, signature):
        large, small = await behind_a_closed_gate(batcher, signature, texts(*range(100, 140)), texts(10))
        assert large["length"].tolist() == list(range(100, 140)) and small["length"].tolist() == [10]
        assert signature.batches.index([10]) == 2 and len(signature.batches) == 12 and batcher.waiting == 0

    batched(body, max_batch_size=4, max_enqueued_batches=2)


def test_outputs_that_are_not_by_row_end_batching():
    class Unique(Lengths):
        def run(self, arrays):
            super().run(arrays)
            return {"unique": np.unique(arrays["text"])}

    async def body(batcher, _):
        signature = Unique()
        made = await behind_a_closed_gate(batcher, signature, texts(5, 5, 5), texts(6, 6))
        assert [len(m["unique"]) for m in made] == [1, 1] and not signature.batched

    batched(body)


def test_rows_of_other_widths_are_computed_alone():
    class Padded(Lengths):
        def run(self, arrays):
            super().run(arrays)
            width = max(len(text) for text in arrays["text"])
            return {"ids": np.zeros([len(arrays["text"]), width])}

    async def body(batcher, _):
        signature = Padded()
        assert (await batcher.run(signature, texts(10, 1000), soon()))["ids"].shape == (2, 1000)

    batched(body)


def test_shapes_are_not_mixed():
    class Wide(Lengths):
        inputs = {"ids": None}

        def run(self, arrays):
            self.batches.append(list(arrays["ids"].shape))
            assert self.gate.wait(20)
            return {"sum": arrays["ids"].sum(axis=1)}

    async def body(batcher, _):
        signature = Wide()
        signature.gate.clear()
        tasks = [asyncio.create_task(batcher.run(signature, {"ids": np.full([2, width], width)}, soon()))
                 for width in (1, 4, 8, 4, 8)]
        while not signature.batches:
            await asyncio.sleep(0.001)
        signature.gate.set()
        made = await asyncio.gather(*tasks)
        assert [m["sum"].tolist() for m in made] == [[w * w] * 2 for w in (1, 4, 8, 4, 8)]
        assert sum(rows for rows, _ in signature.batches) == 10

    batched(body)


def test_without_batching_each_request_is_one_call():
    async def body(batcher, signature):
        made = await behind_a_closed_gate(batcher, signature, texts(1, 1000), texts(2))
        assert [m["length"].tolist() for m in made] == [[1, 1000], [2]]
        assert signature.batches == [[1], [1, 1000], [2]]

    batched(body, enabled=False)


def test_many_threads_lose_nothing():
    async def body(batcher, signature):
        draw = np.random.default_rng(7)
        wanted = [draw.integers(0, 3000, draw.integers(1, 20)).tolist() for _ in range(200)]
        made = await asyncio.gather(*[batcher.run(signature, texts(*lengths), soon()) for lengths in wanted])
        assert [m["length"].tolist() for m in made] == wanted

    batched(body, max_batch_size=8, num_batch_threads=4, max_enqueued_batches=10_000)
