"""What decides a run's numbers, checked, and kept beside its results."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import Settings, Task, find_task
from arsg_optax.demos.tasks.streams import StreamedImages
from arsg_optax.demos.tasks.task import DTYPES
from arsg_optax.demos.training.optimizers import find_optimizer

CONFIGURATION = "config.json"


@dataclass(frozen=True)
class Configuration:
    """A run. Two runs of one configuration on one machine give the same bits.

    Attributes:
        task: name.
        optimizer: name.
        preset: name of the settings, None for the task's default.
        epochs: passes over the training set, None for the protocol's; times in the
            settings stretch or shrink with it.
        batch_size: examples a step, None for the protocol's.
        learning_rate: in the sense of the optimizer's own function, None for the
            preset's.
        seed: of initial values, order, crops, flips and dropout; from 0 to 2**32 - 1.
        dtype: of the network's computation, float32 or bfloat16; parameters stay
            float32.
        examples: train on the first so many only, None for all.
        steps: end after so many steps in all, None for the epochs' own.
        checkpoint_every: steps between checkpoints within an epoch, None for the
            ends of epochs only.
        keep: newest checkpoints that are kept.
        workers: processes that read images of a stream, 0 for threads, None for half
            of the cores; it changes no number.
    """

    task: str = "digits-mlp"
    optimizer: str = "arsg"
    preset: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    dtype: str = "float32"
    examples: int | None = None
    steps: int | None = None
    checkpoint_every: int | None = None
    keep: int = 3
    workers: int | None = None

    def check(self) -> None:
        """Raises `UsageError` for whatever can be told without the data."""
        for name in ("examples", "steps", "checkpoint_every", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"workers must be at least 0, got {self.workers}")
        check_seed(self.seed)
        check_dtype(self.dtype)
        self.chosen_settings(self.chosen_task())

    def chosen_task(self) -> Task:
        """The task, resized."""
        task = find_task(self.task).resized(self.epochs, self.batch_size)
        if self.workers is not None and isinstance(task.kind, StreamedImages):
            return replace(task, kind=task.kind._replace(workers=self.workers))
        return task

    def chosen_settings(self, task: Task) -> Settings:
        """The preset's settings, with the step size of this run.

        Raises:
            UsageError: for an unknown optimizer or preset, a step size that is not
                positive and finite, or none at all.
        """
        find_optimizer(self.optimizer)
        preset = task.preset(self.preset)
        rate = self.learning_rate
        if rate is not None and not 0 < rate < float("inf"):
            raise UsageError(f"learning_rate must be positive and finite, got {rate}")
        if self.optimizer in preset:
            found = preset[self.optimizer]
            return found if rate is None else Settings(rate, found.options)
        if rate is None:
            raise UsageError(
                f"{task.name} has no step size for {self.optimizer!r}: give "
                f"learning_rate, or one of the optimizers {', '.join(preset)}"
            )
        return Settings(rate)

    def write(self, directory: Path) -> None:
        """Keeps the configuration with the run."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        (directory / CONFIGURATION).write_text(text)


def read_configuration(directory: Path) -> Configuration:
    """The configuration of a run in a directory.

    Raises:
        UsageError: if there is none that can be read.
    """
    path = directory / CONFIGURATION
    try:
        held = json.loads(path.read_text())
        known = {field.name for field in fields(Configuration)}
        return Configuration(**{k: v for k, v in held.items() if k in known})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f"resume must name the directory of a run, with {CONFIGURATION} in it; "
            f"got {directory} ({error})"
        ) from error


def check_seed(seed: int) -> None:
    """Raises `UsageError` for a seed out of range."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must be at least 0 and below 2**32, got {seed}")


def check_dtype(dtype: str) -> None:
    """Raises `UsageError` for a dtype that is not offered; it lists those that are."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
