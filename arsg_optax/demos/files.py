"""Files that are replaced as a whole or not at all, and directories with one user."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from arsg_optax.demos.errors import UsageError


def write_atomically(path: Path, content: bytes) -> Path:
    """Writes a sibling and renames it, so that no reader meets half a file.

    Raises:
        OSError: if it cannot be written; it names the path.
    """
    try:
        return _write(path, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write(path: Path, content: bytes) -> Path:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes private files; results are as readable as any other file.
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def check_no_links(directory: Path) -> None:
    """What is written in a directory that came from elsewhere must stay in it.

    Raises:
        UsageError: if there is a link in it, at any depth; it says which.
    """
    for folder, folders, files in os.walk(directory):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink():
                raise UsageError(
                    f"{path} is a link, and a run writes only into its own directory: "
                    "put what it leads to in its place"
                )


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keeps other processes out of a directory until the block, or the process, ends.

    Raises:
        UsageError: if another process holds it; it says which; or if nothing can be
            written there.
    """
    holder, lock = directory / ".holder", FileLock(directory / ".lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    except Timeout:
        name = "another process"
        with contextlib.suppress(OSError):
            name = holder.read_text() or name
        raise UsageError(
            f"{directory} is in use by {name}: wait until it ends, or stop it"
        ) from None
    except OSError as error:
        raise UsageError(f"{directory} cannot be written to: {error}") from error
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
