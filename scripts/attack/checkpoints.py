"""Checkpoints in a row, hundreds of them: disk, memory, files and threads stay flat."""

import os
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arsg_optax.demos.training.checkpoints import Checkpoints
from arsg_optax.demos.training.steps import TrainState
from scripts.attack.lab import Lab, Random, require, same

_EVERY = 50  # Checkpoints between measurements.
_SETTLED = 3  # Measurements before which pools and caches still fill.
_MEMORY = 20_000_000  # Bytes that a process may grow by after that.


class _Row:
    """A run's checkpoints so far, and what was measured."""

    def __init__(self, folder: Path):
        self.directory = folder / "checkpoints"
        self.checkpoints = Checkpoints(self.directory)
        self.saved = 0
        self.measured: list[dict[str, int]] = []


def trial(lab: Lab, random: Random) -> str:
    """Saves one more checkpoint, and at times measures and restores."""
    row = lab.once("row", _Row)
    row.saved += 1
    state = _state(random)
    row.checkpoints.save(state, epoch=1, step=row.saved, total=row.saved)
    row.checkpoints.wait()
    if row.saved % _EVERY == 0:
        _check(row, state)
        last = row.measured[-1]
        text = ", ".join(f"{name} {value:,}" for name, value in last.items())
        lab.facts["in a row"] = f"after {row.saved:,} checkpoints {text}"
    return "saved"


def _state(random: Random) -> TrainState:
    """Of a small network whose bits are new each time."""
    arrays = {"kernel": (64, 32), "bias": (32,)}
    held = {
        name: jnp.asarray(random.normal(size=shape).astype(np.float32))
        for name, shape in arrays.items()
    }
    return TrainState(held, held, {}, jnp.zeros(8))


def _check(row: _Row, state: TrainState) -> None:
    found = Checkpoints(row.directory)
    restored = found.restore(jax.tree.map(jnp.zeros_like, state))
    found.close()
    require(restored is not None and restored.step == row.saved, "not the newest")
    assert restored is not None
    require(same(restored.state, state), "another state than was saved")
    files = [path for path in row.directory.rglob("*") if path.is_file()]
    now: dict[str, int] = {
        "files": len(files),
        "bytes on disk": sum(path.stat().st_size for path in files),
        "threads": threading.active_count(),
        **_process(),
    }
    row.measured.append(now)
    if len(row.measured) <= _SETTLED:
        return
    first = row.measured[_SETTLED - 1]
    for name, value in now.items():
        room = _MEMORY if name == "bytes of memory" else first[name] // 10
        require(
            value <= first[name] + room,
            f"{name} grew from {first[name]:,} to {value:,}",
        )


def _process() -> dict[str, int]:
    """Memory and open files of this process, where the system says."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return {}
    pages: Any = status.read_text().split()[1]
    memory = int(pages) * os.sysconf("SC_PAGE_SIZE")
    return {"bytes of memory": memory, "open files": len(os.listdir("/proc/self/fd"))}
