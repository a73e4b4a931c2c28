"""Runs a command that is harmed while it runs: `python -m scripts.attack.victim`.

The first argument is JSON with the fields of :class:`Harm`, the others are the command:
`arsg` or `reproduction`, and what follows. What happens at a file operation happens
there on every machine, however loaded it is.
"""

import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PLACED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Harm:
    """What happens to a process, and when.

    Attributes:
        under: the folder whose file operations are counted.
        at: the operation before which it happens, from 0; None for never.
        after: seconds after the start instead.
        signal: that the process gets, by name.
        file_limit: bytes beyond which no file grows any more, instead of a signal.
        clock: seed of a clock that is set back, and of a coarse one.
        counts: file that gets the number of operations at the end.
    """

    under: str = ""
    at: int | None = None
    after: float | None = None
    signal: str | None = None
    file_limit: int | None = None
    clock: int | None = None
    counts: str | None = None

    def strike(self) -> None:
        """Does it."""
        if self.file_limit is not None:
            import resource

            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_limit, hard))
        if self.signal is not None:
            os.kill(os.getpid(), signal.Signals[self.signal])


def main(arguments: Sequence[str]) -> int:
    """Runs the command with its harm; returns its exit code."""
    harm, (program, *rest) = Harm(**json.loads(arguments[0])), arguments[1:]
    count = _watch(harm)
    if harm.after is not None:
        threading.Thread(
            target=lambda: (time.sleep(harm.after or 0.0), harm.strike()), daemon=True
        ).start()
    if harm.clock is not None:
        _break_clocks(harm.clock)
    try:
        return _run(program, rest)
    finally:
        if harm.counts is not None:
            Path(harm.counts).write_text(str(next(count)))


def _run(program: str, arguments: Sequence[str]) -> int:
    if program == "arsg":
        from arsg_optax.demos import cli

        return cli.main(arguments)
    from scripts.reproduction import __main__ as reproduction
    from scripts.reproduction import experiments
    from tests.demos.reproduction.test_reproduce_command import TINY

    known: Any = experiments.EXPERIMENTS
    known["tiny"] = TINY
    return reproduction.main(arguments)


def _watch(harm: Harm) -> "itertools.count[int]":
    """Counts changes of files below a folder, and strikes at one of them."""
    count = itertools.count()

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event not in _PLACED or not isinstance(given[0], str | bytes | os.PathLike):
            return
        if event == "open" and not (given[2] or 0) & _WRITING:
            return
        path = os.path.abspath(os.fsdecode(given[0]))
        if path.startswith(harm.under) and next(count) == harm.at:
            harm.strike()

    if harm.under:
        sys.addaudithook(hook)
    return count


def _break_clocks(seed: int) -> None:
    """The day's clock is set back once, and the fine one moves in large steps."""
    draw, day, fine = random.Random(seed), time.time, time.perf_counter
    back = draw.choice((3_600.0, 86_400.0, 3e8))
    moment = fine() + draw.uniform(0, 15)
    time.time = lambda: day() - (back if fine() > moment else 0.0)
    time.perf_counter = lambda: fine() // 0.25 * 0.25


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
