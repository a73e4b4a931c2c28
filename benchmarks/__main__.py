"""`python -m benchmarks --help`: everything that is measured."""

import tyro

from benchmarks import (
    compile_time,
    cpu_ideas,
    half_precision,
    step_sizes,
    train_step,
    update_time,
)

COMMANDS = {
    "update-time": update_time,
    "compile-time": compile_time,
    "cpu-ideas": cpu_ideas,
    "half-precision": half_precision,
    "step-sizes": step_sizes,
    "train-step": train_step,
}


def main() -> None:
    """Runs one benchmark."""
    options = tyro.extras.subcommand_cli_from_dict(
        {name: module.Options for name, module in COMMANDS.items()},
        prog="python -m benchmarks",
        description="Measurements; nothing else may run meanwhile.",
    )
    for module in COMMANDS.values():
        if isinstance(options, module.Options):
            module.main(options)


if __name__ == "__main__":
    main()
