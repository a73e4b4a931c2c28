"""Time to trace, lower and compile one update of many arrays."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax

from benchmarks.arrays import ARRAYS
from benchmarks.contestants import CONTESTANTS
from benchmarks.records import Row, check_names, keep


@dataclass(frozen=True)
class Options:
    """Measure the time of compilation."""

    arrays: Literal["resnet50", "transformer", "flat", "small", "thousand"] = "resnet50"
    """Which parameters."""
    only: tuple[str, ...] = ("optax.amsgrad", "arsg", "arsg, bfloat16 state", "rsg")
    """Names of optimizers; the others are compared with the first."""
    turns: int = 9
    """Turns, after one that is not counted."""
    compiled: bool = True
    """Whether the lowered program is compiled too; 0 ms if not."""
    results: Path | None = None
    """Directory that keeps the table (None: only printed)."""


def compile_once(
    optimizer: Any, params: Any, compiled: bool = True
) -> tuple[float, float, float]:
    """Seconds of tracing, of lowering and of compiling."""

    def step(params: Any, state: Any, gradients: Any) -> Any:
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.eval_shape(optimizer.init, params)
    times = [time.perf_counter()]
    traced = jax.jit(step, donate_argnums=(0, 1)).trace(params, state, params)
    times.append(time.perf_counter())
    lowered = traced.lower()
    times.append(time.perf_counter())
    if compiled:
        lowered.compile()
    times.append(time.perf_counter())
    traced_in, lowered_in, compiled_in = np.diff(times)
    return traced_in, lowered_in, compiled_in


def main(options: Options) -> None:
    """Measures, prints and keeps."""
    check_names("--only", options.only, CONTESTANTS)
    shapes = ARRAYS[options.arrays]()
    params = {name: jax.ShapeDtypeStruct(s, np.float32) for name, s in shapes.items()}
    found: dict[str, list[Any]] = {name: [] for name in options.only}
    for turn in range(options.turns + 1):
        for name, seconds in found.items():
            # A new optimizer and empty caches, so that nothing is traced already.
            jax.clear_caches()
            once = compile_once(CONTESTANTS[name](), params, options.compiled)
            if turn:
                seconds.append(once)
    baseline = np.sum(found[options.only[0]], axis=1)
    rows: list[Row] = []
    for name, seconds in found.items():
        trace, lower, compile_ = np.median(seconds, axis=0)
        total = np.sum(seconds, axis=1)
        rows.append(
            {
                "optimizer": name,
                "trace ms": 1e3 * trace,
                "lower ms": 1e3 * lower,
                "compile ms": 1e3 * compile_,
                "total ms": 1e3 * float(np.median(total)),
                f"over {options.only[0]}": float(np.median(total / baseline)),
            }
        )
    keep(f"compile-time-{options.arrays}", rows, options.results)
