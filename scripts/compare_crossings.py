"""Compares the crossings with their parents, by the same search and on the same seeds.

    python -m scripts.compare_crossings --task digits

Step sizes are chosen as `arsg compare --sweep` does, on a part of the training set;
then every optimizer trains on all of it, and is reported on the test set. Results are
kept in a CSV file after each optimizer; a second call goes on where the first ended.
"""

import csv
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro

from arsg_optax.demos.data import Dataset
from arsg_optax.demos.tasks import Settings, Task
from arsg_optax.demos.tasks.candidates import split
from arsg_optax.demos.tasks.sweep import chosen, sweep
from arsg_optax.demos.training.evaluation import PointScores, to_floats
from arsg_optax.demos.training.optimizers import Optimizer
from scripts.crossings import CROSSING_TASKS, CROSSINGS, LIKE

FIELDS = (
    "optimizer",
    "learning_rate",
    "train_loss",
    "test_loss",
    "test_loss_sd",
    "test_accuracy",
    "test_loss_held",
    "seeds",
    "seconds",
)


@dataclass(frozen=True)
class Options:
    """Compare the crossings with their parents."""

    task: str = "digits"
    """digits or mnist."""
    search_seeds: int = 3
    """Runs a candidate in the search."""
    seeds: int = 10
    """Runs of the chosen step size."""
    data_dir: Path | None = None
    """Directory of data sets (None: ARSG_DATA_DIR or the Hugging Face Hub)."""
    out: Path = Path("docs/crossings")
    """Folder of the CSV file."""


def main(options: Options) -> None:
    """Runs what is missing, then prints the table."""
    task = CROSSING_TASKS[options.task]
    dataset = task.load(options.data_dir)
    path = options.out / f"{options.task}.csv"
    rows = _read(path)
    for name in CROSSINGS:
        if name not in {row["optimizer"] for row in rows}:
            rows.append(_run(task, name, dataset, options))
            _write(path, rows)
            print(rows[-1], flush=True)
    print(f"| {' | '.join(FIELDS[:-1])} |\n|{'---|' * (len(FIELDS) - 1)}")
    for row in sorted(rows, key=lambda row: float(row["test_loss"])):
        print(f"| {' | '.join(row[name] for name in FIELDS[:-1])} |")


def _run(task: Task, name: str, dataset: Dataset, options: Options) -> dict[str, str]:
    started = time.perf_counter()
    optimizer = CROSSINGS[name]
    rows = sweep(
        task,
        task.setup(split(dataset)),
        optimizer,
        task.settings[name],
        seeds=options.search_seeds,
        like=LIKE.get(name, name),
    )
    rate = chosen(rows)[name]
    scores = _final(task, optimizer, dataset, Settings(rate), options.seeds)
    loss = np.asarray(scores.test_x.loss, np.float64)
    return {
        "optimizer": name,
        "learning_rate": f"{rate:g}",
        "train_loss": f"{np.mean(scores.train_x.loss):.4g}",
        "test_loss": f"{loss.mean():.4f}",
        "test_loss_sd": f"{loss.std(ddof=1):.4f}",
        "test_accuracy": f"{np.mean(scores.test_x.accuracy):.4f}",
        "test_loss_held": f"{np.mean(scores.test_y.loss):.4f}",
        "seeds": str(options.seeds),
        "seconds": f"{time.perf_counter() - started:.0f}",
    }


def _final(
    task: Task, optimizer: Optimizer, dataset: Dataset, settings: Settings, seeds: int
) -> PointScores:
    """Scores after training on the whole training set: arrays (seeds,)."""
    setup, found = task.setup(dataset), []
    for seed in range(seeds):
        trainer = task.trainer(setup, optimizer, settings, seed=seed)
        while trainer.epoch <= task.epochs:
            trainer.run_chunk()
            if trainer.step == trainer.steps_per_epoch:
                trainer.next_epoch()
        found.append(to_floats(trainer.evaluator(trainer.state)))
    return jax.tree.map(lambda *scores: np.array(scores), *found)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows([row[name] for name in FIELDS] for row in rows)


if __name__ == "__main__":
    main(tyro.cli(Options))
