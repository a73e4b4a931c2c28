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


def main() -> None:
    """Runs one benchmark."""
    commands = {
        "update-time": update_time.Options,
        "compile-time": compile_time.Options,
        "cpu-ideas": cpu_ideas.Options,
        "half-precision": half_precision.Options,
        "step-sizes": step_sizes.Options,
        "train-step": train_step.Options,
    }
    options = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog="python -m benchmarks",
        description="Measurements; nothing else may run meanwhile.",
    )
    modules = (
        compile_time,
        cpu_ideas,
        half_precision,
        step_sizes,
        train_step,
        update_time,
    )
    for module in modules:
        if isinstance(options, module.Options):
            module.main(options)


if __name__ == "__main__":
    main()
