"""The records of finished runs in a directory, named by their configurations' keys."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.files import write_atomically
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.records import RunRecord, read, write


class Store:
    """Records in a directory, keyed by their configurations.

    Several processes may share it: a run is claimed by one of them at a time, and a
    claim ends with its process, however that ends.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._claims = directory / ".claims"

    def find(self, config: RunConfig) -> RunRecord | None:
        """The run's record, None if it was not run.

        Raises:
            UsageError: if the file cannot be read.
        """
        path = self._path(config)
        if not path.exists():
            return None
        record = read(path)
        if record.config.key() != path.stem:
            raise UsageError(
                f"{path} holds the record of another run, {record.config.key()}; "
                "rename the file to that"
            )
        return record

    def keep(self, record: RunRecord) -> Path:
        """Writes a record, in place of another of its run."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return write(self._path(record.config), record)

    def records(self) -> list[RunRecord]:
        """All of them, in the order of their keys."""
        return [read(path) for path in sorted(self.directory.glob("[!.]*.json"))]

    @contextmanager
    def claim(self, config: RunConfig) -> Iterator[bool]:
        """Whether the run is this process's to do: not recorded, not claimed."""
        self._claims.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._claims / config.key())
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            # Another process may have finished it just before the claim.
            yield self.find(config) is None
        finally:
            lock.release()

    def partial(self, config: RunConfig) -> Path:
        """Where a run under way keeps what it has done."""
        return self.directory / ".partial" / config.key()

    def remove_partial(self, config: RunConfig) -> None:
        """Deletes that."""
        shutil.rmtree(self.partial(config), ignore_errors=True)

    def set_partial_aside(self, config: RunConfig) -> None:
        """Renames it, as it cannot be read now and may be later."""
        path = self.partial(config)
        number = len(list(path.parent.glob(f"{path.name}.damaged-*")))
        path.rename(path.with_name(f"{path.name}.damaged-{number}"))

    def note_failure(self, config: RunConfig, text: str) -> Path:
        """Writes down why a run failed, in place of what was noted before."""
        directory = self.directory / ".failed"
        directory.mkdir(parents=True, exist_ok=True)
        return write_atomically(directory / f"{config.key()}.txt", text.encode())

    def _path(self, config: RunConfig) -> Path:
        return self.directory / f"{config.key()}.json"
