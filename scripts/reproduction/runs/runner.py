"""Runs trials that were not run yet, one after the other, and keeps their records."""

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from arsg_optax.demos.errors import CheckpointError, DamagedError
from arsg_optax.demos.tasks.callbacks import Callbacks
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.material import load
from arsg_optax.demos.tasks.records import Outcome, RunRecord
from arsg_optax.demos.tasks.run import go_on
from arsg_optax.demos.training.signals import StopRequest
from scripts.reproduction.experiments.recipes import find_method
from scripts.reproduction.store import Store


class Observer(Callbacks):
    """Is also told of what need not be run."""

    def known(self, trial: RunConfig) -> None:
        """A trial whose record is there already."""

    def taken(self, trial: RunConfig) -> None:
        """A trial that another process is running."""

    def failed(self, trial: RunConfig, error: Exception) -> None:
        """A trial that ended with an error."""


def run_all(
    trials: Sequence[RunConfig],
    store: Store,
    load_data: Callable[[RunConfig], Any],
    observer: Observer,
    wait: float = 2.0,
) -> list[RunConfig]:
    """Runs what has no record yet, and returns once every trial has one or failed.

    A trial that fails is noted beside the records, stops no other, and is run again
    next time. What another process has claimed is left to it, and run here only if
    that process ends without a record. An interrupted trial leaves none and is run
    again; the others stay.

    Args:
        trials: in the order in which they are run.
        store: where records are found and kept.
        load_data: the data of a trial's task, with its number of examples.
        observer: told of the progress.
        wait: seconds between looks at what others are running.

    Returns:
        The trials that failed here.

    Raises:
        KeyboardInterrupt: after Ctrl-C; what the trial under way has done is kept.
        CheckpointError: if it cannot be kept; what was kept before stays.
    """
    # Python may swallow an interruption between runs; this notes it.
    with StopRequest() as stop:
        return _run_all(trials, store, load_data, observer, wait, stop)


def _run_all(
    trials: Sequence[RunConfig],
    store: Store,
    load_data: Callable[[RunConfig], Any],
    observer: Observer,
    wait: float,
    stop: StopRequest,
) -> list[RunConfig]:
    known, told = set[str](), set[str]()
    failed: list[RunConfig] = []
    wanted = {trial.key() for trial in trials}
    while known < wanted:
        ran = False
        for trial in trials:
            if stop:
                raise KeyboardInterrupt
            key = trial.key()
            if key in known:
                continue
            if store.find(trial) is not None:
                known.add(key)
                observer.known(trial)
                store.remove_partial(trial)
                continue
            with store.claim(trial) as ours:
                if ours:
                    data = load_data(trial)
                    if not _goes_through(trial, data, store, observer):
                        failed.append(trial)
                    known.add(key)
                    ran = True
                elif key not in told:
                    told.add(key)
                    observer.taken(trial)
        if not ran and known < wanted:
            time.sleep(wait)
    return failed


def _goes_through(
    trial: RunConfig, data: Any, store: Store, observer: Observer
) -> bool:
    """Whether a trial ends with a record, and not with an error of its own."""
    try:
        _run(trial, data, store, observer)
    except CheckpointError:  # Of the disk, which all need.
        raise
    except Exception as error:
        store.note_failure(trial, traceback.format_exc())
        observer.failed(trial, error)
        return False
    return True


def _run(trial: RunConfig, data: Any, store: Store, observer: Observer) -> None:
    keeper = _Keeper(store)
    try:
        record = train(trial, data, store, keeper, observer)
    except DamagedError as error:
        observer.note(f"{error}: set aside, starting over")
        store.set_partial_aside(trial)
        record = train(trial, data, store, keeper, observer)
    if record.outcome == Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    store.remove_partial(trial)


class _Keeper(Callbacks):
    """Keeps a record before anyone is told that the run is finished."""

    def __init__(self, store: Store):
        self._store = store

    def finished(self, record: RunRecord) -> None:
        if record.outcome != Outcome.INTERRUPTED:
            self._store.keep(record)


def train(
    trial: RunConfig, data: Any, store: Store, *callbacks: Callbacks
) -> RunRecord:
    """Trains once, from where an interrupted process left off.

    Args:
        trial: what to run.
        data: the task's, with `examples` training examples.
        store: where a long run keeps what it has done.
        *callbacks: told of the progress.

    Raises:
        UsageError: if `held_out` is asked of data that are not images in memory, or
            the batch size exceeds the training set.
        DamagedError: if what was done before cannot be read.
        CheckpointError: if what is done cannot be kept.
    """
    material = load(trial, data=data, held_out=trial.held_out)
    return go_on(
        trial,
        *callbacks,
        directory=store.partial(trial),
        material=material,
        optimizer=find_method(trial.optimizer),
    )
