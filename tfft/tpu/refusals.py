"""Why a step does not compile: the op, the layer it came from, and what to do, out of what the compilers say."""

import dataclasses
import re

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Refusal:
    """op and layer are '' where the message names none; needed and available: bytes of HBM, 0 unless that was too little."""

    reason: str
    op: str = ""
    layer: str = ""
    needed: int = 0
    available: int = 0

    def __str__(self) -> str:
        if self.needed:
            return (f"needs {self.needed / 2**30:.2f} GiB of HBM where the compiler has {self.available / 2**30:.2f} GiB: a "
                    "smaller batch, more micro-batches (config.train.accumulation) or shorter texts fit")
        where = f" in {self.layer}" if self.layer else ""
        return f"{self.op}{where}: {self.reason}" if self.op else f"{self.reason}{where}"


class Refused(Exception):
    """A step that does not lower or compile."""

    def __init__(self, refusal: Refusal):
        super().__init__(str(refusal))
        self.refusal = refusal


MEMORY = (
    r"[Uu]sed ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm",
    r"required for HLO temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)",
)


def refusal(message: str, places: dict[str, str] | None = None) -> Refusal:
    """Reads a message of TensorFlow's lowering or of the TPU compiler. The latter often names an op without saying where it
    is; `places` has the first use of each."""
    for pattern in MEMORY:
        if used := re.search(pattern, message):
            return Refusal("out of memory", needed=int(float(used[1]) * UNITS[used[2]]),
                           available=int(float(used[3]) * UNITS[used[4]]))
    missing = re.search(r"Detected unsupported operations.*?: (\w+) \(", message, re.DOTALL)
    node = re.search(r"\{\{node ([^}]+)\}\}", message)
    if missing:
        return Refusal("XLA has no such op, or not for these dtypes or shapes", missing[1], layer(node[1]) if node else "")
    reason = _shortened(message)
    if named := re.search(r'op_name="([^"]+)"', message):
        return Refusal(reason, named[1].rpartition("/")[2], layer(named[1]))
    words = {word.replace("-", "_") for word in re.findall(r"[a-z][a-z_\-]+", message.lower())}
    for op, path in (places or {}).items():
        if op in words:
            return Refusal(reason, op, layer(path))
    return Refusal(reason, node[1].rpartition("/")[2] if node else "", layer(node[1]) if node else "")


def layer(path: str) -> str:
    """The Keras layers in an op's name: 'gradient_tape/classifier_1/transformer_layer_3_1/self_attention_layer_1/MatMul' ->
    'classifier/transformer_layer_3/self_attention_layer (backward)'. Keras numbers each call of a layer."""
    parts = path.split("/")[:-1]
    backward = parts[:1] == ["gradient_tape"]
    parts = [re.sub(r"_\d+$", "", part) for part in parts[backward:]]
    return "/".join(parts) + (" (backward)" if backward and parts else "")


def _shortened(message: str) -> str:
    """One line, without the compiler's pointers into Python code, at most 400 characters."""
    text = " ".join(message.partition("Suspected Python Code Location")[0].split())
    return text if len(text) <= 400 else text[:400] + " ..."
