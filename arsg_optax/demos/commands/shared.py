"""What the subcommands share: reading options, the terminal, the results' directory."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

import tyro
from rich.console import Console

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import TASKS
from arsg_optax.demos.tasks.configuration import RunConfig, TaskConfig
from arsg_optax.demos.tasks.configuration_files import read_config
from arsg_optax.demos.training.optimizers import OPTIMIZERS

_PLAIN_WIDTH = 110

_Options = TypeVar("_Options")
_Config = TypeVar("_Config", bound=TaskConfig)


def option(text: str, metavar: str) -> object:
    """The annotation of an option: its help and the word for its value."""
    return tyro.conf.arg(help=text, metavar=metavar)


DataDir = Annotated[
    Path | None,
    option(
        "Directory of data sets, e.g. with mnist/*.parquet in it (None: the one that "
        "the environment variable ARSG_DATA_DIR names, else the Hugging Face Hub).",
        "DIR",
    ),
]


def read_options(
    kind: type[_Options], program: str, arguments: Sequence[str]
) -> _Options | int:
    """The options of a command, or the exit code after help or a misspelling.

    Of a :class:`RunConfig`, `--config FILE` gives other defaults, and
    `--optimizer.NAME VALUE` a keyword argument of the optimizer.

    Args:
        kind: dataclass of the options.
        program: its name, `arsg train` for one.
        arguments: what follows it.

    Raises:
        UsageError: for a file or a keyword argument that cannot be read.
    """
    rest, default, keywords = _joined(kind, arguments), None, {}
    if issubclass(kind, RunConfig):
        rest, file, keywords = _taken_out(rest)
        if file is not None:
            held = read_config(Path(file))
            default = kind(**{f.name: getattr(held, f.name) for f in fields(RunConfig)})
    try:
        found: Any = tyro.cli(
            kind,
            prog=program,
            args=rest,
            default=default,
            description=_described(kind, arguments),
        )
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    if keywords:
        return replace(found, options={**found.options, **keywords})
    return found


def config_of(kind: type[_Config], options: TaskConfig) -> _Config:
    """The part of a command's options that makes a configuration."""
    return kind(**{each.name: getattr(options, each.name) for each in fields(kind)})


def _joined(kind: type, arguments: Sequence[str]) -> list[str]:
    """Arguments in which each list stands once and its values are separate.

    `--names a,b --names c`, `--names a b c` and `--names=a,b,c` mean the same.
    """
    hints = get_type_hints(kind).items()
    flags = {f"--{n.replace('_', '-')}" for n, h in hints if get_origin(h) is tuple}
    rest, lists, current = [], {}, None
    for token in arguments:
        name, equals, value = token.partition("=")
        if name.startswith("--"):
            current = lists.setdefault(name, []) if name in flags else None
            token = value if equals and current is not None else token
        if current is None:
            rest.append(token)
        elif token != name or not name.startswith("--"):
            current += [part for each in token.split(",") if (part := each.strip())]
    for name, values in lists.items():
        rest += [name, *values]
    return rest


def _taken_out(
    arguments: Sequence[str],
) -> tuple[list[str], str | None, dict[str, float]]:
    """Arguments without the file of a configuration and the optimizer's keywords."""
    rest, file, keywords = [], None, {}
    tokens = iter(arguments)
    for token in tokens:
        name, equals, value = token.partition("=")
        if name != "--config" and not name.startswith("--optimizer."):
            rest.append(token)
            continue
        value = value if equals else next(tokens, "")
        if name == "--config":
            file = value
            continue
        keyword = name.removeprefix("--optimizer.").replace("-", "_")
        try:
            number = float(value)
        except ValueError:
            raise UsageError(f"{name} must be a number, got {value!r}") from None
        keywords[keyword] = int(number) if value.lstrip("+-").isdigit() else number
    return rest, file, keywords


def _described(kind: type, arguments: Sequence[str]) -> str | None:
    """What a command does, the names it knows, and the protocol of a task named."""
    if not issubclass(kind, TaskConfig):
        return None
    lines = [inspect.cleandoc(kind.__doc__ or "").split("\n\nAttributes:")[0]]
    lines.append(f"Tasks: {', '.join(TASKS)}.")
    lines.append(f"Optimizers: {', '.join(OPTIMIZERS)}.")
    tokens = [part for token in arguments for part in token.split("=", 1)]
    named = [value for name, value in pairwise(tokens) if name == "--task"]
    if named and named[-1] in TASKS:
        task = TASKS[named[-1]]
        lines.append(f"{task.name}: {task.summary}; learning rate {task.schedule}.")
        for preset, settings in task.presets.items():
            rates = ", ".join(
                f"{name} {each.learning_rate:.3g}"
                + ("" if each.schedule == "task" else f" ({each.schedule})")
                for name, each in settings.items()
            )
            found = task.varied(preset)
            lines.append(
                f"Its preset {preset}: {found.epochs} epochs, batch size "
                f"{found.batch_size}; step sizes {rates}."
            )
    return "\n\n".join(lines)


def make_console() -> Console:
    """The terminal on standard output."""
    # Without a terminal rich assumes 80 columns, too few for the tables.
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


@contextmanager
def results_directory(out: Path | None, name: str) -> Iterator[Path]:
    """A directory for results, made before any work and removed if it stays empty.

    Args:
        out: where; None for runs/<timestamp>-<name>, numbered if that is taken.
        name: what the results are of.

    Raises:
        UsageError: if it cannot be made.
    """
    directory = make_directory(out, name)
    try:
        yield directory
    finally:
        with suppress(OSError):
            directory.rmdir()


def make_directory(out: Path | None, name: str) -> Path:
    """Makes a directory for results; see :func:`results_directory`."""
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
