"""What a compiled step computes, moves and exchanges, read off its final program.

XLA's own cost analysis counts the body of a loop once, however often it runs, so a
network whose layers are a loop would look as if it had one. Here a body counts as often
as the program says that it runs.
"""

import math
import re
from typing import NamedTuple

import numpy as np

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2}
_BYTES |= {"s64": 8, "u64": 8, "f64": 8}  # The others have four.
# They compute nothing: names, tuples, views, and TPU's fetches into fast memory.
NAMES = frozenset(
    ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all")
    + ("copy-start", "copy-done", "slice-start", "slice-done", "opt-barrier")
)
# They run other computations, or read nothing.
_IDLE = NAMES | {"while", "call", "conditional", "partition-id", "iota"}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all") + (
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_LINE = re.compile(r"\s*(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)")
_HEAD = re.compile(r"(ENTRY )?%([\w.-]+) \(.*\{$")
Shape = tuple[int, ...]


class Array(NamedTuple):
    """An array's element type and shape."""

    dtype: str
    shape: Shape

    def bytes(self, stack: int = 0) -> float:
        """Its size; the share of one layer if its first axis is `stack` long."""
        size = _BYTES.get(self.dtype, 4) * math.prod(self.shape)
        return size / stack if stack > 1 and self.shape[:1] == (stack,) else size


class Instruction(NamedTuple):
    """A line of a program."""

    opcode: str
    reads: list[Array]
    writes: list[Array]
    line: str

    def called(self, key: str = "to_apply") -> str:
        """The computation that it names under a key."""
        found = re.search(rf"{key}=%?([\w.-]+)", self.line)
        if found is None:
            raise ValueError(f"program must name its {key}, got {self.line!r}")
        return found[1]


class Exchange(NamedTuple):
    """All collectives of a kind that a device takes part in, in one step."""

    count: int
    bytes: float


class Counts(NamedTuple):
    """What one device does in a step.

    Attributes:
        flops: of products and convolutions, two for a multiplication and an addition.
        bytes: that its kernels read and write, counted as if nothing were cached.
        exchanges: by kind; the bytes are those of the whole array, gathered or summed.
        cycles: the compiler's estimate for its kernels without the collectives.
    """

    flops: float
    bytes: float
    exchanges: dict[str, Exchange]
    cycles: float


def count(text: str) -> Counts:
    """Counts what the text of a compiled program says."""
    bodies, entry = computations(text)
    flops = moved = cycles = 0.0
    runs = _runs(bodies, entry)
    for name, (times, stack, kernels) in runs.items():
        for each in bodies[name]:
            flops += times * _flops(each)
            if kernels and each.opcode not in _IDLE:
                arrays = each.reads + each.writes
                moved += times * sum(array.bytes(stack) for array in arrays)
                estimate = re.search(r'"estimated_cycles":"(\d+)"', each.line)
                cycles += times * int(estimate[1]) if estimate else 0
    return Counts(flops, moved, _exchanges(bodies, runs), cycles)


def _exchanges(
    bodies: dict[str, list[Instruction]], runs: dict[str, tuple[int, int, bool]]
) -> dict[str, Exchange]:
    """By kind. A TPU spreads one over several kernels, each of which names it."""
    seen: dict[tuple[str, str], Exchange] = {}
    for name, (times, _, _) in runs.items():
        found: dict[tuple[str, str], Exchange] = {}
        for each in bodies[name]:
            if kind := _collective(each, name):
                sides = (each.reads, each.writes)
                size = max(sum(array.bytes() for array in side) for side in sides)
                channel = re.search(r"channel_id=(\d+)", each.line)
                key = kind, channel[1] if channel else each.line
                before = found.get(key, Exchange(0, 0.0))
                found[key] = Exchange(before.count + times, before.bytes + times * size)
        seen |= {key: max(each, seen.get(key, each)) for key, each in found.items()}
    totals: dict[str, Exchange] = {}
    for (kind, _), each in seen.items():
        before = totals.get(kind, Exchange(0, 0.0))
        totals[kind] = Exchange(before.count + each.count, before.bytes + each.bytes)
    return totals


def _collective(instruction: Instruction, computation: str) -> str | None:
    opcode = instruction.opcode.removesuffix("-start")
    if opcode not in COLLECTIVES:
        return None
    # A TPU's reduce-scatter is a fusion of a sum and a slice.
    inside = opcode == "all-reduce" and "all-reduce-scatter" in computation
    return "reduce-scatter" if inside else opcode


def computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of each computation, and the name of the first to run."""
    found: dict[str, list[Instruction]] = {}
    entry, types = "", {}
    body: list[Instruction] = []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            body, types = found.setdefault(head[2], []), {}
            entry = head[2] if head[1] else entry
        elif parts := _LINE.match(line):
            name, result, opcode, rest = parts.groups()
            types[name] = _arrays(result)
            operands = re.findall(r"%([\w.-]+)", rest.split("), ", 1)[0])
            reads = [array for each in operands for array in types.get(each, [])]
            body.append(Instruction(opcode, reads, types[name], line))
    return found, entry


def _runs(
    bodies: dict[str, list[Instruction]], entry: str
) -> dict[str, tuple[int, int, bool]]:
    """How often each computation runs, in a loop of how many, and if kernel by kernel.

    The instructions inside of a fusion are one kernel.
    """
    runs: dict[str, tuple[int, int, bool]] = {}

    def visit(name: str, times: int, stack: int, kernels: bool) -> None:
        before = runs.get(name, (0, 0, False))[0]
        runs[name] = (before + times, stack, kernels)
        for each in bodies[name]:
            if each.opcode == "while":
                trips = _trips(bodies[each.called("condition")])
                visit(each.called("body"), times * trips, trips, True)
                continue
            key = "to_apply" if each.opcode == "call" else "calls"
            if each.opcode.startswith(("fusion", "call", "async-start")):
                visit(each.called(key), times, stack, each.opcode == "call")

    visit(entry, 1, 0, True)
    return runs


def _trips(condition: list[Instruction]) -> int:
    """Of a loop that counts from 0 to a constant, as `jax.lax.scan` makes it."""
    lines = [each.line for each in condition]
    found = [re.search(r"= s32\[\].* constant\((\d+)\)", line) for line in lines]
    bounds = [int(each[1]) for each in found if each]
    if len(bounds) != 1:
        raise ValueError(
            "program's loops must count to a constant, as those of scan do, got "
            f"{lines!r}; count a step without other loops"
        )
    return bounds[0]


def _arrays(types: str) -> list[Array]:
    found = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", types)
    return [Array(d, tuple(int(n) for n in s.split(",") if n)) for d, s in found]


def _flops(instruction: Instruction) -> float:
    """Of a product or a convolution; a TPU's products are convolutions."""
    if instruction.opcode == "dot":
        left, result = instruction.reads[0].shape, instruction.writes[0].shape
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.line)
        summed = [left[int(a)] for a in axes[1].split(",") if a] if axes else []
        return 2.0 * math.prod(result) * math.prod(summed)
    if instruction.opcode != "convolution":
        return 0.0
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.line)
    if labels is None:
        raise ValueError(f"convolution must have labels, got {instruction.line!r}")
    (left, right), (result,) = instruction.reads[:2], instruction.writes[:1]
    sizes = [
        dict(zip(names, array.shape, strict=True))
        for names, array in zip(labels.groups(), (left, right, result), strict=True)
    ]
    pairs = 2.0 * sizes[2]["b"] * sizes[2]["f"] * sizes[1]["i"]
    window = _window(instruction.line)
    for axis in sorted(set(labels[1]) - set("bf")):
        pairs *= _pairs(sizes[0][axis], sizes[2][axis], window, int(axis))
    return pairs


def _window(line: str) -> dict[str, list[str]]:
    found = re.search(r"window=\{(.*?)\}", line)
    parts = found[1].split() if found else []
    pairs = (part.split("=") for part in parts)
    return {name: values.split("x") for name, values in pairs}


def _pairs(inputs: int, outputs: int, window: dict[str, list[str]], axis: int) -> int:
    """Along an axis, the pairs of an output and a weight that meet an input."""

    def number(name: str, default: int = 1) -> int:
        values = window.get(name)
        return int(values[axis]) if values else default

    low = int(window["pad"][axis].split("_")[0]) if "pad" in window else 0
    dilation = number("lhs_dilate")
    places = np.arange(outputs)[:, None] * number("stride") - low
    places = places + np.arange(number("size")) * number("rhs_dilate")
    inside = (places >= 0) & (places <= (inputs - 1) * dilation)
    return int(np.sum(inside & (places % dilation == 0)))
