"""Prints which momentum and observation the theory prefers, and which runs did.

    python -m scripts.report_theory

Along a run of `arsgw` on `python-transformer` (preset tiny) three numbers are measured
in the coordinates in which its step is plain: the curvature along the gradient, the
gradient's part along each of its eigenvectors, and the noise of one batch there. Put
into `dynamics.gain_and_noise` with the rest of the run's own schedules, they give the
loss that a variant of b1 and observation should still have above the minimum of the
quadratic. Beside that stands what the variants' runs ended with, of the experiment
`today-ablation-arsgw`. It takes two minutes on two cores.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

import arsg_optax
from arsg_optax import dynamics, tuning
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.training.optimizers import find_optimizer
from arsg_optax.demos.training.trainer import Trainer
from scripts.reproduction.experiments import find_experiment
from scripts.reproduction.experiments.today import FORMER
from scripts.reproduction.findings.results import (
    Result,
    difference,
    final_test_loss_x,
    find_results,
)
from scripts.reproduction.store import Store

EXPERIMENT = find_experiment("today-ablation-arsgw")
SIZE = EXPERIMENT.size("full")
# After a tenth, a half and nine tenths of the steps.
EPOCHS = (2, 12, 22)
BATCHES, ITERATIONS = 32, 24


class Spectrum(NamedTuple):
    """A loss around a point of the run; all arrays are of the positive curvatures.

    Attributes:
        step: how many the run has done.
        curvature: λ, in the coordinates in which the step is plain.
        excess: the loss above the quadratic's minimum along each eigenvector.
        noise: variance of one batch's gradient along it.
        negative: share of the squared gradient along negative curvatures, left out.
    """

    step: int
    curvature: np.ndarray
    excess: np.ndarray
    noise: np.ndarray
    negative: float


def measure(config: RunConfig, data: Any) -> list[Spectrum]:
    """The spectra along one run."""
    task, settings = config.chosen_task(), config.settings
    setup = task.setup(data, config.seed)
    optimizer = find_optimizer(config.optimizer)
    trainer = task.trainer(setup, optimizer, settings, seed=config.seed)
    trainer.compile()
    found = []
    while trainer.epoch <= max(EPOCHS):
        while trainer.step < trainer.steps_per_epoch:
            trainer.run_chunk()
        if trainer.epoch in EPOCHS:
            found.append(_spectrum(trainer, setup.problem))
        trainer.next_epoch()
    return found


def _spectrum(trainer: Trainer, problem: Any) -> Spectrum:
    state = trainer.state
    (link,) = optax.tree_utils.tree_get(state.opt_state, "links")
    aside = trainer._advance.batches_aside(BATCHES)
    batches = jax.tree.map(lambda *parts: jnp.stack(parts), *aside)

    def loss(params: Any, batch: Any) -> jax.Array:
        return problem.loss(params, state.model_state, batch, jax.random.key(0))[0]

    def look(start: Any, **options: Any) -> tuning.Curvature:
        return tuning.curvature(
            loss,
            state.held,
            batches,
            preconditioner=link.denominator(),
            iterations=ITERATIONS,
            start=start,
            **options,
        )

    along = look("gradient")
    everywhere = look("random", key=jax.random.key(0))
    up, rest = along.eigenvalues > 0, everywhere.eigenvalues > 0
    # The gradient's part that is noise of the batches is not a deviation.
    square = np.maximum(along.weights - along.noise / along.batches, 0)
    # What noise lies outside of these eigenvectors is spread as the curvatures are.
    outside = along.noise_outside * everywhere.weights[rest]
    return Spectrum(
        trainer.total_steps,
        np.concatenate([along.eigenvalues[up], everywhere.eigenvalues[rest]]),
        np.concatenate([square[up] / (2 * along.eigenvalues[up]), 0 * outside]),
        np.concatenate([along.noise[up], outside]),
        float(np.sum(square[~up]) / np.sum(square)),
    )


def predicted(spectrum: Spectrum, config: RunConfig, total: int) -> tuple[float, float]:
    """What is left of the excess, and what the noise adds, at the end of a run."""
    task, settings = config.chosen_task(), config.settings
    clock = task.clock(total // task.epochs)
    given = settings.keywords(clock)
    make = getattr(arsg_optax, config.optimizer)
    defaults = {
        name: each.default for name, each in inspect.signature(make).parameters.items()
    }
    moving: Any = {
        "learning_rate": task.schedule.of(settings.learning_rate, clock),
        **{name: given.get(name, defaults[name]) for name in ("b1", "observation")},
    }
    later = {name: _after(value, spectrum.step) for name, value in moving.items()}
    exact = bool(given.get("exact", False))
    counts = np.array([total - spectrum.step])
    found = dynamics.gain_and_noise(
        spectrum.curvature, **later, exact=exact, counts=counts
    )
    gain, noise = (np.asarray(each[0], np.float64) for each in found[2:])
    left = np.sum(spectrum.excess * gain**2)
    return float(left), float(np.sum(spectrum.noise * noise / spectrum.curvature) / 2)


def _after(value: Any, step: int) -> Any:
    return (lambda count: value(count + step)) if callable(value) else value


def main() -> None:
    """Prints a table of the variants of `arsgw`, and how far the orders agree."""
    found = find_results(EXPERIMENT, SIZE, Store(Path("results/runs")))
    results = {each.label: each for each in found}
    ours = {k: r for k, r in results.items() if r.config.optimizer == "arsgw"}
    config = ours[FORMER].config
    task = config.chosen_task()
    spectra = measure(config, task.data(None))
    total = spectra[-1].step // max(EPOCHS) * task.epochs
    for each in spectra:
        print(
            f"after {each.step} steps: curvature to {each.curvature.max():.0f}, "
            f"{each.excess.sum():.3f} nats above the quadratic's minimum, "
            f"{each.negative:.0%} of the squared gradient along negative curvature"
        )
    _table(ours, spectra, total)


def _table(results: Mapping[str, Result], spectra: list[Spectrum], total: int) -> None:
    base = results[FORMER]
    measured = {}
    for label, each in results.items():
        against = difference(each, base, final_test_loss_x)
        assert against is not None
        measured[label] = against
    print("| variant | measured | " + " | ".join(f"from {s.step}" for s in spectra))
    expected: dict[str, list[float]] = {}
    for label, each in results.items():
        parts = [predicted(spectrum, each.config, total) for spectrum in spectra]
        expected[label] = [sum(part) for part in parts]
        cells = " | ".join(f"{left:.4f} + {noise:.4f}" for left, noise in parts)
        print(f"| {label} | {measured[label].told()} | {cells} |")
    means = [measured[label].mean for label in results]
    for number, spectrum in enumerate(spectra):
        theirs = [expected[label][number] for label in results]
        order: Any = stats.spearmanr(means, theirs)[0]
        print(f"from {spectrum.step} steps: rank correlation {order:+.2f}")


if __name__ == "__main__":
    main()
