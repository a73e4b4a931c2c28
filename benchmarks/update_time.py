"""Time of one update of every optimizer, beside the time that memory allows.

All optimizers take turns in one process; the medians are over the turns. The machine's
bandwidth is measured in the same turns: every element of a large array is read,
changed and written in place. An update reads the gradient, reads and writes the
parameter and each array of the state, and can take no less than these bytes at that
bandwidth: the floor.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.arrays import ARRAYS, Shapes
from benchmarks.contestants import CONTESTANTS
from benchmarks.records import Row, check_names, keep

# A turn of a slow one is a single step; five turns of Muon would take minutes.
SLOW_SECONDS = 5.0


@dataclass(frozen=True)
class Options:
    """Measure the time of updates."""

    arrays: Literal["resnet50", "transformer", "flat"] = "resnet50"
    """Which parameters."""
    only: tuple[str, ...] = ()
    """Names of optimizers (none: all)."""
    turns: int = 9
    """Turns; the medians are over them."""
    steps: int = 3
    """Steps a turn, after one that is not timed."""
    loop: Literal["python", "compiled"] = "python"
    """What takes the steps; compiled, a GPU need not wait for Python's calls."""
    peer: Literal["none", "torch"] = "none"
    """Another framework, to be installed by hand, on the same arrays."""
    results: Path | None = field(default=None)
    """Directory that keeps the table (None: only printed)."""


def random_tree(shapes: Shapes, seed: int) -> dict[str, jax.Array]:
    """Normal numbers, float32."""
    random = np.random.default_rng(seed)
    return {
        name: jnp.asarray(random.standard_normal(shape, np.float32))
        for name, shape in shapes.items()
    }


class Contestant:
    """An optimizer, compiled; its arrays live only during a turn."""

    def __init__(self, optimizer: Any, gradients: Any, loop: int = 1):
        self._gradients, self._loop = gradients, loop

        def step(params: Any, state: Any, gradients: Any) -> Any:
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        def steps(params: Any, state: Any, gradients: Any) -> Any:
            def body(carry: Any, _: None) -> tuple[Any, None]:
                params, state = carry
                return step(params, state, gradients), None

            return jax.lax.scan(body, (params, state), length=loop)[0]

        # XLA pairs donated arrays with results in order, so both come in one order.
        jitted = jax.jit(step if loop == 1 else steps, donate_argnums=(0, 1))
        state = jax.eval_shape(optimizer.init, gradients)
        self._step: Any = jitted.lower(gradients, state, gradients).compile()
        self._init = jax.jit(optimizer.init)
        self._count = sum(leaf.size for leaf in jax.tree.leaves(gradients))
        bytes_of_state = sum(
            leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)
        )
        self.floor_bytes = 12 + 2 * bytes_of_state / self._count

    @property
    def moved_bytes(self) -> float | None:
        """Bytes a parameter that the compiled program reads and writes, loops aside."""
        if self._loop > 1:
            return None
        return self._step.cost_analysis()["bytes accessed"] / self._count

    def turn(self, steps: int) -> float:
        """Seconds of a step."""
        params = random_like(self._gradients)
        state = self._init(params)
        began = time.perf_counter()
        params, state = jax.block_until_ready(
            self._step(params, state, self._gradients)
        )
        if time.perf_counter() - began > SLOW_SECONDS * self._loop:
            return (time.perf_counter() - began) / self._loop
        began = time.perf_counter()
        for _ in range(max(1, steps // self._loop)):
            params, state = self._step(params, state, self._gradients)
        jax.block_until_ready((params, state))
        return (time.perf_counter() - began) / steps


@jax.jit
def random_like(tree: Any) -> Any:
    """Other numbers of the same shapes."""
    return jax.tree.map(lambda leaf: 0.1 * leaf + 1, tree)


def measure_bandwidth() -> Callable[[int], float]:
    """A turn of in-place changes of 256 MB; gives bytes a second."""
    change = jax.jit(lambda x: 1.0001 * x, donate_argnums=0)
    held = [change(jnp.ones(2**26))]

    def turn(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            held[0] = change(held[0])
        jax.block_until_ready(held[0])
        return 8 * 2**26 * steps / (time.perf_counter() - began)

    return turn


def measure(options: Options) -> tuple[list[Row], list[float]]:
    """The table of one run, and the bandwidth of each turn in GB/s."""
    shapes = ARRAYS[options.arrays]()
    gradients = random_tree(shapes, 0)
    count = sum(leaf.size for leaf in gradients.values())
    names = options.only or tuple(CONTESTANTS)
    loop = options.steps if options.loop == "compiled" else 1
    contestants: dict[str, Any] = {
        name: Contestant(CONTESTANTS[name](), gradients, loop) for name in names
    }
    if options.peer == "torch":
        from benchmarks.torch_peer import torch_contestants

        contestants |= torch_contestants(shapes)
    bandwidth = measure_bandwidth()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    bandwidths = []
    for turn in range(options.turns):
        bandwidths.append(bandwidth(options.steps))
        for name, contestant in contestants.items():
            if not turn or np.median(seconds[name]) < SLOW_SECONDS:
                seconds[name].append(contestant.turn(options.steps))
    held = float(np.median(bandwidths))
    print(
        f"{len(shapes)} arrays, {count / 1e6:.1f} M parameters; bandwidth "
        f"{held / 1e9:.1f} GB/s ({min(bandwidths) / 1e9:.1f} to "
        f"{max(bandwidths) / 1e9:.1f})\n"
    )
    rows = [
        _row(name, each, seconds, count, held) for name, each in contestants.items()
    ]
    return rows, [round(each / 1e9, 2) for each in bandwidths]


def _row(name: str, contestant: Any, seconds: Any, count: int, bandwidth: float) -> Row:
    median = float(np.median(seconds[name]))
    floor = contestant.floor_bytes * count / bandwidth
    rivals = seconds.get("optax.amsgrad")
    ratio = None
    if rivals and len(rivals) == len(seconds[name]):
        ratio = float(np.median(np.divide(seconds[name], rivals)))
    return {
        "optimizer": name,
        "ms": 1e3 * median,
        "fastest ms": 1e3 * min(seconds[name]),
        "over optax.amsgrad": ratio,
        "bytes moved": contestant.moved_bytes,
        "bytes at least": float(contestant.floor_bytes),
        "floor ms": 1e3 * floor,
        "% of the floor's speed": 100 * floor / median,
    }


def main(options: Options) -> None:
    """Measures, prints and keeps."""
    check_names("--only", options.only, CONTESTANTS)
    rows, bandwidths = measure(options)
    name = f"update-time-{options.arrays}"
    if options.loop == "compiled":
        name += "-loop"
    keep(name, rows, options.results, bandwidth_gigabytes_a_second=bandwidths)
