"""Losses small enough for dense Hessians and covariances."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from tests.tuning.networks import normal

BATCHES, BATCH = 5, 16


class Problem(NamedTuple):
    loss: Callable[[Any, Any], jax.Array]
    params: Any
    batches: Any


class Dense(NamedTuple):
    """In float64, of the coordinates D^(1/2) params."""

    hessian: np.ndarray
    gradients: np.ndarray  # (batches, size)

    @property
    def mean(self) -> np.ndarray:
        return np.mean(self.gradients, axis=0)

    @property
    def covariance(self) -> np.ndarray:
        return np.cov(self.gradients, rowvar=False)


def logistic_regression() -> Problem:
    def loss(params, batch):
        x, sign = batch
        return jnp.mean(jax.nn.softplus(-sign * (x @ params["w"] + params["b"])))

    params = {"b": jnp.float32(0.3), "w": normal(0, 8)}
    x = normal(1, BATCHES, BATCH, 8) * jnp.geomspace(0.5, 2, 8)[None, None]
    return Problem(loss, params, (x, jnp.sign(normal(2, BATCHES, BATCH))))


def tanh_network() -> Problem:
    def loss(params, batch):
        x, y = batch
        hidden = jnp.tanh(x @ params["in"] + params["bias"][None])
        return jnp.mean((hidden @ params["out"] - y) ** 2)

    params = {"bias": normal(3, 5), "in": normal(4, 3, 5), "out": normal(5, 5)}
    x = normal(6, BATCHES, BATCH, 3)
    return Problem(loss, params, (x, jnp.sin(3 * x[..., 0])))


def quadratic(curvatures, noise, params=None) -> Problem:
    """Gradients are curvatures * params plus one row of the noise."""
    diagonal = jnp.asarray(curvatures, jnp.float32)

    def loss(params, batch):
        return jnp.sum(diagonal.astype(params.dtype) * params**2) / 2 + jnp.dot(
            batch.astype(params.dtype), params
        )

    params = jnp.ones(diagonal.shape) if params is None else params
    return Problem(loss, params, jnp.asarray(noise, jnp.float32))


def dense(problem: Problem, preconditioner: Any = None) -> Dense:
    names = [name for name, known in PROBLEMS.items() if known is problem]
    hessian, gradients = _of(names[0]) if names else _derivatives(problem)
    scale = np.ones(len(hessian))
    if preconditioner is not None:
        scale = np.asarray(ravel_pytree(preconditioner)[0], float) ** -0.5
    return Dense(scale[:, None] * hessian * scale, gradients * scale)


@functools.cache
def _of(name: str) -> tuple[np.ndarray, np.ndarray]:
    return _derivatives(PROBLEMS[name])


def _derivatives(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The Hessian of the mean loss, and the gradient of each batch's."""
    flat, unravel = ravel_pytree(problem.params)

    @jax.jit
    def gradient(flat, batch):
        return jax.grad(lambda flat: problem.loss(unravel(flat), batch))(flat)

    @jax.jit
    def row(flat, batch, index):
        return jax.grad(lambda flat: gradient(flat, batch)[index])(flat)

    n = len(jax.tree.leaves(problem.batches)[0])
    batches = [jax.tree.map(lambda x, i=i: x[i], problem.batches) for i in range(n)]
    rows = [[row(flat, batch, i) for i in range(flat.size)] for batch in batches]
    hessian = np.mean(np.array(rows, float), axis=0)
    return hessian, np.array([gradient(flat, batch) for batch in batches], float)


def divisors(params: Any) -> Any:
    """Positive and far from 1, so that a wrong power would show."""
    return jax.tree.map(lambda x: 0.05 + jnp.abs(jnp.sin(37.0 * x)), params)


PROBLEMS = {"logistic": logistic_regression(), "network": tanh_network()}
