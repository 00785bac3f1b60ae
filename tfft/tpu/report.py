"""The preflight's table and JSON."""

import dataclasses

from tfft.tpu.chips import Slice
from tfft.tpu.compiler import Compiled
from tfft.tpu.roofline import Bound, bound
from tfft.training.summaries import duration, table

NOTE = """bounds, not measurements: a step takes at least the time at the chip's peak rates; memory and "compiles" are the
compiler's own word. HBM traffic leaves out what the compiler keeps on the chip."""


@dataclasses.dataclass(frozen=True)
class Bucket:
    """One batch length: `rows` of one replica's batch, `steps` of the first epoch, and what the compiler said."""

    length: int
    rows: int
    steps: int
    compiled: Compiled
    remembered: bool = False


@dataclasses.dataclass
class Report:
    """largest: (rows of the largest batch found to fit, of the smallest found not to) at the longest length; None: not tried.
    skipped: lengths of the plan that were not compiled, with their steps. parts: of several tasks what each has of a bucket's
    rows, (rows, length)."""

    tpu: Slice
    gradient_bytes: int
    buckets: list[Bucket]
    skipped: dict[int, int]
    largest: tuple[int, int] | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    parts: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def bound(self, bucket: Bucket) -> Bound:
        c = bucket.compiled
        return bound(self.tpu.chip, self.tpu.replicas, rows=bucket.rows, flops=c.flops, hbm_bytes=c.hbm_bytes,
                     gradient_bytes=self.gradient_bytes)

    @property
    def compiles(self) -> bool:
        return all(b.compiled.refusal is None for b in self.buckets)

    def text(self) -> str:
        rows = [self._row(bucket) for bucket in self.buckets]
        head = ("length", "rows", "steps", "compiles", "HBM needed", "of chip's", "GFLOP", "HBM traffic", "step at least",
                "bound by", "examples/s at most")
        replicas = f"{self.tpu.replicas} replica{'s' * (self.tpu.replicas > 1)}"
        parts = ", ".join(f"{name} {rows} x {length}" for name, (rows, length) in self.parts.items())
        lines = [f"{self.tpu.name}: {replicas}; rows, memory, GFLOP and traffic are one replica's",
                 *([f"a step has rows x tokens of each task: {parts}"] if parts else []), table(rows, head)]
        lines += [f"length {b.length}: {b.compiled.refusal}" for b in self.buckets if b.compiled.refusal]
        if self.skipped:
            lines.append(f"not compiled: {len(self.skipped)} more lengths ({', '.join(map(str, self.skipped))}); "
                         f"--max_lengths={len(self.skipped) + len(self.buckets)} compiles all")
        lines.append(table(self._summary()))
        return "\n".join([*lines, NOTE])

    def _row(self, bucket: Bucket) -> tuple:
        c = bucket.compiled
        time = f"yes, {c.seconds:.0f} s" if c.refusal is None else "NO"
        time += " (kept)" if bucket.remembered else ""
        need = (f"{c.needed / 2**20:,.0f} MiB", f"{c.needed / self.tpu.chip.hbm:.1%}") if c.needed else ("", "")
        if c.refusal:
            return (bucket.length, bucket.rows, bucket.steps, time, *need, "", "", "", "", "")
        b = self.bound(bucket)
        return (bucket.length, bucket.rows, bucket.steps, time, *need, f"{c.flops / 1e9:,.0f}", f"{c.hbm_bytes / 1e6:,.0f} MB",
                f"{b.step * 1e3:.2f} ms", b.binds, f"{b.examples_per_second:,.0f}")

    def _summary(self) -> list[tuple[str, str]]:
        chip, rows = self.tpu.chip, []
        if self.largest is not None and self.buckets:
            best, worst = self.largest
            found = f"{best:,} fit" if best else "none fits"
            rows.append((f"largest batch of a replica at length {self.buckets[-1].length}",
                         found + (f", {worst:,} do not" if worst else "")))
        network = bound(chip, self.tpu.replicas, rows=1, flops=0, hbm_bytes=0, gradient_bytes=self.gradient_bytes).network
        rows.append(("gradients to all-reduce", f"{self.gradient_bytes / 1e6:,.1f} MB, at least {network * 1e3:.2f} ms"))
        done = [b for b in self.buckets if b.compiled.refusal is None]
        if self.compiles and done and not self.skipped:
            rows.append(("an epoch takes at least", duration(sum(b.steps * self.bound(b).step for b in done))))
        rows.append(("chip", f"{chip.name}: {chip.peak_flops / 1e12:.0f} TFLOP/s bfloat16, {chip.hbm / 2**30:.0f} GiB of HBM "
                             f"at {chip.bandwidth / 1e9:,.0f} GB/s, {chip.interconnect / 1e9:.0f} GB/s to other chips"))
        rows.append(("compiler", ", ".join(f"{k} {v}" for k, v in self.versions.items())))
        return rows

    def json(self) -> dict:
        """Everything, in bytes, seconds and FLOPs."""
        buckets = []
        for bucket in self.buckets:
            c = bucket.compiled
            entry = {"length": bucket.length, "rows_per_replica": bucket.rows, "steps": bucket.steps,
                     "compiles": c.refusal is None, "compile_seconds": c.seconds, "remembered": bucket.remembered,
                     "hbm_needed": c.needed}
            if c.refusal:
                entry["refusal"] = dataclasses.asdict(c.refusal)
            else:
                b = self.bound(bucket)
                entry |= {"flops": c.flops, "bytes_accessed": c.bytes_accessed, "hbm_bytes": c.hbm_bytes, "memory": c.memory,
                          "estimated_cycles": c.cycles, "bound": {**dataclasses.asdict(b), "step": b.step, "binds": b.binds,
                                                                  "examples_per_second": b.examples_per_second},
                          "hbm_bytes_by_op": c.moved}
            buckets.append(entry)
        largest = None if self.largest is None else {"fits": self.largest[0], "too_large": self.largest[1] or None}
        return {"tpu": self.tpu.name, "replicas": self.tpu.replicas, "chip": dataclasses.asdict(self.tpu.chip),
                "versions": self.versions, "gradient_bytes": self.gradient_bytes, "largest_per_replica_batch": largest,
                "not_compiled": self.skipped, "buckets": buckets,
                "tasks": {name: {"rows_per_replica": rows, "length": length} for name, (rows, length) in self.parts.items()}}
