"""What a task is, and how its parts become something to train."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import optax

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.settings import (
    MOST_STEPS,
    Clock,
    Constant,
    Schedule,
    Settings,
)
from arsg_optax.demos.training.layout import Layout
from arsg_optax.demos.training.optimizers import Optimizer
from arsg_optax.demos.training.problems import Problem
from arsg_optax.demos.training.sources import Sources
from arsg_optax.demos.training.trainer import Trainer

DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


class Setup(NamedTuple):
    """What is trained, and what it reads."""

    problem: Problem
    sources: Sources


class Kind(Protocol):
    """What kind of data a task has: how they and a model become a :class:`Setup`."""

    def count(self, data: Any) -> int:
        """Training examples, of which a batch takes `batch_size`."""
        ...

    def first(self, data: Any, count: int) -> Any:
        """The data with the first `count` training examples only."""
        ...

    def setup(self, task: "Task", data: Any, seed: int, dtype: str) -> Setup:
        """The problem and its sources."""
        ...

    def keep(self, data: Any, directory: Path) -> None:
        """Writes into the run's directory what is needed to read its results."""
        ...


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and how.

    Attributes:
        name: on the command line.
        summary: one line about it.
        load: makes the data from `--data-dir` (or None).
        make_model: makes the network from `rngs=` and `dtype=`; of text, the size of
            the vocabulary comes first, of streamed images `classes=` is given too.
        kind: what the data are.
        batch_size: examples a step.
        epochs: passes over the training set; the incomplete last batch is dropped.
        presets: settings for each optimizer that applies, by its name, by the name
            of the preset. The first preset is the default.
        variants: attributes of the task that a preset changes, by the preset's name:
            the network, the batch size, the length.
        schedule: of the step size, for every optimizer.
        clip: largest global norm of a gradient, None for no limit.
        accumulate: batches whose mean gradient makes an update.
        l2: coefficient of L2 decay, which is added to the gradient.
        decayed: of parameters, the mask of an optimizer's own `weight_decay`; None for
            all.
        searched: names of those whose step size `arsg compare --sweep` chose.
        compared: names that `arsg compare` takes where none is named, all if empty.
        protocol_epochs: epochs in which the settings' times count, 0 for `epochs`.
        bits: whether losses are shown in bits, as those of bytes are, or in nats.
    """

    name: str
    summary: str
    load: Callable[[Path | None], Any]
    make_model: Callable[..., Any]
    kind: Kind
    batch_size: int
    epochs: int
    presets: Mapping[str, Mapping[str, Settings]]
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=Constant)
    clip: float | None = None
    accumulate: int = 1
    l2: float = 0.0
    decayed: Callable[[Any], Any] | None = None
    searched: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    protocol_epochs: int = 0
    bits: bool = False

    @property
    def settings(self) -> Mapping[str, Settings]:
        """The settings of the default preset."""
        return next(iter(self.presets.values()))

    def preset(self, name: str | None) -> Mapping[str, Settings]:
        """Settings of a preset, None for the default.

        Raises:
            UsageError: if the task has none of that name; it lists those it has.
        """
        if name is None:
            return self.settings
        if name not in self.presets:
            raise UsageError(
                f"preset must be one of those of {self.name}: "
                f"{', '.join(self.presets)}; got {name!r}"
            )
        return self.presets[name]

    def variant(self, name: str | None) -> str | None:
        """The preset, if it changes more than settings: the one named or the first."""
        name = next(iter(self.presets)) if name is None else name
        return name if name in self.variants else None

    def varied(self, name: str | None) -> "Task":
        """The task with what a preset changes, None for the default."""
        found = self.variant(name)
        if found is None:
            return self
        summary = f"{self.summary}, {found}"
        return replace(self, summary=summary, **self.variants[found])

    def resized(self, epochs: int | None, batch_size: int | None) -> "Task":
        """The task with other epochs or batch size; None leaves them.

        Raises:
            UsageError: if one is below 1.
        """
        for argument, value in (("epochs", epochs), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise UsageError(f"{argument} must be at least 1, got {value}")
        return replace(
            self,
            epochs=epochs or self.epochs,
            batch_size=batch_size or self.batch_size,
            protocol_epochs=self.protocol_epochs or self.epochs,
        )

    def data(self, data_dir: Path | None, examples: int | None = None) -> Any:
        """The data to train on and to report on.

        Args:
            data_dir: see `load`.
            examples: only the first so many for training, None for all.

        Raises:
            UsageError: if there is not one whole batch.
            DataError: if the data cannot be had.
        """
        data = self.load(data_dir)
        if examples is not None:
            data = self.kind.first(data, examples)
        self.check_batch_size(data)
        return data

    def clock(self, steps_per_epoch: int) -> Clock:
        """How the protocol's epochs become steps."""
        return Clock(steps_per_epoch, self.epochs, self.protocol_epochs or self.epochs)

    def setup(self, data: Any, seed: int = 0, dtype: str = "float32") -> Setup:
        """The network and what it reads.

        Args:
            data: as `load` returns them.
            seed: of a stream's order; data on the device take theirs in training.
            dtype: of the network's computation, a key of `DTYPES`.
        """
        return self.kind.setup(self, data, seed, dtype)

    def check_batch_size(self, data: Any) -> None:
        """Raises `UsageError` if there is not one whole batch."""
        count = self.kind.count(data)
        if self.batch_size > count:
            raise UsageError(
                f"batch_size must be at most the {count} training examples of "
                f"{self.name}, got {self.batch_size}"
            )

    def trainer(
        self,
        setup: Setup,
        optimizer: Optimizer,
        settings: Settings,
        *,
        seed: int,
        start: tuple[Any, Any] | None = None,
        layout: Layout | None = None,
    ) -> Trainer:
        """A trainer by the task's protocol; see :class:`Trainer` for the arguments."""
        steps = setup.sources.train.steps_per_epoch
        return Trainer(
            setup.problem,
            setup.sources,
            self.transform(optimizer, settings, steps),
            optimizer.points,
            seed=seed,
            start=start,
            layout=layout,
        )

    def transform(
        self,
        optimizer: Optimizer,
        settings: Settings,
        steps_per_epoch: int,
        learning_rate: Any = None,
    ) -> optax.GradientTransformation:
        """The optimizer with the task's schedule, clipping and decay.

        Args:
            optimizer: from the registry.
            settings: what it is given.
            steps_per_epoch: of this run.
            learning_rate: () float, also traced, instead of the settings'.

        Raises:
            UsageError: for a hyper-parameter that the optimizer refuses, or for more
                steps than can be counted.
        """
        # The optimizer counts updates.
        clock = self.clock(max(1, steps_per_epoch // self.accumulate))
        rate = settings.learning_rate if learning_rate is None else learning_rate
        before = []
        if self.clip is not None:
            before.append(optax.clip_by_global_norm(self.clip))
        if self.l2:
            before.append(optax.add_decayed_weights(self.l2))
        keywords = settings.keywords(clock)
        if self.decayed and "weight_decay" in keywords and optimizer.takes("mask"):
            keywords["mask"] = self.decayed
        if clock.epochs * clock.steps_per_epoch > MOST_STEPS:
            raise UsageError(
                f"epochs must make at most {MOST_STEPS} steps, got {clock.epochs}"
            )
        schedule = self.schedule.of(rate, clock)
        try:
            found = optimizer.behind(before, schedule, **keywords)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{optimizer.name}: {error}") from error
        if self.accumulate == 1:
            return found
        steps = optax.MultiSteps(found, self.accumulate)
        return steps.gradient_transformation()
