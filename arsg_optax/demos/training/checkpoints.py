"""Checkpoints that survive: asynchronous, atomic, the last few kept, verified."""

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

import arsg_optax
from arsg_optax.demos.errors import CheckpointError, DamagedError
from arsg_optax.demos.training.processes import by_first, is_alone, largest
from arsg_optax.demos.training.steps import TrainState

_MARGIN = 1.1  # Of the disk space, for what orbax writes beside the arrays.
# Of a checkpoint. The first, 1, had no such number; 2 had none of the states.
FORMAT = 3
# Left half-written by a killed process.
_UNFINISHED = "*orbax-checkpoint-tmp*"


class Restored(NamedTuple):
    """What a checkpoint held.

    Attributes:
        state: on the device.
        epoch: from 1.
        step: steps of the epoch that are done.
        seconds: that the run had taken.
        epochs: that were evaluated.
        skipped: of newer checkpoints that could not be read, a message each.
    """

    state: TrainState
    epoch: int
    step: int
    seconds: float
    epochs: int
    skipped: tuple[str, ...]


class Checkpoints:
    """The checkpoints of one run.

    Each is written beside its final place and renamed, so a process that is killed
    leaves only whole ones. Each carries a checksum over all bits of the state and over
    where in the run it stands.

    Args:
        directory: of the run's checkpoints.
        keep: how many of the newest are kept.
    """

    def __init__(self, directory: Path, keep: int = 3):
        self._directory = directory.absolute()
        self._directory.mkdir(parents=True, exist_ok=True)
        # Orbax logs with a traceback each error that it raises, too.
        logging.getLogger("absl").addFilter(_has_no_traceback)
        # Its event loop does so when it is collected, which may be at the very end.
        logging.getLogger("asyncio").addFilter(_is_not_of_a_write)
        # What a checkpoint says of itself is read when it is restored, where a damaged
        # one costs no other.
        # Orbax's threads meet the other processes by a sum over all devices, which must
        # not mix with those of training.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            lightweight_initialize=True,
            enable_async_checkpointing=is_alone(),
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)
        self._snapshot: Callable[[TrainState], Any] = jax.jit(_snapshot)

    def remove_unfinished(self) -> None:
        """Removes what a killed process left half written.

        Only for a process that holds the directory: another one may be writing there.
        """

        def remove() -> None:
            for left in self._directory.glob(_UNFINISHED):
                shutil.rmtree(left, ignore_errors=True)

        by_first(remove)

    def save(
        self,
        state: TrainState,
        *,
        epoch: int,
        step: int,
        total: int,
        seconds: float = 0.0,
        epochs: int = 0,
    ) -> None:
        """Starts to write a checkpoint, and returns once the state may change.

        Args:
            state: of the run.
            epoch: from 1.
            step: steps of the epoch that are done.
            total: steps of the run that are done, the checkpoint's name.
            seconds: that the run took so far.
            epochs: that were evaluated.

        Raises:
            CheckpointError: if there is no room for it, or if it or the one before
                could not be written.
        """
        if total in self._manager.all_steps():
            return
        by_first(lambda: self._check_room(state, total))
        # A copy, because the next step gives the state's buffers away.
        copy, checksum = self._snapshot(state)
        position = {
            **_formats(),
            "arsg_optax": arsg_optax.__version__,
            "epoch": epoch,
            "step": step,
            "seconds": seconds,
            "epochs": epochs,
        }
        position["checksum"] = _whole_checksum(position, total, int(checksum))
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(copy), position=ocp.args.JsonSave(position)
        )
        self._guarded(lambda: self._manager.save(total, args=arguments), total)

    def wait(self) -> None:
        """Waits until all is written.

        Raises:
            CheckpointError: if it could not be.
        """
        self._guarded(self._manager.wait_until_finished, None)

    def restore(self, like: TrainState) -> Restored | None:
        """The newest checkpoint that is whole, None if there is none at all.

        Newer ones that are damaged, or of another format, are moved to `damaged`
        beside the directory: what cannot be read now may be readable later.

        Args:
            like: a state of the same structure.

        Raises:
            DamagedError: if there are checkpoints and none can be read; of another
                format it names both and the version that wrote it.
        """
        unread: dict[int, str] = {}
        for total in sorted(self._manager.all_steps(), reverse=True):
            restored, why = None, "cannot be read by another process"
            try:
                restored = self._read(total, like)
            # Orbax and its readers raise many kinds of errors, plain Exception too.
            except Exception as error:
                why = _described(error)
            if largest(restored is None) or restored is None:
                unread[total] = f"the checkpoint of step {total} {why}"
                continue
            self._set_aside(list(unread))
            return restored._replace(skipped=tuple(unread.values()))
        if unread:
            raise DamagedError(
                f"no checkpoint in {self._directory} can be read: "
                f"{'; '.join(unread.values())}; start the run anew in another directory"
            )
        return None

    def last(self) -> int | None:
        """Steps of the newest checkpoint, None without one."""
        return self._manager.latest_step()

    def close(self) -> None:
        """Ends the writing threads.

        An error of theirs is not raised again: :meth:`wait` has told of it, or another
        error is under way.
        """
        with contextlib.suppress(Exception):
            self._manager.close()
        logging.getLogger("absl").removeFilter(_has_no_traceback)

    def _set_aside(self, damaged: list[int]) -> None:
        aside = self._directory.with_name("damaged")

        def move() -> None:
            for total in damaged:
                aside.mkdir(exist_ok=True)
                number = len(list(aside.iterdir()))
                (self._directory / f"{total}").rename(aside / f"{total}-{number}")

        if damaged:
            by_first(move)
            self._manager.reload()

    def _read(self, total: int, like: TrainState) -> Restored:
        # First, because a state of another layout cannot be read at all.
        position = self._read_part(total, position=ocp.args.JsonRestore()).position
        _check_formats(position)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        found = self._read_part(total, state=ocp.args.StandardRestore(abstract))
        # Optax's states and the loop's are buffers to be given away: copies of what
        # the reader may hold on to.
        state, checksum = self._snapshot(found.state)
        given = position.pop("checksum")
        if given != _whole_checksum(position, total, int(checksum)):
            raise ValueError("its checksum does not fit what it holds")
        return Restored(
            state,
            position["epoch"],
            position["step"],
            position["seconds"],
            position["epochs"],
            (),
        )

    def _read_part(self, total: int, **arguments: Any) -> Any:
        return self._manager.restore(total, args=ocp.args.Composite(**arguments))

    def _check_room(self, state: TrainState, total: int) -> None:
        needed = _MARGIN * sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._directory).free
        if free < needed:
            raise self._error(
                total,
                f"it needs {needed / 1e6:.1f} MB and {free / 1e6:.1f} MB are free",
            )

    def _guarded(self, action: Callable[[], Any], total: int | None) -> None:
        try:
            action()
        # The writing thread's errors arrive here, of many kinds.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise self._error(total, reason) from error

    def _error(self, total: int | None, reason: str) -> CheckpointError:
        which = "a checkpoint" if total is None else f"the checkpoint of step {total}"
        last = self.last()
        kept = "there is none before" if last is None else f"step {last}'s is kept"
        return CheckpointError(
            f"{which} could not be written to {self._directory}: {reason}; {kept}. "
            "Make room on the disk, then go on with arsg train --resume "
            f"{self._directory.parent}"
        )


class _OtherFormat(ValueError):
    """Written by a version whose checkpoints or states are others."""


def _formats() -> dict[str, int]:
    return {"format": FORMAT, "state_format": arsg_optax.STATE_FORMAT}


def _check_formats(position: dict[str, Any]) -> None:
    wanted = _formats()
    # What the first versions wrote, which had none of these numbers.
    found = {"format": 1, "state_format": 0, "arsg_optax": "of unknown version"}
    found = {name: position.get(name, first) for name, first in found.items()}
    writer = found.pop("arsg_optax")
    if found != wanted:
        raise _OtherFormat(
            f"was written by arsg_optax {writer} with {_listed(found)}, and arsg_optax "
            f"{arsg_optax.__version__} reads {_listed(wanted)}: go on with the version "
            "that wrote it"
        )


def _listed(formats: dict[str, Any]) -> str:
    return f"format {formats['format']} and states of format {formats['state_format']}"


def _described(error: Exception) -> str:
    if isinstance(error, _OtherFormat):
        return str(error)
    return "is damaged: " + f"{error}".partition("\n")[0][:120]


def _has_no_traceback(record: logging.LogRecord) -> bool:
    return record.exc_info is None


def _is_not_of_a_write(record: logging.LogRecord) -> bool:
    error = str(record.exc_info[1]) if record.exc_info else ""
    return "OCDBT" not in error and error != "Event loop is closed"


def _whole_checksum(position: dict[str, Any], total: int, arrays: int) -> str:
    """A digest of the arrays' checksum and of all that stands beside them."""
    plain = json.dumps([position, total, arrays], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def _snapshot(state: TrainState) -> tuple[TrainState, jax.Array]:
    checksum = sum(map(_leaf_checksum, jax.tree.leaves(state)), jnp.uint32(0))
    return jax.tree.map(jnp.copy, state), checksum


def _leaf_checksum(leaf: jax.Array) -> jax.Array:
    """() uint32: the bits, each word weighted by an odd number of its place."""
    if leaf.dtype == jnp.bool_:
        words = leaf.astype(jnp.uint32)
    else:
        bits = jnp.dtype(f"uint{8 * leaf.dtype.itemsize}")
        bits = jnp.uint32 if leaf.dtype.itemsize > 4 else bits
        words = jax.lax.bitcast_convert_type(leaf, bits).astype(jnp.uint32)
    words = words.reshape(-1)
    places = jax.lax.iota(jnp.uint32, words.size)
    # Neighbours get unrelated weights, so that exchanged values are noticed.
    weights = (places * jnp.uint32(2654435769)) | jnp.uint32(1)
    return jnp.sum(words * weights, dtype=jnp.uint32)
