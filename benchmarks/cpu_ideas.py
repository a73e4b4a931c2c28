"""Ways of writing ARSG's update for XLA's CPU compiler, on one large array.

The compiler makes one loop of each output. These are attempts to need fewer loops, or
to let the loops of one block meet in the cache. With
`XLA_FLAGS=--xla_backend_extra_options=xla_cpu_use_multi_output_fusion` the compiler
merges some loops, and the order changes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.records import Row, keep

Arrays = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # m, v, its maximum, y
RATE, B1, B2, OBSERVATION = 0.1, 0.999, 0.99, 0.1
BLOCK = 1000


@dataclass(frozen=True)
class Options:
    """Measure ways of writing one update."""

    rows: int = 25_000
    """Rows of 1,024 elements, a multiple of 1,000."""
    turns: int = 5
    """Turns; the medians are over them."""
    results: Path | None = None
    """Directory that keeps the table (None: only printed)."""


def _step(g: jax.Array, m: jax.Array, largest: jax.Array, y: jax.Array) -> jax.Array:
    direction = (1 - OBSERVATION) * m + OBSERVATION * g
    return y - RATE * direction / jnp.sqrt(largest)


def plain(g: jax.Array, m: Any, v: Any, largest: Any, y: Any) -> Arrays:
    """As it stands in the paper."""
    m = B1 * m + (1 - B1) * g
    v = B2 * v + (1 - B2) * g * g
    largest = jnp.maximum(largest, v)
    return m, v, largest, _step(g, m, largest, y)


def clipped(g: jax.Array, m: Any, v: Any, largest: Any, y: Any) -> Arrays:
    """v ends in an operation of one array and a constant."""
    m = B1 * m + (1 - B1) * g
    v = jnp.minimum(B2 * v + (1 - B2) * g * g, jnp.finfo(v.dtype).max)
    largest = jnp.maximum(largest, v)
    return m, v, largest, _step(g, m, largest, y)


def parameter_first(g: jax.Array, m: Any, v: Any, largest: Any, y: Any) -> Arrays:
    """The parameter from the old moments, which are replaced afterwards."""
    *_, y = plain(g, m, v, largest, y)
    y, g, m, v, largest = lax.optimization_barrier((y, g, m, v, largest))
    m, v, largest, _ = plain(g, m, v, largest, y)
    return m, v, largest, y


def complex_pair(g: jax.Array, m: Any, v: Any, largest: Any, y: Any) -> Arrays:
    """m and v as the two parts of one output."""
    pair = lax.complex(B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g * g)
    pair = lax.optimization_barrier(pair)
    m, v = pair.real, pair.imag
    largest = jnp.maximum(largest, v)
    return m, v, largest, _step(g, m, largest, y)


def blocks_unrolled(g: jax.Array, *arrays: Any) -> Any:
    """Block after block, each written into its place."""
    for start in range(0, len(g), BLOCK):
        parts = [lax.slice_in_dim(x, start, start + BLOCK) for x in (g, *arrays)]
        fresh = plain(*parts)
        arrays = tuple(
            lax.dynamic_update_slice_in_dim(old, new, start, 0)
            for old, new in zip(arrays, fresh, strict=True)
        )
    return arrays


def blocks_in_a_loop(g: jax.Array, *arrays: Any) -> Any:
    """The same in a compiled loop."""

    def body(index: jax.Array, arrays: Any) -> Any:
        start = index * BLOCK
        parts = [lax.dynamic_slice_in_dim(x, start, BLOCK) for x in (g, *arrays)]
        return tuple(
            lax.dynamic_update_slice_in_dim(old, new, start, 0)
            for old, new in zip(arrays, plain(*parts), strict=True)
        )

    return lax.fori_loop(0, len(g) // BLOCK, body, arrays)


IDEAS: dict[str, Callable[..., Any]] = {
    "as in the paper": plain,
    "v clipped by a constant": clipped,
    "the parameter first": parameter_first,
    "m and v as one complex array": complex_pair,
    "blocks of 1,000 rows, unrolled": blocks_unrolled,
    "blocks of 1,000 rows in a loop": blocks_in_a_loop,
}


def main(options: Options) -> None:
    """Measures, prints and keeps."""
    shape = (options.rows, 1024)
    random = np.random.default_rng(0)
    g = jnp.asarray(random.standard_normal(shape, np.float32))
    rows: list[Row] = []
    for name, idea in IDEAS.items():
        arrays: Any = (0.1 * g, g * g, g * g + 1e-8, 1 + g)
        lowered = jax.jit(idea, donate_argnums=(1, 2, 3, 4)).lower(g, *arrays)
        compiled: Any = lowered.compile()
        seconds = []
        for _ in range(options.turns + 1):
            began = time.perf_counter()
            arrays = jax.block_until_ready(compiled(g, *arrays))
            seconds.append(time.perf_counter() - began)
        temporary = compiled.memory_analysis().temp_size_in_bytes
        rows.append(
            {
                "idea": name,
                "ms": 1e3 * float(np.median(seconds[1:])),
                "bytes moved": compiled.cost_analysis()["bytes accessed"] / g.size,
                "temporary bytes": temporary / g.size,
            }
        )
    keep("cpu-ideas", rows, options.results)
