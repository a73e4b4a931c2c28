"""Small problems for searches, and the same trainings in a plain loop."""

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


def train(
    optimizer: optax.GradientTransformation,
    params: Any,
    batches: Any,
    steps: int,
    loss: Any = square_loss,
) -> np.ndarray:
    """Losses of a training, batches in their order over and over."""
    update = optax.with_extra_args_support(optimizer).update

    @jax.jit
    def step(params: Any, state: Any, batch: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(params, batch)
        updates, state = update(gradients, state, params, value=value)
        return optax.apply_updates(params, updates), state, value

    state, losses = optimizer.init(params), []
    count = jax.tree.leaves(batches)[0].shape[0]
    for number in range(steps):
        batch = jax.tree.map(lambda array, n=number: array[n % count], batches)
        params, state, value = step(params, state, batch)
        losses.append(float(value))
    return np.array(losses, np.float32)
