"""Runs trials that were not run yet, one after the other, and keeps their records."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from arsg_optax.demos.errors import DamagedError
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


def run_all(
    trials: Sequence[RunConfig],
    store: Store,
    load_data: Callable[[RunConfig], Any],
    observer: Observer,
    wait: float = 2.0,
) -> None:
    """Runs what has no record yet, and returns once every trial has one.

    What another process has claimed is left to it, and run here only if that process
    ends without a record. An interrupted trial leaves none and is run again; the
    others stay.

    Args:
        trials: in the order in which they are run.
        store: where records are found and kept.
        load_data: the data of a trial's task, with its number of examples.
        observer: told of the progress.
        wait: seconds between looks at what others are running.

    Raises:
        KeyboardInterrupt: after Ctrl-C; what the trial under way has done is kept.
        CheckpointError: if it cannot be kept; what was kept before stays.
    """
    # Python may swallow an interruption between runs; this notes it.
    with StopRequest() as stop:
        _run_all(trials, store, load_data, observer, wait, stop)


def _run_all(
    trials: Sequence[RunConfig],
    store: Store,
    load_data: Callable[[RunConfig], Any],
    observer: Observer,
    wait: float,
    stop: StopRequest,
) -> None:
    known, told = set[str](), set[str]()
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
                    _run(trial, store, load_data, observer)
                    known.add(key)
                    ran = True
                elif key not in told:
                    told.add(key)
                    observer.taken(trial)
        if not ran and known < wanted:
            time.sleep(wait)


def _run(
    trial: RunConfig,
    store: Store,
    load_data: Callable[[RunConfig], Any],
    observer: Observer,
) -> None:
    data, keeper = load_data(trial), _Keeper(store)
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
