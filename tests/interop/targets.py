"""Losses with a known minimum, for the convergence of every optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Target(NamedTuple):
    start: Any
    minimum: Any
    loss: Callable[[Any], jax.Array]


def _squares(start: Any, minimum: Any) -> Target:
    def loss(params):
        squares = jax.tree.map(lambda p, q: jnp.sum((p - q) ** 2), params, minimum)
        return sum(jax.tree.leaves(squares), jnp.zeros(()))

    return Target(start, minimum, loss)


def _rosenbrock() -> Target:
    def loss(params):
        return (1 - params[0]) ** 2 + 100 * (params[1] - params[0] ** 2) ** 2

    return Target(jnp.zeros(2), jnp.ones(2), loss)


def _direction(start: Any, minimum: Any) -> Target:
    """The angle of a matrix to another of the same norm; vectors as ever."""

    def angle(p, q):
        if p.ndim < 2:
            return jnp.sum((p - q) ** 2)
        lengths = jnp.sqrt(jnp.sum(p**2)) * jnp.sqrt(jnp.sum(q**2))
        return 1 - jnp.sum(p * q) / lengths

    def loss(params):
        return sum(jax.tree.leaves(jax.tree.map(angle, params, minimum)), jnp.zeros(()))

    return Target(start, minimum, loss)


# The last coordinate of the parabola starts at its minimum: its gradient stays 0.
TARGETS = {
    "parabola": _squares(jnp.array([-1.0, 10.0, 1.0]), jnp.array([1.0, -1.0, 1.0])),
    "rosenbrock": _rosenbrock(),
    "matrix": _squares(jnp.zeros((2, 2)), jnp.array([[3.0, -2.0], [1.0, 4.0]])),
    # Matrices of norm 4: what keeps the norm or has this radius can reach them.
    "direction": _direction(
        jnp.array([[4.0, 0.0], [0.0, 0.0]]), jnp.array([[-2.0, 2.0], [2.0, 2.0]])
    ),
    "half": _direction(
        (jnp.zeros(3), jnp.array([[0.0, 4.0]])),
        (jnp.array([1.0, -1.0, 2.0]), jnp.array([[3.2, -2.4]])),
    ),
    "mixed": _squares(
        (jnp.zeros(3), jnp.zeros((2, 2))),
        (jnp.array([1.0, -1.0, 2.0]), jnp.array([[1.0, 0.0], [-1.0, 1.0]])),
    ),
}
