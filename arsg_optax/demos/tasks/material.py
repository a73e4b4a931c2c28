"""A task with its data, for one run or for several alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from arsg_optax.demos.byte_text import ByteSet
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import Setup, Task
from arsg_optax.demos.tasks.candidates import split
from arsg_optax.demos.tasks.configuration import TaskConfig
from arsg_optax.demos.tasks.streams import StreamedImages
from arsg_optax.demos.training.optimizers import Optimizer


class Material(NamedTuple):
    """A task with its data, for one run or for several with the same seed.

    Attributes:
        task: with the run's length and batch size.
        data: of the task.
        setup: the network and what it reads.
    """

    task: Task
    data: Any
    setup: Setup

    def of(self, config: TaskConfig) -> "Material":
        """The same for another seed, which decides the order of a stream."""
        if not isinstance(self.task.kind, StreamedImages):
            return self
        setup = self.task.setup(self.data, config.seed, config.dtype)
        return self._replace(setup=setup)

    def facts(self) -> dict[str, str]:
        """What the numbers depend on that the configuration does not say."""
        return self.data.facts() if isinstance(self.data, ByteSet) else {}

    def check_goes_on(self, before: Mapping[str, Any]) -> None:
        """Raises `UsageError` if the data are not those of the facts before."""
        for name, value in self.facts().items():
            if before.get(name, value) != value:
                raise UsageError(
                    f"the run was begun with other data: {name} was {before[name]!r} "
                    f"and is {value!r} now; bring those back, or start a new run in "
                    "another directory"
                )

    def check(self, optimizer: Optimizer) -> None:
        """Raises `UsageError` if an optimizer is not meant for the network."""
        params, _ = jax.eval_shape(lambda: self.setup.problem.init(0))
        if not optimizer.applies(params):
            raise UsageError(
                f"optimizer {optimizer.name!r} needs weights of "
                f"{optimizer.needs_rank} axes, and {self.task.name} has none; choose "
                "another optimizer or a task with such a network"
            )


def load(
    config: TaskConfig,
    data_dir: Path | None = None,
    *,
    data: Any = None,
    held_out: bool = False,
) -> Material:
    """The task of a configuration, with its data.

    Args:
        config: of a run, or of several.
        data_dir: directory of data sets, None for the environment's or the Hub.
        data: already loaded, None to load them.
        held_out: whether a fifth of the training set takes the test set's place.

    Raises:
        UsageError: for a configuration that cannot be run, or if `held_out` is asked
            of data that are neither images in memory nor bytes.
        DataError: if the data cannot be had.
    """
    TaskConfig.check(config)  # Whoever trains checks the optimizer.
    task = config.chosen_task()
    data = task.data(data_dir, config.examples) if data is None else data
    if held_out:
        if not isinstance(data, Dataset | ByteSet):
            raise UsageError(
                f"held_out needs images in memory or bytes, {task.name} has neither"
            )
        data = split(data)
    task.check_batch_size(data)
    return Material(task, data, task.setup(data, config.seed, config.dtype))
