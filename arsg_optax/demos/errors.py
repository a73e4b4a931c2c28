"""The errors that the command line shows as one message, without a traceback."""

from collections.abc import Mapping
from typing import TypeVar

_Known = TypeVar("_Known")


class UsageError(ValueError):
    """A request that cannot be run: the message names the argument and the remedy."""


class DataError(RuntimeError):
    """A data set that cannot be had: the message names the ways to get it."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read: the message names the remedy."""


class DamagedError(CheckpointError):
    """There are checkpoints, and none of them can be read."""


def find_named(known: Mapping[str, _Known], what: str, name: str) -> _Known:
    """The entry of that name.

    Args:
        known: by name.
        what: one entry is, as the message calls it.
        name: to look up.

    Raises:
        UsageError: if there is none; it lists those that there are.
    """
    if name not in known:
        raise UsageError(
            f"unknown {what} {name!r:.80}; known {what}s: {', '.join(known)}"
        )
    return known[name]
