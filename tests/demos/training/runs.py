"""Runs for the tests: watching, interrupting and comparing them."""

import signal
from pathlib import Path

import jax
import numpy as np

from arsg_optax.demos.tasks.observer import Observer
from arsg_optax.demos.tasks.run import Result, train


class Recorder(Observer):
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


def final(result: Result) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result.trainer.state)]


def assert_same(one: Result, other: Result) -> None:
    for a, b in zip(final(one), final(other), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [[row._replace(seconds=0.0) for row in r.run.rows] for r in (one, other)]
    assert rows[0] == rows[1]


def interrupted(out: Path, at: int, **options) -> Result:
    observer = Recorder(at, lambda: signal.raise_signal(signal.SIGTERM))
    return train("tiny", out=out, observer=observer, checkpoint_every=2, **options)
