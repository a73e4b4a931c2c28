"""Finished runs on disk: one small JSON file each, written as a whole or not at all."""

import json
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.files import write_atomically
from scripts.reproduction.records.trial import Trial, decode, encode


class Epoch(NamedTuple):
    """What is known after an epoch; losses in nats, accuracies from 0 to 1.

    y is where gradients are taken, x the optimizer's own evaluation point. A number
    that is not finite is kept as NaN.

    Attributes:
        step: optimizer steps so far.
        train_loss: mean of the epoch's minibatch losses, each before its step.
        whole_train_loss_y: over the training set, or the first part of it that the
            task evaluates, at y.
        whole_train_loss_x: the same at x.
        test_loss_y: over the validation data, at y.
        test_loss_x: the same at x.
        test_accuracy_y: over the validation data, at y.
        test_accuracy_x: the same at x.
    """

    step: int
    train_loss: float
    whole_train_loss_y: float
    whole_train_loss_x: float
    test_loss_y: float
    test_loss_x: float
    test_accuracy_y: float
    test_accuracy_x: float


@dataclass(frozen=True)
class Record:
    """A run that ended.

    Attributes:
        trial: what was run.
        outcome: "finished" or "diverged".
        epochs: one entry each; a diverged run's last one holds NaN.
        seconds: training and evaluation, without compilation.
        machine: processor, versions.
    """

    trial: Trial
    outcome: str
    epochs: tuple[Epoch, ...]
    seconds: float = 0.0
    machine: dict[str, Any] = field(default_factory=dict)


class Store:
    """Records in a directory, keyed by their trials.

    Several processes may share it: a trial is claimed by one of them at a time, and a
    claim ends with its process, however that ends.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._claims = directory / ".claims"

    def find(self, trial: Trial) -> Record | None:
        """The trial's record, None if it was not run.

        Raises:
            UsageError: if the file cannot be read.
        """
        path = self._path(trial)
        if not path.exists():
            return None
        record = read(path)
        if record.trial.key() != path.stem:
            raise UsageError(
                f"{path} holds the record of another trial, {record.trial.key()}; "
                "name it so"
            )
        return record

    def keep(self, record: Record) -> Path:
        """Writes a record, in place of another of its trial."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return write_atomically(self._path(record.trial), text(record).encode())

    def records(self) -> list[Record]:
        """All of them, in the order of their keys."""
        return [read(path) for path in sorted(self.directory.glob("[!.]*.json"))]

    @contextmanager
    def claim(self, trial: Trial) -> Iterator[bool]:
        """Whether the trial is this process's to run: not recorded, not claimed."""
        self._claims.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._claims / trial.key())
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            # Another process may have finished it just before the claim.
            yield self.find(trial) is None
        finally:
            lock.release()

    def partial(self, trial: Trial) -> Path:
        """Where a run under way keeps what it has done."""
        return self.directory / ".partial" / trial.key()

    def remove_partial(self, trial: Trial) -> None:
        """Deletes that."""
        shutil.rmtree(self.partial(trial), ignore_errors=True)

    def _path(self, trial: Trial) -> Path:
        return self.directory / f"{trial.key()}.json"


def text(record: Record) -> str:
    """A record as its file holds it, a line an epoch."""
    head = {
        "trial": encode(record.trial),
        "outcome": record.outcome,
        "seconds": round(record.seconds, 2),
        "machine": record.machine,
        "columns": Epoch._fields,
    }
    lines = [json.dumps(list(map(kept_number, epoch))) for epoch in record.epochs]
    start = json.dumps(head, indent=1, allow_nan=False).removesuffix("\n}")
    return start + ',\n "epochs": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def read(path: Path) -> Record:
    """The record of a file.

    Raises:
        UsageError: if it holds none.
    """
    try:
        held = json.loads(path.read_text())
        if held["columns"] != list(Epoch._fields):
            raise ValueError(f"columns {held['columns']}")
        epochs = read_epochs(held["epochs"])
        trial, seconds = decode(held["trial"]), held["seconds"]
        if not epochs or len(epochs) > trial.epochs:
            raise ValueError(f"{len(epochs)} of {trial.epochs} epochs")
        if held["outcome"] == "finished" and len(epochs) < trial.epochs:
            raise ValueError(f"finished after {len(epochs)} of {trial.epochs} epochs")
        return Record(trial, held["outcome"], epochs, seconds, held["machine"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} holds no record of a run ({error}); delete it to run that again"
        ) from error


def read_epochs(rows: Iterable[Iterable[Any]]) -> tuple[Epoch, ...]:
    """The epochs of rows of numbers as :func:`kept_number` wrote them."""
    return tuple(
        Epoch._make(math.nan if value is None else value for value in row)
        for row in rows
    )


def kept_number(value: float) -> float | int | None:
    """A number as JSON holds it: nine digits, which give every float32 back; no NaN."""
    if isinstance(value, int):
        return value
    return float(f"{value:.9g}") if math.isfinite(value) else None
