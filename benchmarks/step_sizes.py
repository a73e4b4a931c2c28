"""Finding a step size: what it costs, what a share of the steps is worth, the formulas.

All losses are means of the minibatch losses of the last epoch.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from arsg_optax.demos.tasks import Setup, Task, find_task
from arsg_optax.demos.tasks.candidates import grid
from arsg_optax.demos.tasks.tune import probe_task, search_task
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.tuning import LearningRateSuggestion
from benchmarks.records import Row, keep

STARTS = {"rsg": 0.1, "arsg": 1e-3}
SEVEN = {"rsg": 0.5, "arsg": 0.01}
WAYS = ("vmapped", "unrolled", "sequential")


@dataclass(frozen=True)
class Options:
    """Measure searches of the step size; MNIST is read from ARSG_DATA_DIR."""

    part: Literal["speed", "choice"] = "choice"
    """Speed: one compiled search against the trainer, run after run. Choice: what a
    tenth of the steps and what the formulas choose, against the whole grid."""
    task: str = "mnist-logreg"
    """Which task."""
    optimizers: tuple[Literal["rsg", "arsg"], ...] = ("rsg", "arsg")
    """Which optimizers."""
    examples: int | None = None
    """Only the first so many training images (None: all)."""
    seeds: int = 3
    """Seeds of the choice."""
    suggest: bool = True
    """Whether the formulas are tried: they need 14 gradients in a twentieth."""
    turns: int = 3
    """Turns of the speed."""
    results: Path | None = None
    """Directory that keeps the table (None: only printed)."""


def setup_of(options: Options) -> tuple[Task, Setup]:
    """The task with its data."""
    task = find_task(options.task)
    return task, task.setup(task.data(None, options.examples))


def speed(options: Options) -> list[Row]:
    """Seven step sizes at once, and with the trainer that compiles once."""
    task, setup = setup_of(options)
    rows: list[Row] = []
    for name in options.optimizers:
        rates = grid(SEVEN[name], 7)
        times: dict[str, list[float]] = {}
        curves: dict[str, np.ndarray] = {}
        for _ in range(options.turns):
            seconds, curves["trainer"] = _trainer_curves(task, setup, name, rates)
            times.setdefault("trainer", []).append(seconds)
            for way in WAYS:
                seconds, curves[way] = _search_curves(task, setup, name, rates, way)
                times.setdefault(way, []).append(seconds)
        rows += [
            _speed_row(name, way, times, curves, setup) for way in ("trainer", *WAYS)
        ]
    return rows


def _speed_row(
    name: str,
    way: str,
    times: dict[str, list[float]],
    curves: dict[str, np.ndarray],
    setup: Setup,
) -> Row:
    """Medians over the turns, the curves of the last one."""
    epoch = setup.sources.train.steps_per_epoch
    winners = [
        int(np.argmin(curves[each][:, -epoch:].mean(axis=1)))
        for each in ("trainer", way)
    ]
    return {
        "optimizer": name,
        "way": way,
        "seconds": float(np.median(times[way])),
        "times faster": float(np.median(np.divide(times["trainer"], times[way]))),
        "largest difference": float(np.max(np.abs(curves[way] - curves["trainer"]))),
        "same winner": winners[0] == winners[1],
    }


def _search_curves(
    task: Task, setup: Setup, name: str, rates: list[float], way: Any
) -> tuple[float, np.ndarray]:
    began = time.perf_counter()
    found = search_task(
        task,
        setup,
        OPTIMIZERS[name],
        task.settings[name],
        rates,
        steps=task.epochs * setup.sources.train.steps_per_epoch,
        engine=way,
    )
    return time.perf_counter() - began, found.losses


def _trainer_curves(
    task: Task, setup: Setup, name: str, rates: list[float]
) -> tuple[float, np.ndarray]:
    """The time of one compilation and all runs, and their loss curves."""
    curves, seconds = [], 0.0
    for number, rate in enumerate(rates):
        settings = replace(task.settings[name], learning_rate=rate)
        trainer = task.trainer(setup, OPTIMIZERS[name], settings, seed=0)
        compiling, parts = trainer.compile(), []
        began = time.perf_counter()
        for epoch in range(task.epochs):
            if epoch:
                trainer.next_epoch()
            while trainer.step < trainer.steps_per_epoch:
                parts.append(trainer.run_chunk())
        seconds += time.perf_counter() - began + (0.0 if number else compiling)
        curves.append(np.concatenate(parts))
    return seconds, np.array(curves)


def choice(options: Options) -> list[Row]:
    """What a tenth of the steps and what the formulas choose, over seeds."""
    task, setup = setup_of(options)
    rows: list[Row] = []
    for name in options.optimizers:
        optimizer, settings = OPTIMIZERS[name], task.settings[name]
        suggested: list[LearningRateSuggestion] = []
        if options.suggest:
            suggested = [
                probe_task(task, setup, optimizer, settings, seed=seed)
                for seed in range(options.seeds)
            ]
        for seed in range(options.seeds):
            row: Row = {"optimizer": name, "seed": seed}
            row |= _choice_of_seed(task, setup, name, suggested, seed)
            rows.append(row)
            print(row, flush=True)
    return rows


def _choice_of_seed(
    task: Task,
    setup: Setup,
    name: str,
    suggested: list[LearningRateSuggestion],
    seed: int,
) -> Row:
    epoch = setup.sources.train.steps_per_epoch
    steps, rates = task.epochs * epoch, grid(STARTS[name], 9)
    # Those of all seeds, so that each seed's search is compiled for as many.
    tried = [*rates, *(each.learning_rate for each in suggested)]
    losses = _searched(task, setup, name, tried, steps, seed)
    last = losses[:, -epoch:].mean(axis=1)
    whole = last[: len(rates)]
    best = int(np.nanargmin(whole))
    tenth = _pick(losses[: len(rates), : steps // 10])
    row: Row = {"best": rates[best], "its loss": float(whole[best])}
    row |= {"by a tenth": rates[tenth]}
    row |= {"its loss over the best": float(whole[tenth] / whole[best])}
    if suggested:
        own = suggested[seed]
        row |= {"suggested": own.learning_rate, "limited by": own.limited_by}
        row |= {"suggested over best": own.learning_rate / rates[best]}
        row |= {"its loss / best": float(last[len(rates) + seed] / whole[best])}
        row |= {"gradients, % of the steps": 100 * own.gradients / steps}
    return row


def _pick(losses: np.ndarray) -> int:
    """As `arsg tune` picks: the smallest that is within 2 % of the best."""
    final = losses[:, -max(1, losses.shape[1] // 10) :].mean(axis=1)
    return int(np.argmax(final <= 1.02 * np.nanmin(final)))


def _searched(
    task: Task, setup: Setup, name: str, rates: list[float], steps: int, seed: int
) -> np.ndarray:
    found = search_task(
        task,
        setup,
        OPTIMIZERS[name],
        task.settings[name],
        rates,
        steps=steps,
        first_seed=seed,
    )
    return found.losses


def main(options: Options) -> None:
    """Measures, prints and keeps."""
    rows = speed(options) if options.part == "speed" else choice(options)
    keep(f"step-sizes-{options.part}-{options.task}", rows, options.results)
