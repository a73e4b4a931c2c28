"""What the trials of an attack work with: folders, harmed commands, comparisons."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from arsg_optax.demos.errors import CheckpointError, DataError, UsageError
from scripts.attack.victim import Harm

Random = np.random.Generator
ROOT = Path(__file__).parents[2]
# What the command line shows as one line; all else is a traceback.
MESSAGES = (UsageError, DataError, CheckpointError)

_Made = TypeVar("_Made")


class Failed(Exception):
    """The package did not survive a trial; the text says how."""


class Lab:
    """What the trials of all attacks share.

    Args:
        folder: every trial gets one inside.
        soak_steps: of each soak, None for as many as the time allows.

    Attributes:
        facts: by name, what the attack under way measured, for the table.
    """

    def __init__(self, folder: Path, soak_steps: int | None = None):
        self.folder, self.soak_steps = folder, soak_steps
        self.facts: dict[str, str] = {}
        self._made: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[Path], _Made]) -> _Made:
        """What `make(folder)` gives, made before the first trial that needs it."""
        if name not in self._made:
            self._made[name] = make(Path(tempfile.mkdtemp(dir=self.folder)))
        return self._made[name]

    @contextlib.contextmanager
    def trial_folder(self) -> Iterator[Path]:
        """A folder that is removed after the trial."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="trial-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def start(
        self, command: Sequence[str], folder: Path, harm: Harm | None = None
    ) -> "subprocess.Popen[str]":
        """Starts a command in a folder; Ctrl-C of the campaign does not reach it."""
        compiled = {
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), os.environ.get("PYTHONPATH", "")]
            ),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        plain = json.dumps(asdict(harm or Harm()))
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.attack.victim", plain, *command],
            cwd=folder,
            env={**os.environ, **compiled},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(
        self, command: Sequence[str], folder: Path, harm: Harm | None = None
    ) -> tuple[int, str]:
        """A command's exit code and what it printed, which must be no traceback."""
        with self.start(command, folder, harm) as process:
            try:
                printed, _ = process.communicate()
            except BaseException:
                process.kill()
                raise
        return process.returncode, no_traceback(printed, command)


def no_traceback(printed: str, command: Sequence[str]) -> str:
    """What a command printed, if there is no traceback in it."""
    if "Traceback (most recent call last)" in printed:
        raise Failed(f"{' '.join(command)} prints a traceback: …{printed[-700:]}")
    return printed


def require(holds: object, what: str) -> None:
    """Raises :class:`Failed` unless it holds."""
    if not holds:
        raise Failed(what)


def same(one: Any, other: Any) -> bool:
    """Whether two trees of arrays and numbers are equal bit for bit."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    arrays = ((np.asarray(a), np.asarray(b)) for a, b in pairs)
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in arrays
    )


def outcome_of(action: Callable[[], Any], names: Sequence[str], wanted: Any) -> str:
    """How an action on what was harmed ended: refused by name, or unharmed.

    Args:
        action: that meets the harm.
        names: one of them must be in the message that refuses.
        wanted: its result without the harm.
    """
    try:
        found = action()
    except MESSAGES as error:
        text = str(error)
        require(any(name in text for name in names), f"refused without a name: {text}")
        return "refused by name"
    require(same(found, wanted), "taken without a word, with another result")
    return "unharmed"
