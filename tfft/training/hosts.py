"""The processes that train one model together, and what they tell each other."""

import contextlib
import json
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from tfft.errors import UserError
from tfft.training.cluster import Cluster


class CommonMistake(UserError):
    """A mistake that every host has heard of, so that none needs to be told."""


class Hosts:
    """All hosts of a run; mostly there is one. Every method but the properties is for all of them to call, in one order."""

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster | None = None):
        self._strategy, self.cluster = strategy, cluster
        self.count = len(cluster.workers) if cluster else 1
        self.index = cluster.index if cluster else 0
        self._sum = tf.function(self._summed, autograph=False, reduce_retracing=True)

    @property
    def chief(self) -> bool:
        """Whether this is the host that writes, saves and speaks."""
        return self.cluster is None or self.cluster.chief

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum of every host's values, integers or float32, of the same shape on all; the same bits on all."""
        if self.count == 1 or not values.size:  # TensorFlow's ring crashes on an empty tensor
            return values
        kind = np.float32 if values.dtype == np.float32 else np.int64
        assert values.dtype == kind or values.dtype.kind in "iub", values.dtype
        flat = np.ascontiguousarray(values, kind).reshape(-1)
        return self._sum(tf.constant(flat)).numpy().reshape(values.shape).astype(values.dtype)

    def most(self, number: int) -> int:
        """The largest of every host's numbers."""
        return number if self.count == 1 else int(self._everyone(np.array([number], np.int64)).max())

    def gather(self, text: str) -> list[str]:
        """Every host's text, in the order of the hosts."""
        if self.count == 1:
            return [text]
        own = np.frombuffer(text.encode(), np.uint8)
        sizes = self._everyone(np.array([len(own)], np.int64))[:, 0]
        padded = np.zeros(int(sizes.max()), np.int64)
        padded[:len(own)] = own
        return [row[:size].astype(np.uint8).tobytes().decode()
                for row, size in zip(self._everyone(padded), sizes, strict=True)]

    def from_chief(self, text: str) -> str:
        """The chief's text."""
        return self.gather(text if self.chief else "")[0]

    def agree(self, facts: dict[str, str]) -> None:
        """Raises CommonMistake naming what is not the same on all of them."""
        told = [json.loads(text) for text in self.gather(json.dumps(facts))]
        for index, other in enumerate(told):
            if other != told[0]:
                raise CommonMistake(f"{self.cluster.name(index)} would not train what {self.cluster.name(0)} does:\n"
                                + "\n".join(f"  {name}: {told[0].get(name, 'the default')} on worker 0, "
                                            f"{other.get(name, 'the default')} on worker {index}"
                                            for name in {**told[0], **other} if told[0].get(name) != other.get(name))
                                + "\nStart the same command, with the same code and data, on every worker.")

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A mistake that one host finds in the block is raised on all, after the block; it must hold no exchange itself."""
        mistake = None
        try:
            yield
        except UserError as error:
            mistake = error
        told = self.gather(str(mistake) if mistake else "")
        if mistake:
            raise CommonMistake(str(mistake)) from mistake
        for index, text in enumerate(told):
            if text:
                raise CommonMistake(f"{self.cluster.name(index)} stopped: {text}")

    def share(self, variables: Iterable[tf.Variable]) -> None:
        """Gives every host the chief's values, bit for bit: only the chief has read a checkpoint."""
        if self.count == 1:
            return
        for variable in variables:
            value = np.asarray(variable.numpy())
            # adding 0.0 would turn -0.0 into 0.0
            mine = value if self.chief else np.full_like(value, -0.0) if value.dtype.kind == "f" else np.zeros_like(value)
            variable.assign(self.total(mine))

    def _everyone(self, values: np.ndarray) -> np.ndarray:
        """int64[n] of each host -> int64[hosts, n]."""
        own = np.zeros((self.count, len(values)), np.int64)
        own[self.index] = values
        return self.total(own)

    def _summed(self, values: tf.Tensor) -> tf.Tensor:
        replicas = self._strategy.num_replicas_in_sync // self.count

        def replica(values):
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % replicas == 0  # of this host's
            return context.all_reduce("SUM", tf.where(first, values, -tf.zeros_like(values)))

        return self._strategy.experimental_local_results(self._strategy.run(replica, args=(values,)))[0]
