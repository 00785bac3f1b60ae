"""Lower bounds on a step's time, and the largest batch that fits."""

import dataclasses
from collections.abc import Callable

from tfft.tpu.chips import Chip


@dataclasses.dataclass(frozen=True)
class Bound:
    """Seconds that a step takes at least for its arithmetic, its HBM traffic and its all-reduce, were each at the chip's
    peak; `rows` examples over all replicas.

    The three can overlap, so the step takes at least the longest of them (Williams et al. 2009, "Roofline", for the first two).
    """

    compute: float
    memory: float
    network: float
    rows: int

    @property
    def step(self) -> float:
        return max(self.compute, self.memory, self.network)

    @property
    def binds(self) -> str:
        times = {"compute": self.compute, "memory": self.memory, "all-reduce": self.network}
        return max(times, key=times.get)

    @property
    def examples_per_second(self) -> float:
        return self.rows / self.step


def bound(chip: Chip, replicas: int, *, rows: int, flops: float, hbm_bytes: float, gradient_bytes: float) -> Bound:
    """rows and gradient_bytes of one replica.

    An all-reduce over n replicas sends at least 2 (n - 1) / n of its bytes from each (Patarasuk & Yuan 2009); here over all the
    chip's links at once. 10 GB/s and 8 replicas: 80 MB of gradients take 2 x 7/8 x 80 MB / 10 GB/s = 14 ms.
    """
    network = 2 * (replicas - 1) / replicas * gradient_bytes / chip.interconnect
    return Bound(flops / chip.peak_flops, hbm_bytes / chip.bandwidth, network, rows * replicas)


def largest_batch(fits: Callable[[int], tuple[int, int]], first: int, multiple: int, tries: int = 4) -> tuple[int, int]:
    """(the largest per-replica batch found to fit, the smallest found not to; 0 where none was) within `tries` compiles.

    fits(rows) -> (bytes needed, bytes that there are). Memory is taken to grow linearly, from the two largest batches known,
    which is nearly so where it exceeds what the chip's on-chip memory hides; each guess is then compiled. Stops where a guess
    is within 5% of what fits.
    """
    known: dict[int, tuple[int, int]] = {}
    rows = first
    for _ in range(tries):
        known[rows] = fits(rows)
        best = max((r for r, (need, there) in known.items() if need <= there), default=0)
        worst = min((r for r, (need, there) in known.items() if need > there), default=0)
        rows = _guess(known, multiple)
        if worst:
            rows = min(rows, worst - multiple)
        if rows in known or rows < multiple or (best and rows <= best * 1.05):
            break
    return best, worst


def _guess(known: dict[int, tuple[int, int]], multiple: int) -> int:
    """The batch that a straight line through the two largest known needs all memory for; eight times the only one."""
    if len(known) == 1:
        (rows, (need, there)), = known.items()
        return max(multiple, (rows * 8 if need <= there else rows // 8) // multiple * multiple)
    (small, (a, there)), (large, (b, _)) = sorted(known.items())[-2:]
    each = (b - a) / (large - small)
    if each <= 0:
        return large * 8
    return int(small + (there - a) / each) // multiple * multiple
