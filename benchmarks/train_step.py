"""What the trainer and its layers cost, against steps in plain JAX.

    python -m benchmarks.train_step --task mnist-cnn
    python -m benchmarks.train_step --task mnist-logreg --epochs 20

Four ways of taking the same steps, in turns within one process: the trainer, with its
data, random numbers and bookkeeping; one jitted function in plain JAX of the same
model on batches that are ready; the same after gathering each batch from all images,
as shuffled data ask for; and the first with XLA's own convolution gradient and JAX's
own derivative of batch normalization. Prints the median time of a step and
ratios. Nothing else may run meanwhile.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from arsg_optax.demos.models.convolution import convolve
from arsg_optax.demos.models.layers import max_pool
from arsg_optax.demos.models.normalization import normalize
from arsg_optax.demos.optimizers import OPTIMIZERS
from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.training.trainer import Trainer

EPSILON = 1e-5
_NUMBERS = ("NHWC", "HWIO", "NHWC")


@dataclass(frozen=True)
class Options:
    """Measure steps of a task."""

    task: str = "mnist-cnn"
    """mnist-cnn or mnist-logreg."""
    optimizer: str = "arsg"
    """Name of the optimizer."""
    rounds: int = 7
    """Turns; the medians are over them."""
    steps: int = 10
    """Steps a turn; one more of each way goes before."""
    epochs: int = 0
    """If above 0, the trainer also runs so many epochs, and their time is printed."""
    data_dir: Path | None = None
    """Directory of data sets (None: ARSG_DATA_DIR or the Hugging Face Hub)."""


class Ops(NamedTuple):
    """What the plain networks are built from."""

    conv: Callable[[jax.Array, jax.Array], jax.Array]
    norm: Callable[..., tuple[jax.Array, jax.Array, jax.Array]]
    pool: Callable[[jax.Array], jax.Array]


def own_conv(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """The demos' convolution."""
    return convolve(images, kernel, (1, 1), "VALID", dimension_numbers=_NUMBERS)


def xla_conv(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's convolution."""
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=_NUMBERS
    )


def derived_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float):
    """Batch normalization as one would write it."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = jnp.mean(x, axes), jnp.var(x, axes)
    factor = scale * jax.lax.rsqrt(variance + epsilon)
    return x * factor + (bias - mean * factor), mean, variance


def window_pool(x: jax.Array) -> jax.Array:
    """XLA's maximum over windows."""
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )


OURS = Ops(own_conv, normalize, lambda x: max_pool(x, (2, 2), (2, 2), "VALID"))
PLAIN = Ops(xla_conv, derived_norm, window_pool)


def cnn(ops: Ops, params: Any, statistics: Any, images: jax.Array):
    """The MNIST network in plain JAX: class scores and next running statistics."""
    found = []

    def norm(x: jax.Array, layer: Any, held: Any) -> jax.Array:
        scale, bias = layer["scale"], layer["bias"]
        x, mean, variance = ops.norm(x, scale, bias, EPSILON)
        pairs = ((held["mean"], mean), (held["var"], variance))
        found.append([0.99 * old + 0.01 * new for old, new in pairs])
        return x

    x = images[..., None]
    for index in range(2):
        layer = params["convolutions"][index]
        x = ops.conv(x, layer["kernel"]) + layer["bias"]
        x = ops.pool(norm(x, params["norms"][index], statistics["norms"][index]))
    x = x.reshape(len(x), -1) @ params["inner"]["kernel"] + params["inner"]["bias"]
    x = jax.nn.relu(norm(x, params["norms"][2], statistics["norms"][2]))
    held = {i: {"mean": mean, "var": var} for i, (mean, var) in enumerate(found)}
    return x @ params["last"]["kernel"] + params["last"]["bias"], {"norms": held}


def logreg(ops: Ops, params: Any, statistics: Any, images: jax.Array):
    """Logistic regression in plain JAX."""
    del ops
    layer = params["linear"]
    x = images.reshape(len(images), -1)
    return x @ layer["kernel"] + layer["bias"], statistics


NETWORKS = {"mnist-cnn": cnn, "mnist-logreg": logreg}


def plain_step(network: Callable[..., Any], optimizer: Any) -> Callable[..., Any]:
    """A jitted step on a batch that is ready."""

    def step(params: Any, state: Any, statistics: Any, images: Any, labels: Any):
        def loss_at(params: Any):
            logits, after = network(params, statistics, images)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), after

        value_and_grad = jax.value_and_grad(loss_at, has_aux=True)
        (loss, after), gradients = value_and_grad(params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, after, loss

    return jax.jit(step, donate_argnums=(0, 1, 2))


def main(options: Options) -> None:
    """Measures and prints."""
    task = find_task(options.task)
    network = NETWORKS[options.task]
    data = task.load(options.data_dir)
    setup = task.setup(data)
    registered = OPTIMIZERS[options.optimizer]
    settings = task.settings[options.optimizer]
    steps = setup.sources.train.steps_per_epoch
    optimizer = task.transform(registered, settings, steps)
    trainer = Trainer(setup.problem, setup.sources, optimizer, registered.points)
    trainer.compile()
    batches = [
        tuple(jnp.asarray(a[i * 256 : (i + 1) * 256]) for a in data.train[:2])
        for i in range(options.steps)
    ]

    def by_trainer() -> float:
        began = time.perf_counter()
        done = 0
        while done < options.steps:
            if trainer.step == trainer.steps_per_epoch:
                trainer.next_epoch()
            room = trainer.step + options.steps - done
            done += len(trainer.run_chunk(min(room, trainer.steps_per_epoch)))
        return (time.perf_counter() - began) / options.steps

    everything = tuple(map(jnp.asarray, data.train[:2]))
    order = np.random.default_rng(0).permutation(len(data.train.labels))
    rows = [order[i * 256 : (i + 1) * 256] for i in range(options.steps)]
    gather = jax.jit(lambda arrays, rows: tuple(array[rows] for array in arrays))

    def by_hand(ops: Ops, gathers: bool = False) -> Callable[[], float]:
        params, statistics = setup.problem.init(0)
        carry = (params, optimizer.init(params), statistics)
        carry = jax.tree.map(jnp.copy, carry)
        step = plain_step(lambda *a: network(ops, *a), optimizer)
        held = [carry]

        def run() -> float:
            began = time.perf_counter()
            carry = held[0]
            ready = (gather(everything, chosen) for chosen in rows)
            for images, labels in ready if gathers else batches:
                *carry, loss = step(*carry, images, labels)
            jax.block_until_ready(loss)
            held[0] = tuple(carry)
            return (time.perf_counter() - began) / options.steps

        return run

    ways = {
        "trainer": by_trainer,
        "plain JAX, the same layers": by_hand(OURS),
        "plain JAX, gathering its batches": by_hand(OURS, gathers=True),
        "plain JAX, XLA's own gradients": by_hand(PLAIN),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(options.rounds + 1):
        for name, way in ways.items():
            seconds = way()
            if round_number:
                times[name].append(seconds)
    report(options, times)
    if options.epochs:
        began = time.perf_counter()
        start = trainer.epoch
        while trainer.epoch < start + options.epochs:
            while trainer.step < trainer.steps_per_epoch:
                trainer.run_chunk()
            trainer.next_epoch()
        print(f"{options.epochs} epochs: {time.perf_counter() - began:.1f} s")


def report(options: Options, times: dict[str, list[float]]) -> None:
    """Prints medians and the trainer's ratio to each, of the same turns."""
    print(f"{options.task}, {options.optimizer}, jax {jax.__version__}, batch 256")
    own = np.array(times["trainer"])
    for name, found in times.items():
        ratio = np.median(own / np.array(found))
        print(
            f"{name:32} {1e3 * np.median(found):9.2f} ms   trainer / this {ratio:.3f}"
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
