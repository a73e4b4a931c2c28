"""One run: what `arsg train`, `arsg compare` and the reproduction go through."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.files import check_no_links, held
from arsg_optax.demos.tasks.callbacks import Callbacks
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.configuration_files import read_config
from arsg_optax.demos.tasks.material import Material, load
from arsg_optax.demos.tasks.records import RECORD, Epoch, RunRecord, read
from arsg_optax.demos.tasks.session import CONFIG, Session
from arsg_optax.demos.training.optimizers import Optimizer, find_optimizer
from arsg_optax.demos.training.processes import by_first


def run(
    config: RunConfig,
    *callbacks: Callbacks,
    directory: Path | None = None,
    data_dir: Path | None = None,
    material: Material | None = None,
    optimizer: Optimizer | None = None,
) -> RunRecord:
    """Trains a task with one optimizer.

    A run whose loss stops being finite ends with that epoch. The first Ctrl-C or
    SIGTERM ends it soon, with a checkpoint where there is a directory.

    Args:
        config: of the run.
        *callbacks: told of the progress.
        directory: new or empty, of its configuration, record and checkpoints; None
            to keep nothing.
        data_dir: directory of data sets, None for the environment's or the Hub.
        material: the task with its data, None to load it.
        optimizer: instead of the one that the configuration names.

    Raises:
        UsageError: for a request that cannot be run.
        DataError: if the data cannot be had.
        CheckpointError: if a checkpoint cannot be written; the last one is kept.
    """
    if directory is not None:
        by_first(lambda: _check_new(directory))
    session = _session(config, callbacks, directory, data_dir, material, optimizer)
    if directory is None:
        return session.run()
    with _held(directory):
        # Another process may have been faster.
        by_first(lambda: _check_new(directory))
        session.keep()
        return session.run()


def resume(
    directory: Path,
    *callbacks: Callbacks,
    data_dir: Path | None = None,
    material: Material | None = None,
    extend: int = 0,
    mesh: str | None = None,
) -> RunRecord:
    """Continues a run from its newest whole checkpoint, bit for bit.

    Without a checkpoint it starts from the beginning; a finished run is left as it is.

    Args:
        directory: of the run.
        *callbacks: told of the progress.
        data_dir: as for :func:`run`.
        material: as for :func:`run`.
        extend: epochs to add to the run, whose configuration is then rewritten. The
            times of its schedule and of its settings stretch with it.
        mesh: other devices than it had, which changes the rounding; None for the same.

    Raises:
        UsageError: if there is no run in the directory.
        DataError: if the data cannot be had.
        CheckpointError: if there are checkpoints and none can be read.
    """
    config = _kept_config(directory, mesh)
    if extend:
        if extend < 0 or config.steps is not None:
            raise UsageError(
                f"extend must be at least 1, of a run without a limit of steps, got "
                f"{extend} and {config.steps} steps"
            )
        config = replace(config, epochs=_begun_epochs(config, directory) + extend)
    session = _session(config, callbacks, directory, data_dir, material, None)
    with _held(directory):
        session.restore(extend)
        if extend:
            session.lengthen()
        elif mesh is not None:
            session.keep()
        return session.run()


def evaluate(
    directory: Path,
    *callbacks: Callbacks,
    data_dir: Path | None = None,
    material: Material | None = None,
    mesh: str | None = None,
) -> Epoch:
    """The scores of a run's newest whole checkpoint; its mean loss may be NaN.

    Args:
        directory: of the run.
        *callbacks: told which checkpoint it is.
        data_dir: as for :func:`run`.
        material: as for :func:`run`.
        mesh: as for :func:`resume`.

    Raises:
        UsageError: if there is no run in the directory, or no checkpoint of it.
        DataError: if the data cannot be had.
        CheckpointError: if there are checkpoints and none can be read.
    """
    config = _kept_config(directory, mesh)
    session = _session(config, callbacks, directory, data_dir, material, None)
    if not session.restore():
        raise UsageError(
            f"evaluate must name a run with a checkpoint, {directory} has none yet: go "
            "on with it by resume"
        )
    return session.evaluate()


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """The directory is the first process's."""
    with contextlib.ExitStack() as stack:
        by_first(lambda: stack.enter_context(held(directory)))
        yield


def _check_new(directory: Path) -> None:
    check_no_links(directory)
    if (directory / CONFIG).exists():
        raise UsageError(
            f"out must be a new directory, got {directory} with a run in it; name "
            "another, or continue that one with resume"
        )


def _kept_config(directory: Path, mesh: str | None) -> RunConfig:
    if not (directory / CONFIG).exists():
        raise UsageError(
            f"resume must name the directory of a run, with {CONFIG} in it; got "
            f"{directory}"
        )
    check_no_links(directory)
    config = read_config(directory / CONFIG)
    return config if mesh is None else replace(config, mesh=mesh)


def _begun_epochs(config: RunConfig, directory: Path) -> int:
    """Of the record, as a kill may have left those of an extension elsewhere."""
    path = directory / RECORD
    found = read(path).config if path.exists() else config
    return found.chosen_task().epochs


def go_on(
    config: RunConfig,
    *callbacks: Callbacks,
    directory: Path,
    material: Material,
    optimizer: Optimizer,
) -> RunRecord:
    """A run for its record alone, which takes up what an interrupted one has done.

    Args:
        config: of the run.
        *callbacks: told of the progress.
        directory: made if the run takes long or is interrupted, and to be removed
            once the record is kept.
        material: the task with its data.
        optimizer: that the configuration names.

    Raises:
        DamagedError: if there are checkpoints in the directory and none can be read.
        CheckpointError: if one cannot be written.
    """
    material.check(optimizer)
    session = Session(config, optimizer, material, directory, callbacks, scratch=True)
    if directory.exists():
        session.restore()
    return session.run()


def _session(
    config: RunConfig,
    callbacks: Sequence[Callbacks],
    directory: Path | None,
    data_dir: Path | None,
    material: Material | None,
    optimizer: Optimizer | None,
) -> Session:
    """A run that is checked."""
    if optimizer is None:
        optimizer = find_optimizer(config.optimizer)
    config.check({optimizer.name: optimizer})
    found = material or load(config, data_dir, held_out=config.held_out)
    found.check(optimizer)
    return Session(config, optimizer, found, directory, callbacks)
