"""A smooth function with many minima, on which ARSG is run as its Theorem 2 says."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import arsg_optax
from arsg_optax.dynamics import schedules, stationarity
from tests.dynamics import online

DIMENSION = 4
NOISE = 0.1
EPS = 1.0
STEP_SIZE = 0.7
B1, OBSERVATION = 0.5, 0.5
HORIZONS = (64, 1024, 16_384)
RUNS = 16

# f(x) = sum_i c_i h(z_i), z = Q x, h(z) = sqrt(1 + z²) + 0.3 cos 2z: |h'| <= 1.6,
# |h''| <= 2.2, and h''(0) < 0, so that there are two minima a coordinate.
_RNG = np.random.default_rng(0)
ROTATION = np.linalg.qr(_RNG.normal(size=(DIMENSION, DIMENSION)))[0]
WEIGHTS = np.linspace(0.5, 1, DIMENSION)
START = ROTATION.T @ np.linspace(2, 4, DIMENSION)


def _profile(z):
    return jnp.sqrt(1 + jnp.square(z)) + 0.3 * jnp.cos(2 * z)


def _loss(x):
    return jnp.sum(jnp.asarray(WEIGHTS) * _profile(jnp.asarray(ROTATION) @ x))


def constants() -> dict[str, Any]:
    """The theorem's constants of this function."""
    lowest = jnp.min(_profile(jnp.linspace(-3, 3, 60_001)))
    gap = _loss(jnp.asarray(START)) - np.sum(WEIGHTS) * lowest
    steepest = 1.6 * np.linalg.norm(WEIGHTS) + NOISE * DIMENSION**0.5
    return dict(
        b1=B1,
        observation=OBSERVATION,
        smoothness=2.2 * float(np.max(WEIGHTS)),
        gradient_l2=float(steepest),
        gap=float(gap),
    )


class Outcome(NamedTuple):
    """What is known after the runs."""

    smallest: float  # min over t of the mean over runs of |grad f|².
    largest_root: float  # √v̂ of all runs.


def run(horizon: int, broken: bool = False) -> Outcome:
    """ARSG over a horizon, from one start; `broken` ascends."""
    found = schedules.arsg_theorem2_schedules(
        STEP_SIZE, horizon, b1=B1, observation=OBSERVATION
    )
    optimizer: Any = arsg_optax.arsg(**found._asdict(), eps=EPS)
    if broken:
        optimizer = online.ascending(optimizer)

    def turn(carry, key):
        x, state = carry
        gradient = jax.vmap(jax.grad(_loss))(x)
        noise = NOISE * jax.random.uniform(key, x.shape, x.dtype, -1, 1)
        updates, state = optimizer.update(gradient + noise, state, x)
        squares = jnp.sum(jnp.square(gradient), axis=1)
        return (optax.apply_updates(x, updates), state), jnp.mean(squares)

    @jax.jit
    def outcome(keys):
        # One array of all runs: the preconditioner is elementwise.
        start = jnp.broadcast_to(jnp.asarray(START), (RUNS, DIMENSION))
        return jax.lax.scan(turn, (start, optimizer.init(start)), keys)

    (_, state), squares = outcome(jax.random.split(jax.random.key(horizon), horizon))
    root = jnp.sqrt(jnp.max(optax.tree.get(state, "nu_max")))
    return Outcome(float(jnp.min(squares)), float(root))


def _bound(horizon, coefficients):
    return stationarity.arsg_theorem2_bound(
        horizon, coefficients, step_size=STEP_SIZE, eps=EPS, dimension=DIMENSION
    )


def bounds(horizon, largest_root):
    """With the run's own root, with G₂ instead, and with the paper's coefficients."""
    found = constants()
    derived = stationarity.arsg_theorem2_derived_coefficients
    return (
        _bound(horizon, derived(**found, largest_root=largest_root)),
        _bound(horizon, derived(**found)),
        _bound(horizon, stationarity.arsg_theorem2_coefficients(**found)),
    )
