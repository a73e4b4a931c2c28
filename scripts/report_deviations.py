"""Prints how far each optimizer strays from the transcription of its paper.

    python -m scripts.report_deviations

The first table has what tests/test_transcriptions.py bounds: the largest difference
over 200 steps, relative to the largest parameter change, over its seeds, shapes and
noise levels. The second one has the same for the exact form, whose iterate is compared
too (tests/test_exact.py). The third one has the conversions of `hyperparams` beside
their source methods and beside Optax's, in float64 (tests/test_family.py); of older
methods (tests/test_hyperparams.py) the difference is relative to the point itself.
"""

import jax
import jax.numpy as jnp

from tests import family, test_exact, test_hyperparams
from tests.problems import deviation, problem
from tests.test_transcriptions import CASES, PROBLEMS, STEPS, follow


def main() -> None:
    """Prints a Markdown table, one row per optimizer."""
    print("| | float64, numbers | schedules | float32, numbers | schedules |")
    print("|---|---|---|---|---|")
    for name, case in CASES.items():
        row = []
        for dtype in (jnp.float64, jnp.float32):
            jax.config.update("jax_enable_x64", dtype == jnp.float64)
            for scheduled in (False, True):
                largest = 0.0
                for _, seed, shapes, noise in PROBLEMS.values():
                    task = problem(seed, shapes, noise, STEPS)
                    paths = follow(case, task, scheduled, dtype)
                    largest = max(largest, deviation(*paths, task.start))
                row.append(f"{largest:.1e}")
        print(f"| {name} | {' | '.join(row)} |")
    print()
    _exact_form()
    print()
    _conversions()


def _exact_form() -> None:
    """Prints the exact form's rows, one per optimizer and kind of schedules."""
    print("| exact form | schedules | float64: y | iterate | float32: y | iterate |")
    print("|---|---|---|---|---|---|")
    for name, case in test_exact.CASES.items():
        for kind, schedules in test_exact.SCHEDULES.items():
            row = []
            for dtype in (jnp.float64, jnp.float32):
                jax.config.update("jax_enable_x64", dtype == jnp.float64)
                task = problem(1, "tree", 0.5, STEPS)
                found = test_exact.deviations(case, schedules, task, dtype)
                row += [f"{each:.1e}" for each in found]
            print(f"| {name} | {kind} | {' | '.join(row)} |")


def _conversions() -> None:
    """Prints a row a conversion, the largest deviation of several seeds."""
    print("| conversion | observed point | iterate | beside Optax |")
    print("|---|---|---|---|")
    jax.config.update("jax_enable_x64", True)
    for name in family.CASES:
        runs = [family.deviations(name, seed) for seed in (0, 1)]
        columns = ("observed", "iterate", "optax")
        largest = [max(run.get(column, -1.0) for run in runs) for column in columns]
        row = (f"{each:.1e}" if each >= 0 else "" for each in largest)
        print(f"| {name} | {' | '.join(row)} |")
    for convert, source, args in test_hyperparams.CASES:
        largest = max(
            test_hyperparams.distance_to_source(convert, source, args, seed)
            for seed in range(3)
        )
        print(f"| {convert.__name__}{args} | {largest:.1e} | | |")


if __name__ == "__main__":
    main()
