"""The search that chose the tasks' default step sizes, the same for every optimizer.

1. The task's training set is split once: four fifths to fit, one fifth held out. The
   test set, on which comparisons report, takes no part; the splits are checked to be
   disjoint.
2. Every optimizer gets nine candidates, three a decade (1, 2, 5 times a power of ten),
   from the start of its family's range. Everything else stays at its default.
3. Each candidate is trained for the task's full number of epochs with every seed. Its
   score is the mean over the seeds of the held-out loss after the last epoch, at the
   optimizer's own evaluation point; a run that diverged scores infinity.
4. If the best candidate is the first or the last, three more beyond it are tried, up
   to three times.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arsg_optax.demos.byte_text import ByteSet
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.tasks import Setup, Task
from arsg_optax.demos.tasks.candidates import candidates, grid, split
from arsg_optax.demos.training.evaluation import (
    PointScores,
    prepared_totals,
    set_scores,
)
from arsg_optax.demos.training.optimizers import OPTIMIZERS, Optimizer
from arsg_optax.demos.training.sources import resident
from arsg_optax.demos.training.steps import TrainState, init_state, make_epoch

EXTENSION = 3
MAX_EXTENSIONS = 3


class Candidate(NamedTuple):
    """A tried step size.

    Attributes:
        optimizer: name.
        learning_rate: step size.
        held_out_loss: mean over the seeds, in nats; inf if one diverged.
        spread: standard deviation over the seeds.
        seeds: how many.
        chosen: whether it is the optimizer's best.
    """

    optimizer: str
    learning_rate: float
    held_out_loss: float
    spread: float
    seeds: int
    chosen: bool = False


def search(
    task: Task,
    optimizer: str,
    dataset: Dataset | ByteSet,
    seeds: int,
    *,
    registry: Mapping[str, Optimizer] = OPTIMIZERS,
    like: str | None = None,
) -> list[Candidate]:
    """Searches one optimizer's step size.

    Args:
        task: its epochs and batch size are used.
        optimizer: name.
        dataset: the task's; only its training set is trained and scored on.
        seeds: number of initialisations and orders, 0 to `seeds` - 1.
        registry: where the name stands.
        like: an optimizer whose family's range it starts with, None for its own.

    Returns:
        The candidates by step size, one of them chosen.
    """
    scores = make_scores(task, optimizer, split(dataset), seeds, registry)
    rates = candidates(optimizer, like)
    found = scores(rates)
    for _ in range(MAX_EXTENSIONS):
        best = min(found, key=lambda rate: found[rate][0])
        if best == max(found):
            found |= scores(grid(best, EXTENSION + 1)[1:])
        elif best == min(found):
            found |= scores(grid(best, -EXTENSION))
        else:
            break
    best = min(found, key=lambda rate: found[rate][0])
    return [
        Candidate(optimizer, rate, *found[rate], seeds, rate == best)
        for rate in sorted(found)
    ]


def make_scores(
    task: Task,
    optimizer: str,
    dataset: Dataset | ByteSet,
    seeds: int,
    registry: Mapping[str, Optimizer] = OPTIMIZERS,
) -> Callable[[Sequence[float]], dict[float, tuple[float, float]]]:
    """Makes the function that trains all seeds of all given step sizes at once.

    Returns:
        A function from step sizes to their mean held-out loss and its spread.
    """
    setup = task.setup(dataset)
    starts = [setup.problem.init(seed) for seed in range(seeds)]
    params, model_state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    training = make_training(task, registry[optimizer], setup)
    data = training_data(setup)

    def run(params: Any, model_state: Any, seed: jax.Array, rate: jax.Array, data: Any):
        return training(params, model_state, seed, rate, data).test_x.loss

    over_rates = jax.vmap(run, in_axes=(None, None, None, 0, None))
    over_seeds = jax.vmap(over_rates, in_axes=(0, 0, 0, None, None))
    trained = jax.jit(over_seeds)
    numbers = jnp.arange(seeds, dtype=jnp.uint32)

    def scores(rates: Sequence[float]) -> dict[float, tuple[float, float]]:
        values = jnp.asarray(rates, jnp.float32)
        found = trained(params, model_state, numbers, values, data)
        losses = np.asarray(found, np.float64)
        losses = np.where(np.isfinite(losses), losses, np.inf)
        with np.errstate(invalid="ignore"):
            spread = np.where(np.isinf(losses).any(0), np.inf, losses.std(0))
        return {
            rate: (float(mean), float(deviation))
            for rate, mean, deviation in zip(rates, losses.mean(0), spread, strict=True)
        }

    return scores


def training_data(setup: Setup) -> Any:
    """The arrays that a training reads, to be given to a compiled function."""
    sources = setup.sources
    sets = (sources.train_evaluation.batches, sources.test.batches)
    return resident(sources.train).arrays, *map(tuple, sets)


def make_training(
    task: Task, optimizer: Optimizer, setup: Setup
) -> Callable[..., PointScores]:
    """Makes `run(params, model_state, seed, learning_rate, data)`.

    It trains for all epochs, for networks without running statistics whose data stay
    on the device, and can be vmapped over all but the last argument, which
    :func:`training_data` makes.
    """
    problem, sources = setup.problem, setup.sources
    source = resident(sources.train)
    points, settings = optimizer.points, task.settings[optimizer.name]
    steps = source.steps_per_epoch

    def run(params: Any, model_state: Any, seed: jax.Array, rate: jax.Array, data: Any):
        arrays, *sets = data
        transform = task.transform(optimizer, settings, steps, rate)
        epoch = make_epoch(problem, transform, points, source)

        def body(number: jax.Array, state: TrainState) -> TrainState:
            return epoch(state, arrays, seed, number)

        state = init_state(transform, points, params, model_state, steps)
        state = jax.lax.fori_loop(1, task.epochs + 1, body, state)
        y = points.gradient_point(state.held)
        x = points.evaluation_point(state.opt_state, state.held)
        held_sets = sources.train_evaluation, sources.test
        scores = [
            set_scores(
                prepared_totals(problem, held_set),
                problem.start_evaluation,
                point,
                state.model_state,
                batches,
            )
            for held_set, batches in zip(held_sets, sets, strict=True)
            for point in (y, x)
        ]
        return PointScores(*scores)

    return run


def table_path(task: str) -> Path:
    """Where the result of a task's search is kept."""
    return Path(__file__).parent / "learning_rates" / f"{task}.csv"


def write_table(path: Path, rows: Sequence[Candidate]) -> None:
    """Writes the candidates, a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Candidate._fields)
        for row in rows:
            writer.writerow(
                (
                    row.optimizer,
                    f"{row.learning_rate:g}",
                    f"{row.held_out_loss:.6g}",
                    f"{row.spread:.3g}",
                    row.seeds,
                    "yes" if row.chosen else "no",
                )
            )


def read_table(path: Path) -> list[Candidate]:
    """Reads what :func:`write_table` wrote."""
    with path.open(newline="") as file:
        return [
            Candidate(
                line["optimizer"],
                float(line["learning_rate"]),
                float(line["held_out_loss"]),
                float(line["spread"]),
                int(line["seeds"]),
                line["chosen"] == "yes",
            )
            for line in csv.DictReader(file)
        ]


def chosen(rows: Sequence[Candidate]) -> Mapping[str, float]:
    """The chosen step size of each optimizer."""
    return {row.optimizer: row.learning_rate for row in rows if row.chosen}
