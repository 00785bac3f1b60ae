"""What a compiled step moves through a TPU's main memory (HBM), counted in the compiler's own optimised HLO.

XLA's "bytes accessed" also counts what stays in on-chip memory (VMEM); a bound on time must not. Layouts say where each
buffer is: `bf16[32,128]{1,0:T(8,128)(2,1)S(1)}` is in VMEM, for its S(1); without an S it is in HBM. The T(8,128) are tiles
that the two minor dimensions are padded to.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8,
         "f64": 8}
SHAPE = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]*)([^}]*)\})?")
INSTRUCTION = re.compile(r"\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(")
# Name what exists already, or end what another instruction began.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy-done", "slice-done", "async-done", "after-all",
        "dynamic-slice-done", "opt-barrier", "partition-id", "replica-id"}
SLICING = {"gather", "dynamic-slice", "slice"}


class Instruction(NamedTuple):
    name: str
    shape: str
    kind: str
    operands: tuple[str, ...]
    called: str  # the fused computation or loop body
    layer: str  # op_name: the TensorFlow op, with the Keras layers it is in


def computations(text: str) -> tuple[dict[str, dict[str, Instruction]], str]:
    """({computation: {name: instruction}}, name of the entry computation) of an HLO module's text."""
    made: dict[str, dict[str, Instruction]] = {}
    entry = current = ""
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?%([\w.\-]+) .*\{$", line)
        if head:
            current = head[2]
            made[current] = {}
            entry = current if head[1] else entry
            continue
        match = INSTRUCTION.match(line)
        if match and current:
            rest = line[match.end():]
            operands = tuple(re.findall(r"%([\w.\-]+)", rest[:_closing(rest)]))
            called = re.search(r"(?:calls|body)=%([\w.\-]+)", rest)
            layer = re.search(r'op_name="([^"]*)"', rest)
            made[current][match[1]] = Instruction(match[1], match[2], match[3], operands, called[1] if called else "",
                                                  layer[1] if layer else "")
    return made, entry


def _closing(text: str) -> int:
    """Index of the parenthesis that closes one opened before `text`."""
    depth = 1
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return i
    return len(text)


def hbm_bytes(shape: str) -> int:
    """Bytes that a shape, or the members of a tuple, take in HBM, tiles filled; 0 for what is elsewhere.

    bf16[3,130]{1,0:T(8,128)(2,1)} -> 8 x 256 x 2
    """
    total = 0
    for dtype, sizes, order, more in SHAPE.findall(shape):
        if "S(" in more or dtype not in BYTES:
            continue
        dims = [int(s) for s in sizes.split(",") if s]
        minor_first = [dims[int(i)] for i in order.split(",")] if order else dims[::-1]
        tile = re.match(r":?T\(([\d,]+)\)", more)
        for i, unit in enumerate(reversed(tile[1].split(",")) if tile else ()):
            if i < len(minor_first):
                minor_first[i] = -(-minor_first[i] // int(unit)) * int(unit)
        total += math.prod(minor_first) * BYTES[dtype]
    return total


def traffic(text: str) -> dict[str, int]:
    """{op_name: bytes} read from and written to HBM by each instruction, summed by the op that it came from."""
    every, entry = computations(text)
    found: dict[str, int] = collections.Counter()
    for instruction, amount in _walk(every, entry):
        found[instruction.layer or instruction.kind] += amount
    return dict(found)


def _walk(every: dict, name: str) -> Iterator[tuple[Instruction, int]]:
    computation = every[name]
    for instruction in computation.values():
        if instruction.kind in FREE:
            continue
        if instruction.kind == "while":
            yield from _walk(every, instruction.called)  # once: a lower bound where the number of rounds is not known
            continue
        if instruction.kind in ("copy-start", "slice-start", "async-start"):
            yield instruction, _transfer(instruction, computation)
            continue
        fused = every.get(instruction.called, {})
        read = sum(_read(operand, i, fused, computation) for i, operand in enumerate(instruction.operands))
        yield instruction, read + hbm_bytes(instruction.shape)


def _transfer(instruction: Instruction, computation: dict) -> int:
    """A copy that another instruction waits for: its tuple names source and destination. What moves is the destination's
    size, once for each end of it that is in HBM."""
    source = computation[instruction.operands[0]].shape if instruction.operands[0] in computation else ""
    members = [match[0] for match in SHAPE.finditer(instruction.shape)]
    if source in members:
        members.remove(source)
    size = hbm_bytes(re.sub(r"S\(\d+\)", "", members[0]))
    return size * sum("S(" not in end for end in (members[0], source))


def _read(operand: str, position: int, fused: dict, computation: dict) -> int:
    """What an instruction reads of one operand: all of it, unless its fusion only takes slices of it."""
    if operand not in computation:
        return 0
    whole = hbm_bytes(computation[operand].shape)
    parameters = [i for i in fused.values() if i.kind == "parameter"]
    if not whole or position >= len(parameters):
        return whole
    name = parameters[position].name
    users = [i for i in fused.values() if name in i.operands]
    if users and all(u.kind in SLICING and u.operands[0] == name for u in users):
        return min(whole, sum(hbm_bytes(re.sub(r"S\(\d+\)", "", u.shape)) for u in users))
    return whole


def cycles(text: str) -> int:
    """The sum of the cycles that the compiler estimates for the entry computation's instructions."""
    return sum(int(c) for c in re.findall(r'"estimated_cycles":"(\d+)"', text[text.find("\nENTRY "):]))
