"""What the processes of one run agree on; a process that is alone asks nobody.

Each of several runs the same program on its own part of the devices. Whatever one of
them decides by its clock, its files or its signals, all must decide alike, because a
step that one does not take leaves the others waiting for ever.
"""

from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from arsg_optax.demos.errors import UsageError

# After which a process that is not heard of counts as gone.
_HEARTBEAT_SECONDS = 60


def join(coordinator: str | None, count: int | None, number: int | None) -> None:
    """Joins the processes of a run, before anything else of JAX is used.

    Args:
        coordinator: address and port of the first process; None on TPU pods, under
            Slurm and under Open MPI, which JAX recognises. So are the others.
        count: of processes.
        number: of this one, from 0 on.

    Raises:
        UsageError: if they cannot be joined.
    """
    try:
        jax.distributed.initialize(
            coordinator, count, number, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS
        )
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"--distributed: the processes cannot be joined: {error}; on a TPU pod, "
            "under Slurm and Open MPI leave the other options out, elsewhere give each "
            "process --coordinator HOST:PORT, --num-processes and --process-id"
        ) from error


def is_alone() -> bool:
    """Whether there is one process. Devices are started only if it joined others."""
    return not jax.distributed.is_initialized() or jax.process_count() == 1


def is_first() -> bool:
    """Whether this is the one that writes files and talks."""
    return is_alone() or jax.process_index() == 0


def of_first(number: float) -> float:
    """The first process's number, as float32; all must ask."""
    if is_alone():
        return number
    return float(multihost_utils.broadcast_one_to_all(np.float32(number)))


def largest(number: int) -> int:
    """The largest of all processes' numbers; all must ask."""
    if is_alone():
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def by_first(action: Callable[[], object]) -> None:
    """The first process acts, and all go on after it.

    Raises:
        Exception: what the action raised, and a `UsageError` in the other processes.
    """
    if is_alone():
        action()
        return
    failed: Exception | None = None
    if is_first():
        try:
            action()
        except Exception as error:
            failed = error
    if largest(failed is not None):
        raise failed or UsageError("the first process ends, and its message says why")
