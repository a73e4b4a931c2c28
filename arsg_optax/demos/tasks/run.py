"""`arsg train` in Python: a whole run, and going on with one."""

from pathlib import Path
from typing import Any

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.configuration import (
    CONFIGURATION,
    Configuration,
    read_configuration,
)
from arsg_optax.demos.tasks.observer import Observer
from arsg_optax.demos.tasks.session import Result, Session

__all__ = ["Result", "resume", "train"]


def train(
    task: str = "digits-mlp",
    optimizer: str = "arsg",
    *,
    out: Path,
    data_dir: Path | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Result:
    """Trains a task with one optimizer, what `arsg train` does.

    Args:
        task: its name.
        optimizer: its name.
        out: directory of the run, new or empty.
        data_dir: directory of data sets, None for the environment's or the Hub.
        observer: told of the progress.
        **options: the other fields of :class:`Configuration`.

    Raises:
        UsageError: for a request that cannot be run.
        DataError: if the data cannot be had.
        CheckpointError: if a checkpoint cannot be written; the last one is kept.
    """
    configuration = Configuration(task, optimizer, **options)
    configuration.check()
    if (out / CONFIGURATION).exists():
        raise UsageError(
            f"out must be a new directory, got {out} with a run in it; name another, "
            f"or continue that one with resume"
        )
    chosen = configuration.chosen_task()
    data = chosen.data(data_dir, configuration.examples)
    out.mkdir(parents=True, exist_ok=True)
    chosen.kind.keep(data, out)
    configuration.write(out)
    return Session(configuration, chosen, data, out, observer or Observer()).run()


def resume(
    directory: Path, *, data_dir: Path | None = None, observer: Observer | None = None
) -> Result:
    """Continues a run from its newest whole checkpoint, bit for bit.

    Without a checkpoint it starts from the beginning; a finished run is left as it is.

    Args:
        directory: of the run.
        data_dir: as for :func:`train`.
        observer: told of the progress.

    Raises:
        UsageError: if there is no run in the directory.
        DataError: if the data cannot be had.
        CheckpointError: if there are checkpoints and none can be read.
    """
    configuration = read_configuration(directory)
    configuration.check()
    chosen = configuration.chosen_task()
    data = chosen.data(data_dir, configuration.examples)
    session = Session(configuration, chosen, data, directory, observer or Observer())
    session.restore()
    return session.run()
