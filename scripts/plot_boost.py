"""Draws where the automatic observation boost fires on three real loss curves.

    python -m scripts.plot_boost --out docs/images/boost.png

ARSGB with its default rule: digits (MLP, 200 epochs), MNIST logistic regression (20
epochs), and a convolutional network on the first 10,000 images of MNIST; the first two
beside the same optimizer without a boost. Prints the step chosen and the last losses as
a table. Curves are kept, so that a second call only draws; the convolutional network
takes five minutes on two cores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import arsg_optax
from arsg_optax.demos.tasks import TASKS
from arsg_optax.demos.training.problems import Problem as Network
from arsg_optax.demos.training.sources import shuffle_key

CNN_IMAGES = 10_000
WINDOW = 300  # The rule's, and that of the smoothed curves.


@dataclass(frozen=True)
class Options:
    """Draw the automatic boost on three loss curves."""

    out: Path = Path("docs/images/boost.png")
    """The picture."""
    data_dir: Path | None = None
    """Directory of data sets (None: ARSG_DATA_DIR or the Hugging Face Hub)."""
    curves: Path = Path("runs/boost")
    """Folder in which the curves are kept."""
    cnn_epochs: int = 40
    """Epochs of the convolutional network, 39 steps each."""


class Curve(NamedTuple):
    """One training: each step's minibatch loss, and how many boosts came before it."""

    losses: np.ndarray
    boosts: np.ndarray

    def fired(self) -> int | None:
        """The first boosted step, counted from 0."""
        steps = np.flatnonzero(self.boosts)
        return int(steps[0]) if steps.size else None


class Problem(NamedTuple):
    title: str
    network: Network
    images: jax.Array
    labels: jax.Array
    learning_rate: float
    batch_size: int
    epochs: int
    # XLA:CPU runs a convolution inside a compiled loop several times slower.
    scans: bool = True


def problems(options: Options) -> Iterator[Problem]:
    """The three, with step sizes of the tasks' documented settings."""
    for name, epochs, count in (
        ("digits-mlp", 200, None),
        ("mnist-logreg", 20, None),
        ("mnist-cnn", options.cnn_epochs, CNN_IMAGES),
    ):
        task = TASKS[name]
        data = task.load(options.data_dir)
        data = data if count is None else task.kind.first(data, count)
        images = "" if count is None else f" {count:,} images,"
        yield Problem(
            f"{name},{images} {epochs} epochs",
            task.setup(data).problem,
            jnp.asarray(data.train.images),
            jnp.asarray(data.train.labels),
            task.settings["arsgb"].learning_rate,
            task.batch_size,
            epochs,
            scans=count is None,
        )


def run(problem: Problem, boost: bool) -> Curve:
    """Trains ARSGB, or ARSG at ARSGB's start."""
    rate = problem.learning_rate
    optimizer = (
        arsg_optax.arsgb(rate, window=WINDOW)
        if boost
        else arsg_optax.arsg(rate, observation=0.05)
    )
    update = optax.with_extra_args_support(optimizer).update

    def step(carry: Any, batch: Any):
        (params, model_state), state = carry
        batch = problem.images[batch], problem.labels[batch]
        value_and_grad = jax.value_and_grad(problem.network.loss, has_aux=True)
        (loss, model_state), gradient = value_and_grad(
            params, model_state, batch, jax.random.key(0)
        )
        done = arsg_optax.metrics(state).get("boosts", jnp.int32(0))
        updates, state = update(gradient, state, params, value=loss)
        params = optax.apply_updates(params, updates)
        return ((params, model_state), state), (loss, done)

    start = problem.network.init(0)
    carry = start, optimizer.init(start[0])
    batches = _batches(problem)
    if problem.scans:
        _, found = jax.jit(lambda c, b: jax.lax.scan(step, c, b))(carry, batches)
    else:
        compiled, rows = jax.jit(step), []
        for batch in batches:
            carry, row = compiled(carry, batch)
            rows.append(row)
        found = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    return Curve(*map(np.asarray, found))


def kept(problem: Problem, boost: bool, folder: Path) -> Curve:
    """The curve of an earlier call, or a new one."""
    words = "".join(c if c.isalnum() else "-" for c in problem.title)
    path = folder / f"{words}-{'boosted' if boost else 'plain'}.npz"
    if path.exists():
        with np.load(path) as found:
            return Curve(found["losses"], found["boosts"])
    curve = run(problem, boost)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, losses=curve.losses, boosts=curve.boosts)
    return curve


def _batches(problem: Problem) -> jax.Array:
    count = len(problem.labels)
    steps = count // problem.batch_size
    orders = [
        jax.random.permutation(shuffle_key(0, epoch), count)
        for epoch in range(1, problem.epochs + 1)
    ]
    used = [order[: steps * problem.batch_size] for order in orders]
    return jnp.concatenate(used).reshape(-1, problem.batch_size)


def smoothed(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps and means of a sliding third of a window."""
    width = WINDOW // 3
    sums = np.cumsum(np.concatenate([[0.0], losses.astype(np.float64)]))
    return np.arange(width, len(losses) + 1), (sums[width:] - sums[:-width]) / width


def draw(axes: Any, problem: Problem, boosted: Curve, plain: Curve | None) -> None:
    """One panel."""
    axes.plot(boosted.losses, color="#D55E00", alpha=0.15, linewidth=0.5)
    if plain is not None:
        axes.plot(*smoothed(plain.losses), color="#666666", label="without boost")
    axes.plot(*smoothed(boosted.losses), color="#D55E00", label="ARSGB, automatic")
    fired = boosted.fired()
    if fired is not None:
        axes.axvline(
            fired, color="#0072B2", linestyle="--", label=f"boost at step {fired:,}"
        )
    axes.set(title=problem.title, xlabel="step", yscale="log")
    curves = [curve for curve in (boosted, plain) if curve is not None]
    means = np.concatenate([smoothed(curve.losses)[1] for curve in curves])
    axes.set_ylim(means.min() / 2, 3 * means.max())
    axes.legend(fontsize="small", loc="upper right")


def main(options: Options) -> None:
    """Trains, prints and draws."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    panels = figure.subplots(1, 3)
    print(
        "| task | steps | boost at | loss of the last 300 steps, boosted | without |\n"
        "|---|---|---|---|---|"
    )
    for axes, problem in zip(panels, problems(options), strict=True):
        boosted = kept(problem, True, options.curves)
        plain = kept(problem, False, options.curves) if problem.scans else None
        draw(axes, problem, boosted, plain)
        last = [
            "-" if curve is None else f"{curve.losses[-WINDOW:].mean():.4g}"
            for curve in (boosted, plain)
        ]
        print(
            f"| {problem.title} | {len(boosted.losses)} | {boosted.fired()} | "
            f"{last[0]} | {last[1]} |",
            flush=True,
        )
    panels[0].set_ylabel("minibatch loss")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=120)
    print(options.out)


if __name__ == "__main__":
    main(tyro.cli(Options))
