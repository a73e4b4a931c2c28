"""Records made up for tests: numbers that are easy to check by hand."""

import dataclasses
from pathlib import Path

from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.records import Epoch, RunRecord
from arsg_optax.demos.tasks.settings import Settings
from scripts.reproduction.experiments.entrants import (
    GRID,
    PUBLISHED,
    RECOMMENDED,
    Entrant,
    Experiment,
    Size,
)
from scripts.reproduction.findings.results import Result
from scripts.reproduction.store import Store

MACHINE = {"device": "cpu", "jax": "0.10"}


def epochs(losses, accuracy=0.9, gain=0.0):
    """Epochs of given minibatch losses; at x the validation is better by `gain`."""
    return tuple(
        Epoch(10 * n, loss, loss, loss, loss, loss - gain, accuracy, accuracy + gain)
        for n, loss in enumerate(losses, start=1)
    )


def result(label, optimizer, runs, **changes):
    """A result of one kind: the epochs of each seed."""
    trial = RunConfig(
        task="digits-mlp",
        optimizer=optimizer,
        preset="none",
        learning_rate=0.1,
        epochs=len(runs[0]),
        batch_size=64,
    )
    records = {
        seed: RunRecord(dataclasses.replace(trial, seed=seed), "finished", run)
        for seed, run in enumerate(runs)
    }
    found = Result(label, PUBLISHED, trial, False, len(runs), records)
    return found._replace(**changes)


def experiment(name="mnist-logreg"):
    """Six methods on the digits, two seeds, a grid of two for two of them.

    Args:
        name: an experiment's, whose claims are judged.
    """
    small, large = Settings(0.002), Settings(0.01)
    grid = {GRID: (small, large)}
    entrants = (
        Entrant("SGD", "sgd", {PUBLISHED: Settings(0.1, {"momentum": 0.9})}),
        Entrant("Adam", "adam", {PUBLISHED: small}, grid),
        Entrant("RSG", "rsg", {PUBLISHED: small}),
        Entrant("ARSG", "arsg", {PUBLISHED: small}, grid),
        Entrant("ARSGB", "arsgb", {PUBLISHED: large}),
        Entrant("AdamW", "adamw", {RECOMMENDED: small}, schedule="cosine"),
    )
    sizes = {
        "full": Size("all of it", 2, 1, searches=True),
        "small": Size("a half", 1, 1, epochs=2, examples=256),
    }
    return Experiment(
        name, "digits-mlp", "a paper, figure 1", entrants, sizes, "a", "b"
    )


# Minibatch losses of epochs, by optimizer and step size.
LOSSES = {
    ("sgd", 0.1): (1.0, 0.9, 0.8, 0.7),
    ("adam", 0.002): (0.9, 0.7, 0.6, 0.5),
    ("adam", 0.01): (0.9, 0.6, 0.5, 0.4),
    ("rsg", 0.002): (0.9, 0.8, 0.7, 0.6),
    ("arsgb", 0.01): (0.7, 0.6, 0.55, 0.45),
    ("arsg", 0.002): (0.6, 0.4, 0.3, 0.2),
    ("arsg", 0.01): (0.7, 0.6, 0.5, 0.45),
    ("adamw", 0.002): (0.8, 0.6, 0.5, 0.35),
}


def fill(store: Store, trials) -> None:
    """Records each trial, its losses a little apart for each seed."""
    for trial in trials:
        # The digits' thirty epochs: what is written, and then no change.
        losses = list(LOSSES[trial.optimizer, trial.learning_rate])
        losses += losses[-1:] * (trial.epochs - len(losses))
        losses = losses[: trial.epochs]
        apart = [loss + 0.01 * trial.seed for loss in losses]
        gain = (0.01 + 0.001 * trial.seed) * (trial.optimizer in ("arsg", "arsgb"))
        found = epochs(apart, accuracy=0.9 - losses[-1] / 10, gain=gain)
        store.keep(RunRecord(trial, "finished", found, 36.0, MACHINE))


def stored(*names: str) -> dict[str, str]:
    """The texts of files in `stored` beside the tests."""
    directory = Path(__file__).parent / "stored"
    return {name: (directory / name).read_text() for name in names}
