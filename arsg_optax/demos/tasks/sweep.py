"""The search that chose the tasks' step sizes, the same for every optimizer.

1. The task's training set is split once: four fifths to fit, one fifth held out. The
   test set, on which comparisons report, takes no part.
2. Every optimizer gets nine candidates, three a decade (1, 2, 5 times a power of ten),
   from the start of its family's range. Everything else stays as the task has it.
3. Each candidate is trained for the task's whole length with every seed. What counts is
   the mean over the seeds of the held-out loss after the last step, at the optimizer's
   own evaluation point; a training that diverged counts as infinite.
4. If the best candidate is the first or the last, three more beyond it are tried, up
   to three times.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from arsg_optax.demos.tasks import Settings, Setup, Task
from arsg_optax.demos.tasks.candidates import candidates, grid
from arsg_optax.demos.tasks.tune import search_task
from arsg_optax.demos.training.optimizers import Optimizer
from arsg_optax.demos.training.steps import TrainState
from arsg_optax.tuning import LearningRateSearch

EXTENSION = 3
MAX_EXTENSIONS = 3
# Losses within this share of the best count as good.
GOOD = 0.01
_KEPT = Path(__file__).parent / "step_sizes"


class Candidate(NamedTuple):
    """A tried step size.

    Attributes:
        optimizer: name.
        learning_rate: step size.
        loss: mean over the seeds, in nats; inf if one diverged.
        spread: standard deviation over the seeds.
        seeds: how many.
        chosen: whether it is the optimizer's best.
    """

    optimizer: str
    learning_rate: float
    loss: float
    spread: float
    seeds: int
    chosen: bool = False


def sweep(
    task: Task,
    setup: Setup,
    optimizer: Optimizer,
    settings: Settings,
    *,
    seeds: int = 1,
    first_seed: int = 0,
    like: str | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[Candidate]:
    """Searches one optimizer's step size.

    Args:
        task: its length, batch size, schedule, clipping and decay are used.
        setup: of the task, with the held-out part as test set.
        optimizer: that is searched for.
        settings: what it is given beside the step size.
        seeds: trainings of each candidate.
        first_seed: of these.
        like: an optimizer whose family's range it starts with, None for its own.
        on_progress: called with the share of a round's steps that are done.

    Returns:
        The candidates by step size, one of them chosen unless all diverged.
    """
    score = _held_out_loss(task, setup, optimizer, settings)

    def tried(rates: Sequence[float]) -> list[Candidate]:
        found = search_task(
            task,
            setup,
            optimizer,
            settings,
            rates,
            steps=task.epochs * setup.sources.train.steps_per_epoch,
            seeds=seeds,
            first_seed=first_seed,
            score=score,
            on_progress=on_progress,
        )
        return as_candidates(optimizer.name, found, seeds)

    rows = tried(candidates(optimizer.name, like))
    for _ in range(MAX_EXTENSIONS):
        rows.sort(key=lambda row: row.learning_rate)
        best = min(rows, key=lambda row: row.loss)
        if best == rows[0]:
            rows += tried(grid(best.learning_rate, -EXTENSION))
        elif best == rows[-1]:
            rows += tried(grid(best.learning_rate, EXTENSION + 1)[1:])
        else:
            break
    best = min(rows, key=lambda row: row.loss)
    ended = math.isfinite(best.loss)
    return [row._replace(chosen=ended and row is best) for row in sorted(rows)]


def _held_out_loss(
    task: Task, setup: Setup, optimizer: Optimizer, settings: Settings
) -> Callable[[Any, Any, Any], Any]:
    evaluator = task.trainer(setup, optimizer, settings, seed=0).evaluator
    return lambda held, opt_state, model_state: evaluator.test_loss(
        TrainState(held, opt_state, model_state, jnp.zeros([0]))
    )


def as_candidates(
    optimizer: str, found: LearningRateSearch, seeds: int
) -> list[Candidate]:
    """The candidates of a search, by step size."""
    order = found.learning_rates.argsort(kind="stable")
    columns = (found.learning_rates, found.final_losses, found.spread)
    return [
        Candidate(optimizer, rate, loss, spread, seeds, rate == found.learning_rate)
        for rate, loss, spread in zip(
            *(column[order].tolist() for column in columns), strict=True
        )
    ]


def by_optimizer(rows: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """The candidates of each optimizer."""
    found: dict[str, list[Candidate]] = {}
    for row in rows:
        found.setdefault(row.optimizer, []).append(row)
    return found


def chosen(rows: Sequence[Candidate]) -> dict[str, float]:
    """The chosen step size of each optimizer."""
    return {row.optimizer: row.learning_rate for row in rows if row.chosen}


def good(rows: Sequence[Candidate]) -> tuple[float, float]:
    """The smallest and the largest step size that do about as well as the best.

    Args:
        rows: of one optimizer, not all diverged.
    """
    limit = (1 + GOOD) * min(row.loss for row in rows)
    rates = [row.learning_rate for row in rows if row.loss <= limit]
    return min(rates), max(rates)


def kept(task: str) -> list[Candidate]:
    """What the search of a task found, if it is kept beside this file.

    Each file is the step-sizes.csv that `arsg compare --task NAME --sweep` writes.
    """
    path = _KEPT / f"{task}.csv"
    return read_table(path.read_text()) if path.exists() else []


def sweep_command(task: str, rows: Sequence[Candidate]) -> str:
    """The command line that finds these of a task."""
    names = ",".join(by_optimizer(rows))
    seeds = rows[0].seeds
    return f"arsg compare --task {task} --sweep --seeds {seeds} --optimizers {names}"


def table_text(rows: Sequence[Candidate]) -> str:
    """CSV, one line per candidate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Candidate._fields)
    for row in rows:
        numbers = (f"{row.loss:.6g}", f"{row.spread:.3g}", row.seeds)
        writer.writerow(
            (row.optimizer, f"{row.learning_rate:.9g}", *numbers)
            + ("yes" if row.chosen else "no",)
        )
    return text.getvalue()


def read_table(text: str) -> list[Candidate]:
    """Reads what :func:`table_text` wrote."""
    return [
        Candidate(
            line["optimizer"],
            *(float(line[name]) for name in ("learning_rate", "loss", "spread")),
            seeds=int(line["seeds"]),
            chosen=line["chosen"] == "yes",
        )
        for line in csv.DictReader(io.StringIO(text))
    ]
