"""The `arsg` command: finds the subcommand and runs it.

Only the standard library is imported here, so that a missing extra is one line and not
a traceback. Exit codes: 0 success; 1 an extra or the data are missing, or no optimizer
finished; 2 a request that cannot be run; 130 interrupted.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence

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
    "reproduce": "run an experiment of the papers, write its tables and verdicts",
    "report": "write the page of all reproductions from their records",
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
    missing = [name for name in _NEEDED if not _is_installed(name)]
    if missing:
        return _fail(
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
    try:
        from arsg_optax.demos.errors import (
            CheckpointError,
            DataError,
            UsageError,
            find_named,
        )

        try:
            find_named(_COMMANDS, "command", name)
            module = importlib.import_module(f"arsg_optax.demos.commands.{name}")
            return module.run(arguments)
        except UsageError as error:
            return _fail(2, str(error))
        except (DataError, CheckpointError) as error:
            return _fail(1, str(error))
    except KeyboardInterrupt:
        return _fail(130, "interrupted")


def _usage() -> str:
    commands = "\n".join(f"  {name:11}{what}" for name, what in _COMMANDS.items())
    return (
        "usage: arsg COMMAND [options]\n\n"
        f"commands:\n{commands}\n\n"
        "arsg COMMAND --help explains the options."
    )


def _fail(code: int, message: str) -> int:
    print(f"arsg: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
