"""Trains a task's model with several optimizers, one after another, alike otherwise."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import jax

from arsg_optax.demos import train
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.optimizers import OPTIMIZERS, Optimizer
from arsg_optax.demos.results import Outcome, Row, Run, make_row
from arsg_optax.demos.tasks import Settings, Task


@dataclass(frozen=True)
class Plan:
    """Everything that a comparison needs, checked.

    Attributes:
        task: with the batch size and the epochs of this run.
        settings: of each optimizer to run, in that order.
        seed: of the initial weights and the order of the images; the same for all.
    """

    task: Task
    settings: Mapping[str, Settings]
    seed: int


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
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rates: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Plan:
    """Checks a request and fills in the task's defaults.

    Args:
        task: what to train.
        optimizers: their names; empty for all that apply to the task.
        epochs: passes over the training set, None for the task's.
        batch_size: images a step, None for the task's.
        learning_rates: overrides the task's step sizes, by optimizer name.
        seed: of the initial weights and the order of the images, at least 0.

    Raises:
        UsageError: if a name is unknown or a number out of range.
    """
    names = list(dict.fromkeys(optimizers)) or list(task.settings)
    _check_names(task, names)
    overrides = dict(learning_rates or {})
    _check_overrides(overrides, names)
    epochs = task.epochs if epochs is None else epochs
    batch_size = task.batch_size if batch_size is None else batch_size
    for argument, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise UsageError(f"{argument} must be at least 1, got {value}")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must be at least 0 and below 2**32, got {seed}")
    settings = {
        name: replace(
            task.settings[name],
            learning_rate=overrides.get(name, task.settings[name].learning_rate),
        )
        for name in names
    }
    return Plan(replace(task, epochs=epochs, batch_size=batch_size), settings, seed)


def compare(plan: Plan, dataset: Dataset, observer: Observer) -> Comparison:
    """Runs every optimizer of the plan.

    A run whose numbers stop being finite ends there, and the next one starts. On
    `KeyboardInterrupt` the runs so far are returned, the current one's part included.

    Args:
        plan: as :func:`make_plan` returns it.
        dataset: the task's.
        observer: told of the progress.

    Raises:
        UsageError: if the batch size exceeds the training set.
    """
    check_batch_size(plan, dataset)
    comparison = Comparison(plan)
    try:
        arrays = train.to_device(dataset)
        forward, params = train.build(plan.task.make_model, plan.seed)
        for name in plan.settings:
            run = _new_run(plan, OPTIMIZERS[name])
            comparison.runs.append(run)
            observer.run_started(run)
            _train(run, plan, forward, params, arrays, observer)
            observer.run_finished(run)
    except KeyboardInterrupt:
        comparison.interrupted = True
    return comparison


def check_batch_size(plan: Plan, dataset: Dataset) -> None:
    """Raises `UsageError` if there is not one whole batch."""
    count = len(dataset.train.labels)
    if plan.task.batch_size > count:
        raise UsageError(
            f"batch_size must be at most the {count} training images of "
            f"{plan.task.name}, got {plan.task.batch_size}"
        )


def _new_run(plan: Plan, optimizer: Optimizer) -> Run:
    settings = plan.settings[optimizer.name]
    return Run(
        optimizer=optimizer.name,
        baseline=optimizer.baseline,
        own_point=optimizer.points.name,
        learning_rate=settings.learning_rate,
        options=", ".join(f"{key} {value}" for key, value in settings.options.items()),
    )


def _train(
    run: Run,
    plan: Plan,
    forward: train.Forward,
    params: Any,
    arrays: train.Arrays,
    observer: Observer,
) -> None:
    """Trains with one optimizer and fills in its run."""
    started = time.perf_counter()
    epoch_function, state = _compile(run.optimizer, plan, forward, params, arrays)
    run.compile_seconds = time.perf_counter() - started
    steps = len(arrays.train_labels) // plan.task.batch_size
    started = time.perf_counter()
    for epoch in range(1, plan.task.epochs + 1):
        key = train.shuffle_key(plan.seed, epoch)
        state, scores = epoch_function(state, key, arrays)
        row = make_row(
            train.to_floats(scores),
            optimizer=run.optimizer,
            epoch=epoch,
            step=epoch * steps,
            seconds=time.perf_counter() - started,
            learning_rate=run.learning_rate,
            own_point=run.own_point,
        )
        run.rows.append(row)
        observer.epoch_finished(run, row)
        if not row.is_finite():
            run.outcome = Outcome.DIVERGED
            return
    run.outcome = Outcome.FINISHED


def _compile(
    name: str,
    plan: Plan,
    forward: train.Forward,
    params: Any,
    arrays: train.Arrays,
) -> tuple[Callable[..., Any], train.TrainState]:
    """Compiles the epoch ahead of time, so that it can be timed apart."""
    settings, points = plan.settings[name], OPTIMIZERS[name].points
    keywords = settings.keywords(len(arrays.train_labels) // plan.task.batch_size)
    optimizer = OPTIMIZERS[name].make(settings.learning_rate, **keywords)
    state = train.init_state(optimizer, points, params)
    epoch = train.make_epoch(forward, optimizer, points, plan.task.batch_size)
    key = train.shuffle_key(plan.seed, 1)
    compiled = jax.jit(epoch, donate_argnums=0).lower(state, key, arrays).compile()
    return compiled, state


def _check_names(task: Task, names: Sequence[str]) -> None:
    known = ", ".join(task.settings)
    for name in names:
        if name not in OPTIMIZERS:
            raise UsageError(f"unknown optimizer {name!r}; known optimizers: {known}")
        if name not in task.settings:
            raise UsageError(
                f"optimizer {name!r} does not apply to the task {task.name!r}; "
                f"those that do: {known}"
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
