"""How candidates run: vmapped, unrolled or in turn, and how many at once."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from arsg_optax.tuning._engine import Group, Plan, Run
from arsg_optax.tuning._losses import suits_compiled_loop
from arsg_optax.tuning._training import Hyperparameters, count_candidates

Engine = Literal["auto", "vmapped", "unrolled", "sequential"]
ENGINES: tuple[Engine, ...] = ("auto", "vmapped", "unrolled", "sequential")

# What a search may take of the memory that is free.
_SHARE = 0.8
_WARM_UP, _MEASURED = 1, 3


def make_group(
    run: Run,
    hypers: Hyperparameters,
    engine: Engine,
    memory_limit: int | None,
    mesh: Any | None,
) -> Group:
    """The compiled functions for groups of these candidates.

    Without a convolution, or where loops do not slow it down, candidates are vmapped;
    else the three ways are measured on a few steps. A group is as large as memory
    allows, by the compiled program's own account, and groups are of like size.

    Args:
      run: what is trained.
      hypers: [candidates] by name.
      engine: "auto", or the way itself.
      memory_limit: bytes per device, None for most of what is free.
      mesh: the candidates spread over its devices.
    """
    looped = _steps_may_loop(run)
    limit = _free_memory() if memory_limit is None else memory_limit
    makers = {
        "vmapped": lambda: _fitting(run, hypers, Plan(True, 0, looped), limit, mesh),
        "unrolled": lambda: _fitting(run, hypers, Plan(False, 0, looped), limit, None),
        "sequential": lambda: Group(run, Plan(False, 1, looped), list(hypers)),
    }
    if engine == "auto" and (looped or mesh is not None):
        engine = "vmapped"
    if engine != "auto":
        return makers[engine]()
    return _fastest(run, hypers, makers)


def _steps_may_loop(run: Run) -> bool:
    seed, index = jnp.uint32(0), jnp.int32(0)
    params = run.params
    if run.seeds > 1:
        params = jax.tree.map(lambda leaf: leaf[0], params)
    batch = jax.eval_shape(run.batches.at, run.batches.arrays, seed, index)
    point = jax.eval_shape(run.training.gradient_point, params)
    return suits_compiled_loop(run.training.loss, point, run.aux, batch)


def _fitting(
    run: Run, hypers: Hyperparameters, plan: Plan, limit: float, mesh: Any | None
) -> Group:
    """A group of as many candidates as fit into memory, the groups of like size."""
    devices = 1 if mesh is None else mesh.size
    count = count_candidates(hypers)
    each = -(-count // devices)  # Candidates a device, of all groups.
    size = each
    while True:
        group = Group(run, plan._replace(size=size * devices), list(hypers), mesh)
        total, shared = group.memory()
        if total <= limit or size == 1:
            return group
        own = (total - shared) / size
        fits = math.floor(max(limit - shared, 0) / own) if own > 0 else 1
        fits = max(1, min(fits, size - 1))
        size = -(-each // -(-each // fits))


def _fastest(run: Run, hypers: Hyperparameters, makers: Any) -> Group:
    """The group that takes least time for all steps, measured on a few.

    Unrolling compiles each candidate's step: it is tried only if that costs less than
    half of what the sequential way would take in all.
    """
    count = count_candidates(hypers)
    found: list[tuple[float, Group]] = []

    def total(group: Group) -> float:
        groups = -(-count // group.plan.size)
        return _seconds_a_step(group, hypers) * groups * run.steps

    began = time.perf_counter()
    sequential = makers["sequential"]()
    compiling = time.perf_counter() - began
    found.append((total(sequential), sequential))
    if count > 1:
        vmapped = makers["vmapped"]()
        found.append((total(vmapped), vmapped))
        if count * compiling < found[0][0] / 2:
            unrolled = makers["unrolled"]()
            found.append((total(unrolled), unrolled))
    return min(found, key=lambda each: each[0])[1]


def _seconds_a_step(group: Group, hypers: Hyperparameters) -> float:
    first = padded(
        hypers, range(min(group.plan.size, count_candidates(hypers))), group.plan.size
    )
    carry = group.advance(group.start(first), first, 0, _WARM_UP)
    jax.block_until_ready(carry)
    began = time.perf_counter()
    jax.block_until_ready(group.advance(carry, first, 0, _MEASURED))
    return (time.perf_counter() - began) / _MEASURED


def padded(hypers: Hyperparameters, rows: Sequence[int], size: int) -> Hyperparameters:
    """Some candidates, the last one repeated until there are `size`."""
    rows = [*rows, *[rows[-1]] * (size - len(rows))]
    return {name: np.asarray(values)[rows] for name, values in hypers.items()}


def _free_memory() -> float:
    """Bytes that a search may use on each device."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return _SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return _SHARE * 1024 * int(line.split()[1])
    if hasattr(os, "sysconf"):
        return _SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return math.inf
