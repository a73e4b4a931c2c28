"""What the subcommands share: reading options, the terminal, the results' directory."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

import tyro
from rich.console import Console

from arsg_optax.demos.errors import UsageError

_PLAIN_WIDTH = 110

_Options = TypeVar("_Options")


def option(text: str, metavar: str) -> object:
    """The annotation of an option: its help and the word for its value."""
    return tyro.conf.arg(help=text, metavar=metavar)


def read_options(
    kind: type[_Options],
    program: str,
    arguments: Sequence[str],
    description: str | None = None,
) -> _Options | int:
    """The options of a command, or the exit code after help or a misspelling.

    Args:
        kind: dataclass of the options.
        program: its name, `arsg train` for one.
        arguments: what follows it.
        description: above the options in the help, None for the dataclass's own.
    """
    try:
        return tyro.cli(
            kind, prog=program, args=list(arguments), description=description
        )
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2


def make_console() -> Console:
    """The terminal on standard output."""
    # Without a terminal rich assumes 80 columns, too few for the tables.
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def make_directory(out: Path | None, name: str) -> Path:
    """Makes the directory of the results before any work.

    Args:
        out: where; None for runs/<timestamp>-<name>, numbered if that is taken.
        name: what the results are of.

    Raises:
        UsageError: if it cannot be made.
    """
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            # An existing directory may still refuse files: better now than at the end.
            with TemporaryFile(dir=out):
                return out
        stem = f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
        root = Path("runs")
        root.mkdir(exist_ok=True)
        for count in range(1, 1000):
            directory = root / (stem if count == 1 else f"{stem}-{count}")
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            return directory
    except OSError as error:
        raise UsageError(f"--out: the directory cannot be made: {error}") from error
    raise UsageError(f"--out: all names from {root / stem} on are taken")
