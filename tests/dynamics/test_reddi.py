"""The counterexample of Reddi et al. 2018, where Adam goes to the wrong end."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.dynamics import schedules

pytestmark = pytest.mark.usefixtures("x64")


def _end(optimizer, slopes):
    """Mean parameter in [-1, 1] over the last tenth of the rounds, from 0."""

    def turn(carry, slope):
        x, state = carry
        updates, state = optimizer.update(slope, state, x)
        moved: Any = optax.apply_updates(x, updates)
        return (optax.projections.projection_box(moved, -1.0, 1.0), state), x

    @jax.jit
    def run(slopes):
        start = jnp.zeros([], slopes.dtype)
        return jax.lax.scan(turn, (start, optimizer.init(start)), slopes)[1]

    path = np.asarray(run(jnp.asarray(slopes)))
    return np.mean(path[-len(path) // 10 :])


def _rounds_of_reddi(kind):
    """Slopes whose sum is positive, so that -1 is best, though most are negative."""
    t = np.arange(1, 300_001)
    if kind == "period 3":
        return np.where(t % 3 == 1, 4.0, -1.0)
    if kind == "period 101":
        return np.where(t % 101 == 1, 1010.0, -10.0)
    rare = np.random.default_rng(0).uniform(size=t.size) < 0.01
    return np.where(rare, 1010.0, -10.0)


@pytest.mark.parametrize(
    ("kind", "step_size", "b1", "b2"),
    [
        ("period 3", 0.5, 0.0, 1 / 17),  # Their Theorem 1 with C = 4.
        ("period 101", 0.5, 0.9, 0.99),  # Their experiments.
        ("random", 2.0, 0.9, 0.99),
    ],
)
@pytest.mark.usefixtures("relaxed_promotion")
def test_reddis_counterexample(kind, step_size, b1, b2):
    """Adam goes to the wrong end, ARSG and NAMSG to the right one."""
    slopes = _rounds_of_reddi(kind)
    ours = schedules.namsg_corollary1_schedules(step_size)
    rate = ours.learning_rate
    assert _end(optax.adam(rate, b1, b2), slopes) > 0.5
    assert _end(arsg_optax.arsg(rate, b1, b2), slopes) < -0.5
    assert _end(arsg_optax.namsg(**ours._asdict()), slopes) < -0.5
