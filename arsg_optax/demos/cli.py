"""The `arsg` command: finds the subcommand and runs it.

Only the standard library is imported here, so that a missing extra is one line and not
a traceback. Exit codes: 0 success; 1 an extra or the data are missing, or no optimizer
finished; 2 a request that cannot be run; 130 interrupted; 141 nobody reads the output.
"""

import errno
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

# Import name of each package of the `demos` extra that the commands use.
_NEEDED = (
    "flax",
    "sklearn",
    "huggingface_hub",
    "pyarrow",
    "PIL",
    "orbax.checkpoint",
    "tensorboardX",
    "matplotlib",
    "rich",
    "tyro",
    "filelock",
)

# Modules of arsg_optax.demos.commands; each has a function run(arguments) -> exit code.
_COMMANDS = {
    "train": "train a task with one optimizer, with checkpoints",
    "compare": "train a task with several optimizers and compare them",
    "tune": "search an optimizer's step size on a task",
    "plot": "draw runs that are kept, side by side",
    "dynamics": "draw the theory: which curvatures converge, how fast, how noisily",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: without the program's name; None for those of the process.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return guarded("arsg", lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"arsg_optax {metadata.version('arsg_optax')}")
        return 0
    missing = [name for name in _NEEDED if not _is_installed(name)]
    if missing:
        return _fail(
            "arsg",
            1,
            f"the demos need {', '.join(missing)}, not installed here: "
            'pip install "arsg_optax[demos]"',
        )
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    return _run(arguments[0], arguments[1:])


def _is_installed(name: str) -> bool:
    package, _, _ = name.partition(".")
    return bool(importlib.util.find_spec(package) and importlib.util.find_spec(name))


def _run(name: str, arguments: list[str]) -> int:
    from arsg_optax.demos.errors import find_named

    find_named(_COMMANDS, "command", name)
    module = importlib.import_module(f"arsg_optax.demos.commands.{name}")
    return module.run(arguments)


def guarded(program: str, action: Callable[[], int]) -> int:
    """The exit code of an action, whose errors become one line.

    Args:
        program: its name, before the line.
        action: returns an exit code.
    """
    sys.unraisablehook = _hook
    try:
        try:
            code = action()
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # As of `arsg --help | head`: nobody reads on, and Python's own flush at
            # the end must not meet the broken pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except Exception as error:
            return _fail(program, _code(error), _message(error))
    except KeyboardInterrupt:
        return _fail(program, 130, "interrupted")


def _hook(unraisable: "sys.UnraisableHookArgs") -> None:
    """Prints what nothing can catch, but for what a failed write leaves behind.

    The write itself has raised, and is told in one line. TensorStore's threads, which
    call Orbax's event loop after it, print a traceback each.
    """
    kind, text = unraisable.exc_type, str(unraisable.exc_value)
    if not (kind is RuntimeError and text == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)


def _code(error: Exception) -> int:
    """The exit code of an error that is one line; raises all others."""
    from arsg_optax.demos.errors import CheckpointError, DataError, UsageError

    if isinstance(error, UsageError):
        return 2
    if isinstance(error, DataError | CheckpointError) or _is_no_room(error):
        return 1
    raise error


def _is_no_room(error: Exception) -> bool:
    """Whether the disk is full, or may only be read."""
    full = (errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", None))
    return isinstance(error, OSError) and error.errno in full


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.filename} could not be written: {error.strerror}; make room on "
            "the disk, then give the same command again"
        )
    return str(error)


def _usage() -> str:
    commands = "\n".join(f"  {name:11}{what}" for name, what in _COMMANDS.items())
    return (
        "usage: arsg COMMAND [options]\n\n"
        f"commands:\n{commands}\n\n"
        "arsg COMMAND --help explains the options; arsg --version prints the version."
    )


def _fail(program: str, code: int, message: str) -> int:
    print(f"{program}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
