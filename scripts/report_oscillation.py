"""Prints how much parameters oscillate in training: AdaRem's Q, by optimizer.

    python -m scripts.report_oscillation
    ARSG_DATA_DIR=... python -m scripts.report_oscillation --task mnist-logreg --seeds 3

Q is the mean of path length per displacement over the parameters that moved, in windows
of one epoch, of several and of the whole run, averaged over the run's windows of that
length; then the mean over the seeds and its standard deviation. Beside it stands the
median of the same ratios, which a few parameters that came back to where they were do
not move. Step sizes are the task's; that of SGD without momentum, which no task has, is
found by the same search (`arsg compare --sweep`) as theirs. All seeds are trained in
one compiled program. The paper's order is SGD > SGD with momentum > Adam > AdaRem.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from arsg_optax import track_oscillation
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.tasks import Settings, Setup, Task, find_task
from arsg_optax.demos.tasks.candidates import split
from arsg_optax.demos.tasks.sweep import chosen, sweep
from arsg_optax.demos.training.optimizers import HELD, OPTIMIZERS
from arsg_optax.demos.training.sources import resident
from arsg_optax.demos.training.steps import TrainState, init_state, make_epoch


@dataclass(frozen=True)
class Options:
    """Measure the oscillation of a task's optimizers."""

    task: str = "digits-mlp"
    """Name of the task."""
    seeds: int = 10
    """Runs of each optimizer, and of each candidate of the search."""
    window: int = 10
    """Length of the window between one epoch and the whole run, in epochs."""
    data_dir: Path | None = None
    """Directory of data sets (None: the environment variable ARSG_DATA_DIR or the
    Hugging Face Hub)."""


class Entry(NamedTuple):
    """A row of the table: an optimizer of the demonstrations and its settings."""

    label: str
    name: str
    settings: Settings


class Ratios(NamedTuple):
    """Mean and median of the path per displacement, () each or one a seed and epoch."""

    mean: jax.Array
    median: jax.Array


def main(options: Options) -> None:
    """Prints a Markdown table, a row per optimizer and two columns per window."""
    started = time.perf_counter()
    task = find_task(options.task)
    dataset = task.load(options.data_dir)
    windows = sorted({1, options.window, task.epochs})
    lengths = [f"{w} epoch{'s' * (w > 1)}" for w in windows]
    print("| | step size | " + " | ".join(f"Q, {n} | median" for n in lengths) + " |")
    print("|---|---|" + "---|---|" * len(windows))
    for entry in _entries(task, dataset, options.seeds):
        measured = _measure(task, entry, dataset, options.seeds, windows)
        cells = [_cells(ratios, w) for ratios, w in zip(measured, windows, strict=True)]
        rate = f"{entry.settings.learning_rate:g}"
        print(f"| {entry.label} | {rate} | {' | '.join(cells)} |", flush=True)
    seconds = time.perf_counter() - started
    print(
        f"\n{task.name}, {options.seeds} seeds, {task.epochs} epochs, {seconds:.0f} s"
    )


def _entries(task: Task, dataset: Dataset, seeds: int) -> list[Entry]:
    """The paper's four optimizers."""
    setup, plain = task.setup(split(dataset)), Settings(0.0, {"momentum": 0.0})
    rows = sweep(task, setup, OPTIMIZERS["sgd"], plain, seeds=seeds)
    settings = task.settings
    return [
        Entry("SGD", "sgd", replace(plain, learning_rate=chosen(rows)["sgd"])),
        Entry("SGD with momentum", "sgd", settings["sgd"]),
        Entry("Adam", "adam", settings["adam"]),
        Entry("AdaRem", "adarem", settings["adarem"]),
    ]


def _measure(
    task: Task, entry: Entry, dataset: Dataset, seeds: int, windows: list[int]
) -> list[Ratios]:
    """For each window, in epochs, the ratios `[seeds, epochs]` so far."""
    setup = task.setup(dataset)
    starts = [setup.problem.init(seed) for seed in range(seeds)]
    params, model_state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    run = _make_run(task, entry, setup, windows)
    trained = jax.jit(jax.vmap(run, in_axes=(0, 0, 0, None)))
    numbers = jnp.arange(seeds, dtype=jnp.uint32)
    return trained(params, model_state, numbers, resident(setup.sources.train).arrays)


def _make_run(
    task: Task, entry: Entry, setup: Setup, windows: list[int]
) -> Callable[..., list[Ratios]]:
    """Makes `run(params, model_state, seed, arrays)`, with a tracker a window."""
    source = resident(setup.sources.train)
    steps = source.steps_per_epoch
    optimizer = optax.chain(
        task.transform(OPTIMIZERS[entry.name], entry.settings, steps),
        *(track_oscillation(window=epochs * steps) for epochs in windows),
    )
    epoch = make_epoch(setup.problem, optimizer, HELD, source)

    def run(params: Any, model_state: Any, seed: jax.Array, arrays: Any):
        def body(state: TrainState, number: jax.Array):
            state = epoch(state, arrays, seed, number)
            trackers: Any = state.opt_state
            return state, [_ratios(tracker) for tracker in trackers[1:]]

        start = init_state(optimizer, HELD, params, model_state, steps)
        return jax.lax.scan(body, start, jnp.arange(1, task.epochs + 1))[1]

    return run


def _ratios(tracker: Any) -> Ratios:
    """Over the parameters that moved."""
    leaves = jax.tree.leaves(tracker.oscillation_by_parameter())
    q = jnp.concatenate([leaf.ravel() for leaf in leaves])
    median = jnp.nanmedian(jnp.where(q > 0, q, jnp.nan))
    return Ratios(tracker.oscillation(), median)


def _cells(ratios: Ratios, window: int) -> str:
    """Q and the median where a window is full, as mean and spread over the seeds."""
    full = [np.asarray(r, np.float64)[:, window - 1 :: window] for r in ratios]
    mean, median = (values.mean(axis=1) for values in full)
    return f"{mean.mean():.4g} ± {mean.std():.2g} | {median.mean():.3g}"


if __name__ == "__main__":
    main(tyro.cli(Options))
