"""What a long run has done so far, kept so that an interruption does not lose it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.training.checkpoints import Checkpoints
from arsg_optax.demos.training.trainer import Trainer
from scripts.reproduction.records.store import Epoch, kept_number, read_epochs

# Shorter work is not worth a checkpoint.
_WORTH_SECONDS = 60.0
_EPOCHS = "epochs.json"


class Part(NamedTuple):
    """What was done before.

    Attributes:
        epochs: their numbers.
        seconds: that they took.
    """

    epochs: list[Epoch]
    seconds: float


class Partial:
    """Checkpoints of a trial under way, at the ends of epochs.

    Args:
        directory: of this trial alone.
        worth: seconds of work from which on it is kept.
    """

    def __init__(self, directory: Path, worth: float = _WORTH_SECONDS):
        self._directory, self._worth = directory, worth
        self._since = time.perf_counter()
        self._checkpoints: Checkpoints | None = None

    def restore(self, trainer: Trainer) -> Part:
        """Takes up the newest whole checkpoint, if there is one.

        Raises:
            CheckpointError: if there are some and none can be read.
        """
        if not self._directory.exists():
            return Part([], 0.0)
        found = self._opened().restore(trainer.state)
        if found is None:
            return Part([], 0.0)
        trainer.state, trainer.epoch, trainer.step = found[:3]
        rows = json.loads((self._directory / _EPOCHS).read_text())
        return Part(list(read_epochs(rows))[: trainer.epoch - 1], found.seconds)

    def keep(self, trainer: Trainer, epochs: Sequence[Epoch], seconds: float) -> None:
        """Writes a checkpoint at the start of an epoch, if that is worth it."""
        if time.perf_counter() - self._since < self._worth:
            return
        checkpoints = self._opened()
        # Before the checkpoint: rows too many are cut off, rows too few are lost.
        rows = json.dumps([list(map(kept_number, epoch)) for epoch in epochs])
        write_atomically(self._directory / _EPOCHS, rows.encode())
        checkpoints.save(
            trainer.state,
            epoch=trainer.epoch,
            step=trainer.step,
            total=trainer.total_steps,
            seconds=seconds,
        )
        self._since = time.perf_counter()

    def close(self) -> None:
        """Waits until all is written."""
        if self._checkpoints is not None:
            self._checkpoints.wait()
            self._checkpoints.close()

    def _opened(self) -> Checkpoints:
        if self._checkpoints is None:
            self._checkpoints = Checkpoints(self._directory, keep=1)
        return self._checkpoints
