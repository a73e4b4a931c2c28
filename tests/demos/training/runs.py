"""Runs for the tests: watching, interrupting and comparing them."""

import functools
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arsg_optax.demos.tasks import run as running
from arsg_optax.demos.tasks.callbacks import Callbacks
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.records import RunRecord


class Recorder(Callbacks):
    """Keeps messages, and calls a function after some steps of the run."""

    def __init__(self, at: int = -1, then=lambda: None):
        self.notes: list[str] = []
        self._at, self._then = at, then

    def note(self, text: str) -> None:
        self.notes.append(text)

    def steps_done(self, trainer, loss: float, rate: float) -> None:
        if trainer.total_steps >= self._at >= 0:
            self._at = -1
            self._then()


def train(
    task: str = "tiny",
    optimizer: str = "arsg",
    *,
    out: Path,
    callbacks: tuple[Callbacks, ...] = (),
    **options: Any,
) -> RunRecord:
    config = RunConfig(task=task, optimizer=optimizer, **options)
    return running.run(config, *callbacks, directory=out)


@functools.cache
def whole(optimizer: str = "arsg") -> RunRecord:
    """A run of the tiny task that nothing stops, the same for all tests."""
    return running.run(RunConfig(task="tiny", optimizer=optimizer))


def final(record: RunRecord) -> list[np.ndarray]:
    assert record.trainer is not None
    return [np.asarray(leaf) for leaf in jax.tree.leaves(record.trainer.state)]


def assert_same(one: RunRecord, other: RunRecord) -> None:
    for a, b in zip(final(one), final(other), strict=True):
        np.testing.assert_array_equal(a, b)
    # Those of before an interruption come from a file, with nine digits.
    for mine, theirs in zip(one.epochs, other.epochs, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8)


def interrupted(out: Path, at: int, **options: Any) -> RunRecord:
    stop = Recorder(at, lambda: signal.raise_signal(signal.SIGTERM))
    return train(out=out, callbacks=(stop,), checkpoint_every=2, **options)
