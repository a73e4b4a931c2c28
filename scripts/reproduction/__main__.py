"""`python -m scripts.reproduction`: the papers' experiments and the page of all."""

import sys
from collections.abc import Sequence

from arsg_optax.demos.cli import guarded
from scripts.reproduction import commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: `report` or `theorems` and its options, or an experiment's name and
            its options; None for those of the process.

    Returns:
        The exit code, as of :mod:`arsg_optax.demos.cli`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    others = {"report": commands.report, "theorems": commands.judge_theorems}
    if arguments and arguments[0] in others:
        command = others[arguments[0]]
        return guarded("reproduction", lambda: command(arguments[1:]))
    return guarded("reproduction", lambda: commands.reproduce(arguments))


if __name__ == "__main__":
    sys.exit(main())
