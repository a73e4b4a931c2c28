"""What a compiled update does, read off its final program.

The text of a compiled program lists what runs, one instruction a line:
`%name = type opcode(%operand, ...)`. A kernel is an instruction that computes; the
others name, tuple, or fetch arrays ahead into fast memory.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from scripts.compiled_step import COLLECTIVES, NAMES, Array, computations

_BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1, "f64": 8}

# Three arrays of a network; no two have one size, on one device or on eight.
SHAPES = {"dense": (1024, 1024), "conv": (3, 3, 256, 256), "bias": (4096,)}
SPLIT = {"dense": ("d", None), "conv": (None, None, None, "d"), "bias": ("d",)}


class Kernel(NamedTuple):
    """An instruction that computes, with the arrays it reads and writes."""

    opcode: str
    reads: list[tuple[str, int]]  # Pairs of a dtype and a number of elements.
    writes: list[tuple[str, int]]

    def touches(self, elements: int) -> bool:
        """Whether it reads or writes an array of that many elements."""
        return any(size == elements for _, size in self.reads + self.writes)


class Program(NamedTuple):
    """A compiled update."""

    kernels: list[Kernel]
    text: str
    temporary_bytes: int
    sizes: dict[str, int]  # Elements of each parameter on one device.

    def passes(self, name: str) -> int:
        """Kernels that read or write an array of one parameter's size."""
        return sum(kernel.touches(self.sizes[name]) for kernel in self.kernels)

    def bytes_per_element(self, name: str) -> float:
        """Bytes of arrays of one parameter's size that all kernels move."""
        moved = sum(
            _BYTES[dtype]
            for kernel in self.kernels
            for dtype, size in kernel.reads + kernel.writes
            if size == self.sizes[name]
        )
        return moved

    def collectives(self) -> list[Kernel]:
        """The kernels that exchange data between devices."""
        return [k for k in self.kernels if k.opcode.startswith(COLLECTIVES)]


def compile_update(
    optimizer: optax.GradientTransformationExtraArgs,
    devices: Iterable[Any],
    dtype: Any = jnp.float32,
    explicit: bool = False,
) -> Program:
    """Compiles an update and its application; SHAPES are split over all devices.

    Args:
      optimizer: any optimizer that needs no extra arguments.
      devices: one or more devices, which may be descriptions of absent ones.
      dtype: of parameters and gradients.
      explicit: whether the mesh's axis is explicit.
    """
    devices = list(devices)
    kinds = jax.sharding.AxisType
    kind = kinds.Explicit if explicit else kinds.Auto
    mesh = jax.sharding.Mesh(devices, ("d",), axis_types=(kind,))

    def placed(leaf, spec=()):
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    specs = {shape: SPLIT[name] for name, shape in SHAPES.items()}
    arrays = {name: jax.ShapeDtypeStruct(s, dtype) for name, s in SHAPES.items()}
    params, state = jax.tree.map(
        lambda leaf: placed(leaf, specs.get(leaf.shape, ())),
        (arrays, jax.eval_shape(optimizer.init, arrays)),
    )

    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    jitted = jax.jit(step, donate_argnums=(0, 1))
    lowered: Any = jitted.lower(params, state, params)
    # As for a user; the other tests do without (tests/conftest.py).
    on_cpu = devices[0].platform == "cpu"
    options = {"xla_cpu_use_fusion_emitters": True} if on_cpu else None
    compiled = lowered.compile(options)
    sizes = {n: math.prod(s) // len(devices) for n, s in SHAPES.items()}
    memory = compiled.memory_analysis()
    text = compiled.as_text()
    return Program(_kernels(text), text, memory.temp_size_in_bytes, sizes)


def _kernels(text: str) -> list[Kernel]:
    bodies, entry = computations(text)
    # A GPU's program may call one computation that launches all kernels at once.
    called = {each.called() for each in bodies[entry] if each.opcode == "call"}
    return [
        Kernel(each.opcode, _sizes(each.reads), _sizes(each.writes))
        for name in (entry, *sorted(called))
        for each in bodies[name]
        # A custom call named ConcatBitcast views the pieces of a TPU's fetch as one.
        if each.opcode not in (*NAMES, "call") and "ConcatBitcast" not in each.line
    ]


def _sizes(arrays: Iterable[Array]) -> list[tuple[str, int]]:
    return [(each.dtype, math.prod(each.shape)) for each in arrays]
