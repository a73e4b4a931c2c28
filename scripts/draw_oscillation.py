"""Draws how a few weights oscillate in training, as the AdaRem paper's first figure.

    python -m scripts.draw_oscillation --output docs/images/oscillation.png

Trains MNIST's logistic regression (or the digits' MLP, which needs no data: `--task
digits-mlp`) with SGD with momentum and with AdaRem from the same start on the same
batches. As in the paper
both have one learning rate, and SGD a momentum of 0.9; the rate is the paper's 0.4 at a
batch of 1024, scaled to the task's batch. Draws four weights of the last matrix and
prints each one's q, the length of its path over its displacement, and the median and
the mean Q over all parameters. The weights are those that come nearest to the 20th,
40th, 60th and 80th percentile of the matrix's displacements under SGD with momentum: a
rule, since a choice by eye could show anything.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from arsg_optax import adarem, track_oscillation
from arsg_optax.demos.errors import DataError, UsageError
from arsg_optax.demos.tasks import Setup, Task, find_task
from arsg_optax.demos.training.sources import shuffle_key

_COLOURS = {"SGD with momentum": "#0072B2", "AdaRem": "#D55E00"}
_PERCENTILES = (20, 40, 60, 80)


@dataclass(frozen=True)
class Options:
    """Draw the oscillation of a few weights under SGD with momentum and AdaRem."""

    output: Path = Path("docs/images/oscillation.png")
    """The picture."""
    task: str = "mnist-logreg"
    """Name of the task: mnist-logreg, or digits-mlp, which needs no data."""
    epochs: int = 3
    """Epochs of training; all their steps are shown."""
    data_dir: Path | None = None
    """Directory of data sets (None: ARSG_DATA_DIR or the Hugging Face Hub)."""


class Training(NamedTuple):
    """What one optimizer did.

    Attributes:
        weights: of the last matrix, flat, the start first: shape (steps + 1, size).
        ratios: q of each of them, shape (size,).
        median: of q over all parameters of the network that moved.
        mean: likewise, AdaRem's Q.
        loss: mean of the minibatch losses of the last epoch.
    """

    weights: np.ndarray
    ratios: np.ndarray
    median: float
    mean: float
    loss: float


def learning_rate(task: Task) -> float:
    """The paper's, which is for a batch of 1024, scaled to the task's batch."""
    return 0.4 * task.batch_size / 1024


def optimizers(task: Task) -> dict[str, optax.GradientTransformation]:
    """Both, by name."""
    rate = learning_rate(task)
    return {"SGD with momentum": optax.sgd(rate, 0.9), "AdaRem": adarem(rate)}


def train(
    task: Task,
    setup: Setup,
    data: Any,
    optimizer: optax.GradientTransformation,
    epochs: int,
) -> Training:
    """Trains from seed 0."""
    images, labels = jnp.asarray(data.train.images), jnp.asarray(data.train.labels)
    steps = len(labels) // task.batch_size
    optimizer = optax.chain(optimizer, track_oscillation())

    def step(carry: Any, batch: jax.Array):
        (params, model_state), state = carry
        value_and_grad = jax.value_and_grad(setup.problem.loss, has_aux=True)
        (loss, model_state), gradient = value_and_grad(
            params, model_state, (images[batch], labels[batch]), jax.random.key(0)
        )
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return ((params, model_state), state), (loss, _last_matrix(params))

    start = setup.problem.init(0)
    run = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows))
    (_, state), (losses, weights) = run(
        (start, optimizer.init(start[0])), _batches(task, len(labels), epochs)
    )
    tracker = state[-1]
    ratios = tracker.oscillation_by_parameter()
    moved = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(ratios)])
    return Training(
        np.concatenate([_last_matrix(start[0])[None], weights]),
        np.asarray(_last_matrix(ratios)),
        float(np.median(moved[moved > 0])),
        float(tracker.oscillation()),
        float(np.mean(losses[-steps:])),
    )


def _batches(task: Task, examples: int, epochs: int) -> jax.Array:
    """Indices of the examples of every step, shape (steps, batch size)."""
    orders = [
        jax.random.permutation(shuffle_key(0, epoch), examples)
        for epoch in range(1, epochs + 1)
    ]
    steps = examples // task.batch_size
    rows = jnp.stack(orders)[:, : steps * task.batch_size]
    return rows.reshape(-1, task.batch_size)


def _last_matrix(tree: Any) -> jax.Array:
    """Flat; of a network's parameters or a tree like them."""
    return [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim == 2][-1].ravel()


def choose(training: Training) -> list[int]:
    """Indices of the weights that are shown."""
    displacements = np.abs(training.weights[-1] - training.weights[0])
    wanted = np.percentile(displacements[displacements > 0], _PERCENTILES)
    return [int(np.argmin(np.abs(displacements - value))) for value in wanted]


def draw(trainings: dict[str, Training], chosen: list[int], title: str) -> Any:
    """A panel a weight, both optimizers in each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.8), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).ravel()
    for axes, index, percentile in zip(panels, chosen, _PERCENTILES, strict=True):
        for name, training in trainings.items():
            path = training.weights[:, index]
            label = f"{name}, q = {training.ratios[index]:.3g}"
            axes.plot(path - path[0], color=_COLOURS[name], linewidth=1, label=label)
        axes.set_title(f"weight {index}, {percentile}th percentile", fontsize=10)
        axes.margins(y=0.25)
        axes.grid(linewidth=0.4, alpha=0.5)
        axes.legend(fontsize=9, loc="best")
    for axes in panels[2:]:
        axes.set_xlabel("step")
    figure.supylabel("change since the start", fontsize=10)
    figure.suptitle(title, fontsize=11)
    return figure


def load(options: Options) -> tuple[Task, Any]:
    """The task and its data; ends the program where they cannot be had."""
    try:
        task = find_task(options.task)
        return task, task.load(options.data_dir)
    except (DataError, UsageError) as error:
        raise SystemExit(f"{error}\nWithout data: --task digits-mlp") from error


def main(options: Options) -> None:
    """Trains, prints and draws."""
    task, data = load(options)
    setup = task.setup(data)
    trainings = {
        name: train(task, setup, data, optimizer, options.epochs)
        for name, optimizer in optimizers(task).items()
    }
    chosen = choose(trainings["SGD with momentum"])
    heads = " | ".join(f"q, weight {index}" for index in chosen)
    print(f"| {task.name} | {heads} | median q | Q | last loss |")
    print("|---" * (len(chosen) + 4) + "|")
    for name, training in trainings.items():
        cells = " | ".join(f"{training.ratios[index]:.3g}" for index in chosen)
        print(
            f"| {name} | {cells} | {training.median:.3g} | {training.mean:.3g} | "
            f"{training.loss:.3g} |"
        )
    rate = f"learning rate {learning_rate(task):g}"
    medians = ", ".join(f"{name} {t.median:.3g}" for name, t in trainings.items())
    title = f"{task.name}, {options.epochs} epochs, {rate}\nmedian q: {medians}"
    figure = draw(trainings, chosen, title)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=120)
    print(options.output)


if __name__ == "__main__":
    main(tyro.cli(Options))
