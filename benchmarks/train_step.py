"""What the trainer costs, against steps in plain JAX.

    python -m benchmarks.train_step --task mnist-cnn
    python -m benchmarks.train_step --task mnist-logreg --epochs 20
    python -m benchmarks.train_step --task python-transformer --preset small

Ways of taking the same steps, in turns within one process: the trainer, with its
data, random numbers and bookkeeping; one jitted function in plain JAX of the same
model on batches that are ready; and the same after gathering each batch from all
images, as shuffled data ask for. The CNN also with Flax's pooling. A transformer by the
trainer, with the optimizer and with AdamW, beside a loop in plain Flax NNX with Optax's
AdamW. Prints the median time of a step and ratios. Nothing else may run meanwhile.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx

from arsg_optax.demos.byte_text import sample_windows
from arsg_optax.demos.models.layers import max_pool
from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.material import load
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.demos.training.trainer import Trainer

BATCH = 256
EPSILON = 1e-5
_NUMBERS = ("NHWC", "HWIO", "NHWC")


@dataclass(frozen=True)
class Options:
    """Measure steps of a task."""

    task: str = "mnist-cnn"
    """mnist-cnn, mnist-logreg, or a transformer on bytes."""
    preset: str | None = None
    """Of a transformer (None: the first)."""
    batch_size: int | None = None
    """Of a transformer (None: the preset's)."""
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


def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution without padding."""
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=_NUMBERS
    )


def normalize(x: jax.Array, scale: jax.Array, bias: jax.Array):
    """Batch normalization, and the batch's statistics."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = jnp.mean(x, axes), jnp.var(x, axes)
    factor = scale * jax.lax.rsqrt(variance + EPSILON)
    return x * factor + (bias - mean * factor), mean, variance


def cnn(params: Any, statistics: Any, images: jax.Array, pool: Any = max_pool):
    """The MNIST network in plain JAX: class scores and next running statistics."""
    found = []

    def norm(x: jax.Array, layer: Any, held: Any) -> jax.Array:
        scale, bias = layer["scale"], layer["bias"]
        x, mean, variance = normalize(x, scale, bias)
        pairs = ((held["mean"], mean), (held["var"], variance))
        found.append([0.99 * old + 0.01 * new for old, new in pairs])
        return x

    x = images[..., None]
    for index in range(2):
        layer = params["convolutions"][index]
        x = convolve(x, layer["kernel"]) + layer["bias"]
        x = norm(x, params["norms"][index], statistics["norms"][index])
        x = pool(x, (2, 2), (2, 2), "VALID")
    x = x.reshape(len(x), -1) @ params["inner"]["kernel"] + params["inner"]["bias"]
    x = jax.nn.relu(norm(x, params["norms"][2], statistics["norms"][2]))
    held = {i: {"mean": mean, "var": var} for i, (mean, var) in enumerate(found)}
    return x @ params["last"]["kernel"] + params["last"]["bias"], {"norms": held}


def logreg(params: Any, statistics: Any, images: jax.Array):
    """Logistic regression in plain JAX."""
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


def by_trainer(trainer: Trainer, steps: int) -> Callable[[], float]:
    """Takes steps by the trainer; gives seconds a step."""

    def run() -> float:
        began = time.perf_counter()
        done = 0
        while done < steps:
            if trainer.step == trainer.steps_per_epoch:
                trainer.next_epoch()
            last = min(trainer.step + steps - done, trainer.steps_per_epoch)
            done += len(trainer.run_chunk(last))
        return (time.perf_counter() - began) / steps

    return run


def by_hand(
    step: Callable[..., Any], start: Any, batches: Callable[[], Iterable[Any]]
) -> Callable[[], float]:
    """Takes a step on each of the batches; gives seconds a step."""
    held = [jax.tree.map(jnp.copy, start)]

    def run() -> float:
        began, count, loss = time.perf_counter(), 0, None
        carry = held[0]
        for images, labels in batches():
            *carry, loss = step(*carry, images, labels)
            count += 1
        jax.block_until_ready(loss)
        held[0] = tuple(carry)
        return (time.perf_counter() - began) / count

    return run


def make_ways(options: Options) -> tuple[Trainer, dict[str, Callable[[], float]]]:
    """The trainer, compiled, and all ways of taking steps, by name."""
    task, network = find_task(options.task), NETWORKS[options.task]
    data = task.data(options.data_dir)
    setup = task.setup(data)
    registered, settings = OPTIMIZERS[options.optimizer], task.settings
    settings = settings[options.optimizer]
    trainer = task.trainer(setup, registered, settings, seed=0)
    trainer.compile()
    steps = trainer.steps_per_epoch
    optimizer = task.transform(registered, settings, steps)
    params, statistics = setup.problem.init(0)
    start = (params, optimizer.init(params), statistics)

    arrays = tuple(map(jnp.asarray, data.train[:2]))
    order = np.random.default_rng(0).permutation(len(data.train.labels))
    rows = order[: options.steps * BATCH].reshape(-1, BATCH)
    gather = jax.jit(lambda arrays, rows: tuple(array[rows] for array in arrays))
    ready = [gather(arrays, chosen) for chosen in rows]

    def hand(
        batches: Callable[[], Iterable[Any]], network: Callable[..., Any] = network
    ) -> Callable[[], float]:
        return by_hand(plain_step(network, optimizer), start, batches)

    ways = {
        "trainer": by_trainer(trainer, options.steps),
        "plain JAX": hand(lambda: ready),
        "plain JAX, gathering its batches": hand(
            lambda: (gather(arrays, chosen) for chosen in rows)
        ),
    }
    if network is cnn:
        windows = partial(cnn, pool=nnx.max_pool)
        ways["plain JAX, nnx.max_pool"] = hand(lambda: ready, windows)
    return trainer, ways


def transformer_ways(
    options: Options,
) -> tuple[Trainer, dict[str, Callable[[], float]]]:
    """The trainer with two optimizers, and a loop in plain NNX with AdamW."""
    config = RunConfig(
        task=options.task, preset=options.preset, batch_size=options.batch_size
    )
    material = load(config, options.data_dir)
    task, setup = material.task, material.setup
    settings = task.preset(options.preset)

    def trainer(name: str) -> Trainer:
        made = task.trainer(setup, OPTIMIZERS[name], settings[name], seed=0)
        made.compile()
        return made

    trainers = {name: trainer(name) for name in (options.optimizer, "adamw")}
    steps = setup.sources.train.steps_per_epoch
    transform = task.transform(OPTIMIZERS["adamw"], settings["adamw"], steps)
    ways = {
        f"trainer, {name}": by_trainer(each, options.steps)
        for name, each in trainers.items()
    }
    kind: Any = task.kind
    text, shape = jnp.asarray(material.data.train), (task.batch_size, kind.length)
    keys = jax.random.split(jax.random.key(0), options.steps)
    windows = [sample_windows(key, text, *shape) for key in keys]
    model = task.make_model(rngs=nnx.Rngs(0))
    ways["plain NNX, adamw"] = by_nnx(model, transform, windows)
    return trainers[options.optimizer], ways


def by_nnx(
    model: nnx.Module, transform: optax.GradientTransformation, windows: Sequence[Any]
) -> Callable[[], float]:
    """Takes a step on each of the windows, as most programs do; seconds a step."""
    optimizer = nnx.Optimizer(model, transform, wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, inputs: jax.Array, labels: jax.Array):
        def loss_fn(model: Any) -> jax.Array:
            losses = optax.softmax_cross_entropy_with_integer_labels(
                model(inputs), labels
            )
            return losses.mean()

        loss, gradients = nnx.value_and_grad(loss_fn)(model)
        optimizer.update(model, gradients)
        return loss

    def run() -> float:
        began, loss = time.perf_counter(), None
        for inputs, labels in windows:
            loss = step(model, optimizer, inputs, labels)
        jax.block_until_ready(loss)
        return (time.perf_counter() - began) / len(windows)

    return run


def main(options: Options) -> None:
    """Measures and prints."""
    make = make_ways if options.task in NETWORKS else transformer_ways
    trainer, ways = make(options)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for name, way in ways.items():
            seconds = way()
            if turn:  # The first is for compilation.
                times[name].append(seconds)
    report(options, times)
    if options.epochs:
        count = options.epochs * trainer.steps_per_epoch
        seconds = by_trainer(trainer, count)() * count
        print(f"{options.epochs} epochs: {seconds:.1f} s")


def report(options: Options, times: dict[str, list[float]]) -> None:
    """Prints medians and the trainer's ratio to each, of the same turns."""
    print(f"{options.task}, {options.optimizer}, jax {jax.__version__}")
    own = np.array(next(iter(times.values())))
    for name, found in times.items():
        ratio = np.median(own / np.array(found))
        print(f"{name:32} {1e3 * np.median(found):9.2f} ms   first / this {ratio:.3f}")


if __name__ == "__main__":
    main(tyro.cli(Options))
