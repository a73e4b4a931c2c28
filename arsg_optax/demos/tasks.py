"""The tasks: a data set, a model, a protocol, and settings for every optimizer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optax
from flax import nnx

from arsg_optax.demos.data import Dataset, load_digits, load_mnist
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.models import MLP, LogisticRegression


@dataclass(frozen=True)
class Ramp:
    """A hyper-parameter that changes linearly at the start, then stays.

    Attributes:
        start: value at the first step.
        end: value once `epochs` are over.
        epochs: length of the change, in epochs.
    """

    start: float
    end: float
    epochs: int = 1

    def schedule(self, steps_per_epoch: int) -> optax.Schedule:
        """The ramp as an Optax schedule of the step count."""
        steps = self.epochs * steps_per_epoch
        return optax.linear_schedule(self.start, self.end, steps)

    def __str__(self) -> str:
        epochs = "the first epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"{self.start:g} to {self.end:g} over {epochs}"


@dataclass(frozen=True)
class AtEpoch:
    """An update to act at: the first of an epoch.

    Attributes:
        epoch: counted from 1.
    """

    epoch: int

    def step(self, steps_per_epoch: int) -> int:
        """The update, counted from 0."""
        return (self.epoch - 1) * steps_per_epoch

    def __str__(self) -> str:
        return f"epoch {self.epoch}"


@dataclass(frozen=True)
class Settings:
    """What an optimizer is given on a task.

    Attributes:
        learning_rate: step size, in the sense of the optimizer's own function.
        options: its other keyword arguments; what is not named keeps its default.
    """

    learning_rate: float
    options: Mapping[str, float | int | Ramp | AtEpoch] = field(default_factory=dict)

    def keywords(self, steps_per_epoch: int) -> dict[str, Any]:
        """The options, with ramps made schedules and epochs made counts of steps."""

        def in_steps(value: Any) -> Any:
            if isinstance(value, Ramp):
                return value.schedule(steps_per_epoch)
            return value.step(steps_per_epoch) if isinstance(value, AtEpoch) else value

        return {name: in_steps(value) for name, value in self.options.items()}


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and how.

    Attributes:
        name: on the command line.
        summary: one line about it.
        load: makes the data set from `--data-dir` (or None).
        make_model: makes the network.
        batch_size: images a step.
        epochs: passes over the training set; the incomplete last batch is dropped.
        settings: for each optimizer that applies, by its name.
        searched: names of those whose step size :mod:`arsg_optax.demos.search` chose.
    """

    name: str
    summary: str
    load: Callable[[Path | None], Dataset]
    make_model: Callable[[nnx.Rngs], nnx.Module]
    batch_size: int
    epochs: int
    settings: Mapping[str, Settings]
    searched: tuple[str, ...] = ()


def _digits_model(rngs: nnx.Rngs) -> nnx.Module:
    return MLP((8, 8), hidden=(128, 128), rngs=rngs)


def _mnist_model(rngs: nnx.Rngs) -> nnx.Module:
    return LogisticRegression((28, 28), rngs=rngs)


# Found by scripts/search_learning_rates.py; everything else is at its default, but for
# the epochs to boost and to switch at, a quarter and half of the run as in the papers.
_DIGITS_SETTINGS = {
    "arsg": Settings(0.002),
    "arsgb": Settings(0.01, {"boost_at": AtEpoch(8)}),
    "rsg": Settings(0.5),
    "namsg": Settings(0.001),
    "swnts": Settings(0.0005, {"switch_at": AtEpoch(16)}),
    "adarem": Settings(0.5),
    "sgd": Settings(0.2),
    "adam": Settings(0.001),
    "adamw": Settings(0.001),
    "nadam": Settings(0.001),
    "amsgrad": Settings(0.002),
    "ranger": Settings(0.005),
    "schedule_free_adamw": Settings(0.001),
    "muon": Settings(0.005),
}

# Table A1 of the ARSG paper, except: namsg as in its own paper; swnts, adarem, adamw,
# schedule_free_adamw and muon, which the table lacks, by the search above. The table
# writes SGD(2.0, 0.99) for a momentum that is a mean of gradients, Optax's is a sum.
_MNIST_LOGREG_SETTINGS = {
    "arsg": Settings(0.05, {"b1": 0.999, "b2": 0.99, "observation": 0.1}),
    "arsgb": Settings(
        0.1, {"b1": 0.999, "b2": 0.99, "observation": 0.05, "boost_at": AtEpoch(6)}
    ),
    "rsg": Settings(5.0, {"b1": 0.999, "observation": 0.1}),
    "namsg": Settings(0.002, {"b1": 0.9, "b2": 0.99, "distance": Ramp(0.9, 3.0)}),
    "swnts": Settings(0.002, {"switch_at": AtEpoch(11)}),
    "adarem": Settings(0.2),
    "sgd": Settings(2.0 * (1 - 0.99), {"momentum": 0.99}),
    "adam": Settings(0.005, {"b1": 0.999, "b2": 0.999}),
    "adamw": Settings(0.002),
    "nadam": Settings(0.01, {"b1": 0.999, "b2": 0.999}),
    "amsgrad": Settings(0.005, {"b1": 0.99, "b2": 0.999}),
    "ranger": Settings(
        0.02, {"b1": 0.99, "b2": 0.999, "sync_period": 5, "slow_step_size": 0.5}
    ),
    "schedule_free_adamw": Settings(0.002),
    "muon": Settings(0.005),
}

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            "digits-mlp",
            "scikit-learn's handwritten digits (8x8), MLP 64-128-128-10",
            load_digits,
            _digits_model,
            batch_size=64,
            epochs=30,
            settings=_DIGITS_SETTINGS,
            searched=tuple(_DIGITS_SETTINGS),
        ),
        Task(
            "mnist-logreg",
            "MNIST (28x28), logistic regression from zero",
            load_mnist,
            _mnist_model,
            batch_size=256,
            epochs=20,
            settings=_MNIST_LOGREG_SETTINGS,
            searched=("swnts", "adarem", "adamw", "schedule_free_adamw", "muon"),
        ),
    )
}


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UsageError: if there is none; it lists those that there are.
    """
    if name not in TASKS:
        raise UsageError(f"unknown task {name!r}; known tasks: {', '.join(TASKS)}")
    return TASKS[name]
