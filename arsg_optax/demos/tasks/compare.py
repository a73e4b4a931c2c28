"""Trains a task's model with several optimizers, one after another, alike otherwise."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import Settings, Setup, Task
from arsg_optax.demos.tasks.configuration import check_dtype, check_seed
from arsg_optax.demos.tasks.results import Outcome, Row, Run, make_row, new_run
from arsg_optax.demos.training.optimizers import OPTIMIZERS, find_optimizer
from arsg_optax.demos.training.trainer import Trainer


@dataclass(frozen=True)
class Plan:
    """Everything that a comparison needs, checked.

    Attributes:
        task: with the batch size and the epochs of this run.
        settings: of each optimizer to run, in that order.
        seed: of the initial weights and the order of the data; the same for all.
        dtype: of the network's computation, float32 or bfloat16.
    """

    task: Task
    settings: Mapping[str, Settings]
    seed: int
    dtype: str = "float32"


@dataclass
class Comparison:
    """The runs so far; `interrupted` if the user stopped it."""

    plan: Plan
    runs: list[Run] = field(default_factory=list)
    interrupted: bool = False


class Observer(Protocol):
    """What is told of the progress of a comparison."""

    def run_started(self, run: Run) -> None:
        """Called before the optimizer's function is compiled."""

    def epoch_finished(self, run: Run, row: Row) -> None:
        """Called after each epoch, with its row already in the run."""

    def run_finished(self, run: Run) -> None:
        """Called when the run ended, however it did, unless it was interrupted."""


def make_plan(
    task: Task,
    optimizers: Sequence[str] = (),
    *,
    preset: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rates: Mapping[str, float] | None = None,
    seed: int = 0,
    dtype: str = "float32",
) -> Plan:
    """Checks a request and fills in the task's defaults.

    Args:
        task: what to train.
        optimizers: their names; empty for all that the preset has settings for.
        preset: name of the task's settings, None for its default.
        epochs: passes over the training set, None for the task's; the times in the
            settings stretch or shrink with it.
        batch_size: examples a step, None for the task's.
        learning_rates: overrides the task's step sizes, by optimizer name.
        seed: of the initial weights and the order of the data, at least 0.
        dtype: of the network's computation.

    Raises:
        UsageError: if a name is unknown or a number out of range.
    """
    known = task.preset(preset)
    names = list(dict.fromkeys(optimizers)) or list(known)
    overrides = dict(learning_rates or {})
    _check_names(task, known, names, overrides)
    _check_overrides(overrides, names)
    check_dtype(dtype)
    check_seed(seed)
    settings = {}
    for name in names:
        found = known.get(name, Settings(0.0))
        rate = overrides.get(name, found.learning_rate)
        settings[name] = replace(found, learning_rate=rate)
    return Plan(task.resized(epochs, batch_size), settings, seed, dtype)


def compare(plan: Plan, data: Any, observer: Observer) -> Comparison:
    """Runs every optimizer of the plan.

    A run whose numbers stop being finite ends there, and the next one starts. On
    `KeyboardInterrupt` the runs so far are returned, the current one's part included.

    Args:
        plan: as :func:`make_plan` returns it.
        data: the task's.
        observer: told of the progress.

    Raises:
        UsageError: if the batch size exceeds the training set.
    """
    plan.task.check_batch_size(data)
    comparison = Comparison(plan)
    try:
        setup = plan.task.setup(data, plan.seed, plan.dtype)
        start = setup.problem.init(plan.seed)
        for name in plan.settings:
            run = new_run(OPTIMIZERS[name], plan.settings[name])
            comparison.runs.append(run)
            observer.run_started(run)
            _train(run, plan, setup, start, observer)
            observer.run_finished(run)
    except KeyboardInterrupt:
        comparison.interrupted = True
    return comparison


def _train(
    run: Run, plan: Plan, setup: Setup, start: tuple[Any, Any], observer: Observer
) -> None:
    """Trains with one optimizer and fills in its run."""
    optimizer, settings = OPTIMIZERS[run.optimizer], plan.settings[run.optimizer]
    trainer = plan.task.trainer(setup, optimizer, settings, seed=plan.seed, start=start)
    run.compile_seconds = trainer.compile()
    started = time.perf_counter()
    while trainer.epoch <= plan.task.epochs:
        row = _epoch(run, trainer, started)
        run.rows.append(row)
        observer.epoch_finished(run, row)
        if not row.is_finite():
            run.outcome = Outcome.DIVERGED
            return
        trainer.next_epoch()
    run.outcome = Outcome.FINISHED


def _epoch(run: Run, trainer: Trainer, started: float) -> Row:
    return make_row(
        trainer.run_epoch(),
        trainer.mean_loss(),
        run=run,
        epoch=trainer.epoch,
        step=trainer.total_steps,
        seconds=time.perf_counter() - started,
    )


def _check_names(
    task: Task,
    known: Mapping[str, Settings],
    names: Sequence[str],
    overrides: Mapping[str, float],
) -> None:
    for name in names:
        find_optimizer(name)
        if name not in known and name not in overrides:
            raise UsageError(
                f"{task.name} has no step size for {name!r}: give learning_rate "
                f"{name}=VALUE, or choose among {', '.join(known)}"
            )


def _check_overrides(overrides: Mapping[str, float], names: Sequence[str]) -> None:
    for name, value in overrides.items():
        if name not in names:
            raise UsageError(
                f"learning_rate names {name!r}, which is not among the optimizers of "
                f"this run: {', '.join(names)}"
            )
        if not 0 < value < float("inf"):
            raise UsageError(
                f"learning_rate of {name!r} must be positive and finite, got {value}"
            )
