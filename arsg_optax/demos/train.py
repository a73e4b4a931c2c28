"""Training with whole epochs under one `jit`: shuffling, steps and evaluation.

The data stay on the device. One compiled function an optimizer does an epoch; the host
only reads the epoch's few numbers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from arsg_optax.demos.data import Dataset
from arsg_optax.demos.optimizers import Held, Params, Points

Forward = Callable[[Params, jax.Array], jax.Array]


class Arrays(NamedTuple):
    """The data on the device: images `[n, height, width]`, labels int32 `[n]`."""

    train_images: jax.Array
    train_labels: jax.Array
    test_images: jax.Array
    test_labels: jax.Array


class TrainState(NamedTuple):
    """What a step changes: what the loop holds of the parameters, and the state."""

    held: Held
    opt_state: optax.OptState


class Scores(NamedTuple):
    """Mean loss (cross entropy, nats) and accuracy (share, 0 to 1) over a set."""

    loss: jax.Array
    accuracy: jax.Array


class EpochScores(NamedTuple):
    """Results of one epoch, scalars on the device.

    Attributes:
        batch_loss: mean of the minibatch losses, each taken before its step.
        train_y: the whole training set at the gradient point y, after the epoch.
        train_x: the same at the optimizer's own evaluation point x.
        test_y: the test set at y.
        test_x: the test set at x.
    """

    batch_loss: jax.Array
    train_y: Scores
    train_x: Scores
    test_y: Scores
    test_x: Scores


def to_device(dataset: Dataset) -> Arrays:
    """Copies a data set's images and labels to the default device."""
    train, test = dataset
    return Arrays(
        *map(jnp.asarray, (train.images, train.labels, test.images, test.labels))
    )


def build(
    make_model: Callable[[nnx.Rngs], nnx.Module], seed: int | jax.Array
) -> tuple[Forward, Params]:
    """Makes a model's pure function and its initial parameters.

    Args:
        make_model: makes the network from its source of random numbers.
        seed: of the initial weights.

    Returns:
        `forward(params, images)`, which gives class scores `[batch, classes]`, and
        the parameters as nested dictionaries.
    """
    graphdef, state = nnx.split(make_model(nnx.Rngs(seed)))

    def forward(params: Params, images: jax.Array) -> jax.Array:
        # A copy, because a merged module may not be shared between traces, and the
        # loss is traced again inside scan and vmap.
        model: Any = nnx.merge(graphdef, params, copy=True)
        return model(images)

    return forward, nnx.to_pure_dict(state)


def init_state(
    optimizer: optax.GradientTransformation, points: Points, params: Params
) -> TrainState:
    """The state before the first step, in buffers of its own.

    Optimizers such as schedule-free or lookahead start from references to the
    parameters; donating those would give one buffer away twice.
    """
    held = points.hold(params)
    state = TrainState(held, optimizer.init(held))
    return jax.tree.map(jnp.copy, state)


def make_epoch(
    forward: Forward,
    optimizer: optax.GradientTransformation,
    points: Points,
    batch_size: int,
) -> Callable[[TrainState, jax.Array, Arrays], tuple[TrainState, EpochScores]]:
    """Makes the pure function of one epoch.

    Args:
        forward: as :func:`build` returns it.
        optimizer: the gradient transformation.
        points: where it takes gradients and where it is evaluated.
        batch_size: images a step; the images that do not fill a last batch are left
            out, others each epoch.

    Returns:
        `epoch(state, key, arrays)`, which gives the next state and the scores. The
        key decides the order of the images. It can be jitted, scanned and vmapped.
    """
    train_steps = make_train_steps(forward, optimizer, points, batch_size)

    def epoch(
        state: TrainState, key: jax.Array, arrays: Arrays
    ) -> tuple[TrainState, EpochScores]:
        state, batch_loss = train_steps(state, key, arrays)
        scores = evaluate(forward, points, state, arrays)
        return state, EpochScores(batch_loss, *scores)

    return epoch


def make_train_steps(
    forward: Forward,
    optimizer: optax.GradientTransformation,
    points: Points,
    batch_size: int,
) -> Callable[[TrainState, jax.Array, Arrays], tuple[TrainState, jax.Array]]:
    """As :func:`make_epoch`, without the evaluation: gives the mean minibatch loss."""

    update = optax.with_extra_args_support(optimizer).update

    def step(arrays: Arrays, state: TrainState, batch: jax.Array):
        images, labels = arrays.train_images[batch], arrays.train_labels[batch]

        def loss_at(params: Params) -> jax.Array:
            return score(forward(params, images), labels).loss

        value, gradients = jax.value_and_grad(loss_at)(
            points.gradient_point(state.held)
        )
        # Policies watch the loss; other optimizers ignore it.
        updates, opt_state = update(gradients, state.opt_state, state.held, value=value)
        return TrainState(optax.apply_updates(state.held, updates), opt_state), value

    def train_steps(state: TrainState, key: jax.Array, arrays: Arrays):
        count = len(arrays.train_labels)
        steps = count // batch_size
        order = jax.random.permutation(key, count)[: steps * batch_size]
        batches = order.reshape(steps, batch_size)
        state, losses = jax.lax.scan(
            lambda state, batch: step(arrays, state, batch), state, batches
        )
        return state, jnp.mean(losses)

    return train_steps


def evaluate(
    forward: Forward, points: Points, state: TrainState, arrays: Arrays
) -> tuple[Scores, Scores, Scores, Scores]:
    """Scores `train_y, train_x, test_y, test_x`; see :class:`EpochScores`."""

    def at(params: Params) -> tuple[Scores, Scores]:
        return (
            score(forward(params, arrays.train_images), arrays.train_labels),
            score(forward(params, arrays.test_images), arrays.test_labels),
        )

    train_y, test_y = at(points.gradient_point(state.held))
    if points.own_point is None:
        return train_y, train_y, test_y, test_y
    train_x, test_x = at(points.own_point(state.opt_state, state.held))
    return train_y, train_x, test_y, test_x


def score(logits: jax.Array, labels: jax.Array) -> Scores:
    """Scores of class scores `[n, classes]` against labels `[n]`, in float32."""
    logits = logits.astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = jnp.argmax(logits, axis=-1) == labels
    return Scores(jnp.mean(losses), jnp.mean(right.astype(jnp.float32)))


def shuffle_key(seed: int | jax.Array, epoch: int | jax.Array) -> jax.Array:
    """Key of an epoch's order, the same for every optimizer of one seed."""
    return jax.random.fold_in(jax.random.key(seed), epoch)


def to_floats(scores: EpochScores) -> EpochScores:
    """The scores as Python floats; waits for the device."""
    return jax.tree.map(lambda value: float(np.asarray(value)), jax.device_get(scores))
