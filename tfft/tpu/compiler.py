"""Asks the TPU compiler in its own process, remembers what it said, and kills it when the user leaves."""

import dataclasses
import hashlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tfft.errors import UserError
from tfft.tpu import compile_step, traffic
from tfft.tpu.chips import Chip
from tfft.tpu.refusals import Refusal, refusal

SCRIPT = Path(compile_step.__file__)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of one step. Bytes and FLOPs of one replica's step; cycles: the sum of the estimates that the
    compiler wrote beside its instructions (it overlaps some of them)."""

    seconds: float
    refusal: Refusal | None = None
    flops: float = 0.0
    bytes_accessed: float = 0.0
    hbm_bytes: int = 0
    cycles: int = 0
    memory: dict[str, int] = dataclasses.field(default_factory=dict)
    moved: dict[str, int] = dataclasses.field(default_factory=dict)  # op -> bytes of HBM traffic, the largest

    @property
    def needed(self) -> int:
        """Bytes of HBM that the step holds at its peak: what goes in and out (updated in place counts once) and temporaries."""
        if self.refusal:
            return self.refusal.needed
        m = self.memory
        return m["argument"] + m["output"] - m["alias"] + m["temp"] + m["generated_code"]


class Compiler:
    """`python` must have jax and libtpu; answers are kept in `cache`, by the HLO's hash.

    Raises: UserError where `python` cannot compile.
    """

    def __init__(self, python: str, cache: Path, wait: Callable[[float], object] = lambda seconds: None):
        self._python, self._cache, self._wait = python, cache, wait
        self.versions = compiler_versions(python)

    def compile(self, hlo: bytes, chip: Chip) -> tuple[Compiled, bool]:
        """(answer, whether it was remembered)."""
        path = self._cache / f"{self._key(hlo, chip)}.json"
        if path.is_file():
            return _from_json(path.read_text("utf-8")), True
        made = self._ask(hlo, chip)
        self._cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(dataclasses.asdict(made)), "utf-8")
        part.replace(path)
        return made, False

    def _key(self, hlo: bytes, chip: Chip) -> str:
        parts = (hlo, chip.smallest.encode(), json.dumps(self.versions, sort_keys=True).encode(), SCRIPT.read_bytes(),
                 Path(traffic.__file__).read_bytes())
        return hashlib.blake2b(b"\0".join(parts), digest_size=16).hexdigest()

    def _ask(self, hlo: bytes, chip: Chip) -> Compiled:
        with tempfile.TemporaryDirectory() as folder:
            step, answer, optimised = (Path(folder) / name for name in ("step.hlo", "answer.json", "optimised.txt"))
            step.write_bytes(hlo)
            log = self._run([str(p) for p in (step, answer, optimised)] + [chip.smallest])
            if not answer.is_file():
                raise UserError(f"The TPU compiler ended without an answer: {log[-600:].strip() or 'it said nothing'}")
            said = json.loads(answer.read_text("utf-8"))
            if said["error"]:
                return Compiled(said["seconds"], refusal(said["error"], said["places"]))
            text = optimised.read_text("utf-8")
        moved = traffic.traffic(text)
        largest = dict(sorted(moved.items(), key=lambda item: -item[1])[:40])
        return Compiled(said["seconds"], None, said["flops"], said["bytes_accessed"], sum(moved.values()),
                        traffic.cycles(text), said["memory"], largest)

    def _run(self, arguments: list[str]) -> str:
        """Runs the script to its end; returns what it wrote. The process does not outlive an interrupted call."""
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen([self._python, "-P", str(SCRIPT), *arguments], stdout=log, stderr=subprocess.STDOUT)
            begin = time.monotonic()
            try:
                while process.poll() is None:
                    self._wait(time.monotonic() - begin)
                    try:
                        process.wait(timeout=1)
                    except subprocess.TimeoutExpired:
                        continue
            finally:
                process.kill()
                process.wait()
            log.seek(0)
            return log.read()


def _from_json(text: str) -> Compiled:
    values = json.loads(text)
    if values["refusal"]:
        values["refusal"] = Refusal(**values["refusal"])
    return Compiled(**values)


def compiler_versions(python: str) -> dict[str, str]:
    """{"jax": ..., "libtpu": ...} of a Python.

    Raises: UserError where it has them not.
    """
    try:
        run = subprocess.run([python, "-P", str(SCRIPT), "--versions"], capture_output=True, text=True, timeout=300)
    except OSError as error:
        raise UserError(f"--compiler_python={python} cannot be run: {error.strerror}.") from error
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"The TPU compiler is not there ({last}). Install it with pip install 'tfft[preflight]', or name a "
                        f"Python that has jax and libtpu with --compiler_python=PATH. Asked was {python}.")
    return json.loads(run.stdout.splitlines()[-1])
