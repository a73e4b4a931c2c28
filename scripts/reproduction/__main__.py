"""`python -m scripts.reproduction`: the papers' experiments and the page of all."""

import sys
from collections.abc import Sequence

from arsg_optax.demos.cli import guarded
from scripts.reproduction import commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: `report` and its options, or an experiment's name and its options;
            None for those of the process.

    Returns:
        The exit code, as of :mod:`arsg_optax.demos.cli`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["report"]:
        return guarded("reproduction", lambda: commands.report(arguments[1:]))
    return guarded("reproduction", lambda: commands.reproduce(arguments))


if __name__ == "__main__":
    sys.exit(main())
