"""Prints how far each optimizer strays from the transcription of its paper.

    python -m scripts.report_deviations

The figures are what tests/test_transcriptions.py bounds: the largest difference over
200 steps, relative to the largest parameter change, over its seeds, shapes and noise
levels.
"""

import jax
import jax.numpy as jnp

from tests.problems import deviation, problem
from tests.test_transcriptions import CASES, PROBLEMS, STEPS, follow


def main() -> None:
    """Prints a Markdown table, a row an optimizer."""
    print("| | float64, numbers | schedules | float32, numbers | schedules |")
    print("|---|---|---|---|---|")
    for name, case in CASES.items():
        row = []
        for dtype in (jnp.float64, jnp.float32):
            jax.config.update("jax_enable_x64", dtype == jnp.float64)
            for scheduled in (False, True):
                largest = 0.0
                for seed, shapes, noise in PROBLEMS:
                    task = problem(seed, shapes, noise, STEPS)
                    paths = follow(case, task, scheduled, dtype)
                    largest = max(largest, deviation(*paths, task.start))
                row.append(f"{largest:.1e}")
        print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
