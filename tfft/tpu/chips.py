"""TPU generations: names, sizes, and the figures that bound a step's time."""

import dataclasses
import re

from tfft.errors import UserError, unknown


@dataclasses.dataclass(frozen=True)
class Chip:
    """One generation. Figures are of a whole chip, which is one replica: on v4 and v5p its two TensorCores work as one
    ("Megacore", what libtpu compiles for unless told otherwise).

    peak_flops: bf16 FLOP/s; hbm: bytes; bandwidth: bytes/s of HBM; interconnect: bytes/s that a chip sends over all its links.
    cores: TensorCores, which v4-N and v5p-N count. smallest: the topology that the compiler is asked for; a step without
    communication compiles the same for all.

    Source: Google Cloud's documentation, "TPU v4", "TPU v5e", "TPU v5p", "TPU v6e" (docs.cloud.google.com/tpu/docs/v4, /v5e,
    /v5p, /v6e), read in November 2026; v4's links, six of 50 GB/s, from Jouppi et al. 2023 (arXiv:2304.01433), table 4. Where
    versions of a page differ (v6e: 1,600 or 1,640 GB/s of HBM, 3,200 or 3,584 Gbit/s of interconnect; v5e: 800 or 819 GB/s)
    the higher figure stands here: what follows are lower bounds on time.
    """

    name: str
    peak_flops: float
    hbm: int
    bandwidth: float
    interconnect: float
    cores: int
    smallest: str


GIB = 2**30
CHIPS = {
    "v4": Chip("v4", 275e12, 32 * GIB, 1200e9, 300e9, 2, "v4:2x2x1"),
    "v5e": Chip("v5e", 197e12, 16 * GIB, 819e9, 200e9, 1, "v5e:2x2"),
    "v5p": Chip("v5p", 459e12, 95 * GIB, 2765e9, 600e9, 2, "v5p:2x2x1"),
    "v6e": Chip("v6e", 918e12, 32 * GIB, 1640e9, 448e9, 1, "v6e:2x2"),
}
OTHER_NAMES = {"v5litepod": "v5e", "v5lite": "v5e"}  # how gcloud writes it


@dataclasses.dataclass(frozen=True)
class Slice:
    """What --tpu names: a generation and a number of chips, one replica each."""

    name: str
    chip: Chip
    replicas: int


def parse_tpu(name: str) -> Slice:
    """'v5e-8' -> 8 chips of v5e; 'v4-8' -> 4 chips of v4, whose number counts TensorCores as Google Cloud's names do.

    Raises: UserError with the nearest known name.
    """
    match = re.fullmatch(r"([a-z0-9]+)-(\d+)", name.strip().lower())
    known = ", ".join(f"{chip}-{8}" for chip in CHIPS)
    if not match:
        raise UserError(f"--tpu={name} is no TPU's name: write generation-size, for example {known}.")
    generation = OTHER_NAMES.get(match[1], match[1])
    if generation not in CHIPS:
        raise UserError(f"--tpu={name}: {unknown('TPU generation', match[1], CHIPS)} For example {known}.")
    chip, size = CHIPS[generation], int(match[2])
    if not size or size % chip.cores:
        rule = "a slice has at least one chip" if chip.cores == 1 else (
            f"the size of a {generation} counts TensorCores, {chip.cores} a chip, and is a positive multiple of {chip.cores}")
        raise UserError(f"--tpu={name}: {rule}, for example {generation}-8.")
    return Slice(f"{generation}-{size}", chip, size // chip.cores)
