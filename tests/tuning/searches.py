"""Small problems for searches, and the same trainings one by one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

TARGET = np.array([1.0, -2.0, 3.0, 0.5], np.float32)


def regression(count: int = 8, size: int = 16) -> Any:
    """Batches of linear regression with noise: x [count, size, 4], y [count, size]."""
    random = np.random.default_rng(0)
    x = random.normal(size=(count, size, 4)).astype(np.float32)
    noise = random.normal(size=(count, size)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(x @ TARGET + 0.1 * noise)


def square_loss(params: Any, batch: Any) -> jax.Array:
    """Mean square of a linear model's error."""
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def start(seed: int = 0) -> Any:
    """Random parameters of the linear model."""
    random = np.random.default_rng(seed)
    w = random.normal(size=4).astype(np.float32)
    return {"b": jnp.float32(0.0), "w": jnp.asarray(w)}


def losses_of(
    optimizer: optax.GradientTransformation,
    params: Any,
    batches: Any,
    steps: int,
    loss: Any = square_loss,
) -> jax.Array:
    """Losses of a training, batches in their order over and over; to be compiled."""
    update = optax.with_extra_args_support(optimizer).update
    count = jax.tree.leaves(batches)[0].shape[0]

    def step(carry: Any, number: jax.Array) -> Any:
        params, state = carry
        batch = jax.tree.map(lambda array: array[number % count], batches)
        value, gradients = jax.value_and_grad(loss)(params, batch)
        updates, state = update(gradients, state, params, value=value)
        return (optax.apply_updates(params, updates), state), value

    start = params, optimizer.init(params)
    return jax.lax.scan(step, start, jnp.arange(steps, dtype=jnp.int32))[1]


def train(
    optimizer: optax.GradientTransformation,
    params: Any,
    batches: Any,
    steps: int,
    loss: Any = square_loss,
) -> np.ndarray:
    """The same, compiled and run."""

    @jax.jit
    def run(params: Any, batches: Any) -> jax.Array:
        return losses_of(optimizer, params, batches, steps, loss)

    return np.asarray(run(params, batches), np.float32)
