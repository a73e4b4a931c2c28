"""What decides a run's numbers: one configuration for all commands and all records."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Self

import jax
import tyro

from arsg_optax.demos.errors import UsageError, find_named
from arsg_optax.demos.tasks import Settings, Task, find_task
from arsg_optax.demos.tasks.settings import (
    LARGEST,
    MOST_STEPS,
    Constant,
    Cosine,
    Linear,
    Option,
    WarmUp,
    encode_option,
)
from arsg_optax.demos.tasks.streams import StreamedImages
from arsg_optax.demos.tasks.task import DTYPES
from arsg_optax.demos.training.layout import Layout, make_layout, read_mesh
from arsg_optax.demos.training.optimizers import OPTIMIZERS, SLOW, Optimizer

# The preset of a run whose step size and options stand in the configuration itself.
NO_PRESET = "none"
_SCHEDULES = {
    "cosine": Cosine(),
    "constant": Constant(),
    "linear": Linear(),
    "wsd": Linear(0.8),
}
SCHEDULES = ("task", *_SCHEDULES)

# Changed when the same configuration would give other numbers than before.
_PROTOCOL = 1
# What the first records were named after; all else is left out of a key while it has
# its default, so that keys stay.
_IN_EVERY_KEY = (
    "task",
    "optimizer",
    "learning_rate",
    "epochs",
    "batch_size",
    "options",
    "seed",
    "examples",
    "schedule",
    "held_out",
    "dtype",
)
# What changes no number.
_IN_NO_KEY = ("preset", "checkpoint_every", "save_seconds", "keep", "workers")
# With what a run may go on otherwise than it began, but for its rounding.
_MAY_CHANGE = ("mesh", "split_state")


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """A task and how much of it: what all commands that train have in common.

    Attributes:
        task: What to train, by name.
        preset: The protocol to follow, by name: what each optimizer is given, and for
            transformers the network, its batch size and its length (None: the task's
            first).
        epochs: Passes over the training set, of bytes the steps between evaluations
            (None: the protocol's). The epochs at which the protocol decays or boosts
            stretch or shrink with it.
        batch_size: Examples a step (None: the protocol's); for text, rows.
        schedule: Of the step size: the task's, or what its preset gives the optimizer;
            constant, cosine or linear to zero, or wsd (constant for four fifths, then
            linear to zero).
        warm_up: Share of the steps in which the step size grows linearly, 0 to 1 (0:
            the task's).
        clip_norm: Largest global norm of a gradient (None: the task's).
        accumulate: Batches whose mean gradient makes an update.
        l2: Coefficient of L2 decay in the gradient (None: the task's).
        seed: Of initial weights, order, crops, flips and dropout; 0 to 2**32 - 1.
        dtype: Of the network's computation, float32 or bfloat16; parameters and
            optimizer state are float32.
        examples: Train on the first N examples (None: all); for text, tokens.
    """

    task: str = "digits-mlp"
    preset: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    schedule: str = "task"
    warm_up: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    l2: float | None = None
    seed: int = 0
    dtype: str = "float32"
    examples: int | None = None

    def check(self) -> None:
        """Raises `UsageError` for whatever can be told without the data."""
        for name in ("epochs", "batch_size", "examples", "accumulate"):
            self._at_least(name, 1)
        if not 0 <= self.seed < 2**32:
            raise UsageError(
                f"seed must be at least 0 and below 2**32, got {self.seed}"
            )
        if not 0 <= self.warm_up <= 1:
            raise UsageError(f"warm_up must be between 0 and 1, got {self.warm_up}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UsageError(f"clip_norm must be positive, got {self.clip_norm}")
        for name, known in (("dtype", DTYPES), ("schedule", SCHEDULES)):
            if (value := getattr(self, name)) not in known:
                raise UsageError(
                    f"{name} must be one of {', '.join(known)}, got {value!r}"
                )
        self.chosen_task()

    def chosen_task(self) -> Task:
        """The task, with its length, batch size, schedule and decay."""
        task = find_task(self.task).varied(self.preset)
        task = task.resized(self.epochs, self.batch_size)
        schedule, warm_up = task.schedule, self.warm_up
        if isinstance(schedule, WarmUp):
            # Another schedule begins with the task's warm-up, too.
            schedule, warm_up = schedule.then, warm_up or schedule.share
        schedule = _SCHEDULES.get(self.schedule_name(), schedule)
        return replace(
            task,
            schedule=WarmUp(warm_up, schedule) if warm_up else schedule,
            clip=task.clip if self.clip_norm is None else self.clip_norm,
            accumulate=self.accumulate,
            l2=task.l2 if self.l2 is None else self.l2,
        )

    def schedule_name(self) -> str:
        """The name of the schedule, one of `SCHEDULES`."""
        return self.schedule

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is not None and value < least:
            raise UsageError(f"{name} must be at least {least}, got {value}")
        if value is not None and value > MOST_STEPS:
            raise UsageError(f"{name} must be at most {MOST_STEPS}, got {value}")


@dataclass(frozen=True, kw_only=True)
class RunConfig(TaskConfig):
    """A run. Two runs of one configuration on one machine give the same bits.

    Attributes:
        optimizer: With what, by name.
        learning_rate: Step size, as the optimizer's own function takes it (None:
            the preset's).
        weight_decay: The optimizer's own decoupled decay (None: its default).
        options: The optimizer's other keyword arguments, beside the preset's.
        held_out: Keep a fifth of the training images or bytes back, and report on them
            instead of on the test set, which is then not read.
        steps: End after N steps in all, evaluated (None: whole epochs).
        checkpoint_every: Steps between checkpoints in an epoch, at whose end is one,
            too (None: as `save_seconds` says).
        save_seconds: Seconds between checkpoints; the last state is always kept.
        keep: Newest checkpoints to keep.
        workers: Threads that read and decode streamed images (None or 0: one per
            core).
        mesh: Devices by axis, as data=8 or data=4,fsdp=2: every batch is split over all
            of them, parameters and the optimizer's arrays over fsdp (None: one
            device).
        split_state: Split the optimizer's arrays over data, too (ZeRO-1).
    """

    optimizer: str = "arsg"
    learning_rate: float | None = None
    weight_decay: float | None = None
    options: Annotated[Mapping[str, Option], tyro.conf.Fixed, tyro.conf.Suppress] = (
        field(default_factory=dict)
    )
    held_out: bool = False
    steps: int | None = None
    checkpoint_every: int | None = None
    save_seconds: float = 30.0
    keep: int = 3
    workers: int | None = None
    mesh: str | None = None
    split_state: bool = False

    def check(self, known: Mapping[str, Optimizer] = OPTIMIZERS) -> None:
        """Raises `UsageError` for whatever can be told without the data.

        Args:
            known: the optimizers that there are.
        """
        super().check()
        for name in ("steps", "checkpoint_every", "keep"):
            self._at_least(name, 1)
        self._at_least("workers", 0)
        optimizer = find_named(known, "optimizer", self.optimizer)
        optimizer.check(self.chosen_settings().options)
        if self.accumulate > 1 and optimizer.points is SLOW:
            raise UsageError(
                f"accumulate must be 1 with {self.optimizer}, got {self.accumulate}: "
                "lookahead's pair of parameters cannot wait"
            )
        self._check_mesh()

    def _check_mesh(self) -> None:
        if jax.process_count() > 1 and self.mesh is None:
            raise UsageError(
                f"mesh must cover the devices of all {jax.process_count()} processes "
                "of jax.distributed, got None: each would train the same and write "
                f"the same files; pass data={jax.device_count()}"
            )
        if self.split_state and self.mesh is None:
            raise UsageError(
                "split_state needs the devices to split over, got no mesh; give one, "
                "as data=8"
            )
        batch, layout = self.chosen_task().batch_size, self.layout()
        if layout is not None and batch % layout.devices:
            raise UsageError(
                f"batch_size must be a multiple of the mesh's {layout.devices} "
                f"devices, got {batch}"
            )

    def layout(self) -> Layout | None:
        """Where the run lies; None for one device.

        Raises:
            UsageError: if the mesh cannot be read or does not fit the devices.
        """
        if self.mesh is None:
            return None
        return make_layout(read_mesh(self.mesh), self.split_state)

    def chosen_task(self) -> Task:
        """The task, with this run's changes."""
        task = super().chosen_task()
        if self.workers is not None and isinstance(task.kind, StreamedImages):
            return replace(task, kind=task.kind._replace(workers=self.workers))
        return task

    def chosen_settings(self) -> Settings:
        """The preset's settings, with the step size and the options of this run.

        Raises:
            UsageError: for an unknown preset, a step size that is not positive and
                finite, or none at all.
        """
        task, preset = find_task(self.task), self._preset()
        found = preset.get(self.optimizer)
        rate, options = self.learning_rate, {} if found is None else found.options
        if rate is None and found is not None:
            rate = found.learning_rate
        if rate is None:
            raise UsageError(
                f"{task.name} has no step size for {self.optimizer!r}: give "
                f"learning_rate, or one of the optimizers {', '.join(preset)}"
            )
        if not 0 < rate < float("inf") or rate > LARGEST:
            raise UsageError(
                f"learning_rate of {self.optimizer!r} must be positive and finite, "
                f"got {rate}"
            )
        options = {**options, **self.options}
        if self.weight_decay is not None:
            options["weight_decay"] = self.weight_decay
        return Settings(float(rate), options)

    def schedule_name(self) -> str:
        """Where the task's is left, what the preset gives the optimizer."""
        found = self._preset().get(self.optimizer)
        return self.schedule if self.schedule != "task" or not found else found.schedule

    def _preset(self) -> Mapping[str, Settings]:
        if self.preset == NO_PRESET:
            return {}
        return find_task(self.task).preset(self.preset)

    def resolved(self) -> Self:
        """The same run with nothing left to the task's presets and defaults.

        The name of a preset stays if it changes more than settings.
        """
        task, settings = self.chosen_task(), self.chosen_settings()
        return replace(
            self,
            preset=self.kept_preset(),
            epochs=task.epochs,
            batch_size=task.batch_size,
            schedule=self.schedule_name(),
            learning_rate=settings.learning_rate,
            weight_decay=None,
            options=settings.options,
        )

    def kept_preset(self) -> str:
        """The preset that a record must name: one of another network, or none."""
        return find_task(self.task).variant(self.preset) or NO_PRESET

    def check_goes_on(self, before: Self) -> None:
        """Raises `UsageError` if it cannot go on with what another configuration began.

        Args:
            before: the other one. Both are resolved.
        """
        now, then = encode(self), encode(before)
        free = (*_IN_NO_KEY, *_MAY_CHANGE)
        differing = [n for n in then if n not in free and now[n] != then[n]]
        if self.kept_preset() != before.kept_preset():
            differing.append("preset")
        if differing:
            listed = ", ".join(f"{n} {then[n]} and now {now[n]}" for n in differing)
            raise UsageError(
                f"the run was begun with other options than its configuration has now: "
                f"{listed}; put back the first, or start a new run in another directory"
            )

    @property
    def settings(self) -> Settings:
        """What the optimizer is given, by a configuration that is resolved."""
        return Settings(self.learning_rate or 0.0, self.options)

    def holding_out(self) -> Self:
        """The same on a part of the training set, evaluated on the rest of it."""
        return replace(self, held_out=True)

    def key(self) -> str:
        """Twenty hexadecimal digits that only runs with the same numbers share."""
        plain, defaults = encode(self.resolved()), encode(RunConfig())
        held = {
            name: value
            for name, value in plain.items()
            if name in _IN_EVERY_KEY
            or (name not in _IN_NO_KEY and value != defaults[name])
        }
        if plain["preset"] != NO_PRESET:
            held["preset"] = plain["preset"]
        # Of the first records, which once could be of generated data.
        held["generated"] = False
        text = json.dumps([_PROTOCOL, held], sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def encode(config: RunConfig) -> dict[str, Any]:
    """The configuration as JSON writes it."""
    plain = {each.name: getattr(config, each.name) for each in fields(RunConfig)}
    return {
        **plain,
        "options": {k: encode_option(v) for k, v in config.options.items()},
    }
