"""Every optimizer reaches the minima of its losses, at its parameters and iterate."""

import jax
import numpy as np
import optax

import arsg_optax
from tests.interop.table import rows_and_targets
from tests.interop.targets import TARGETS

STEPS = 10_000


@rows_and_targets("convergence")
def test_reaches_the_minimum(row, name):
    target = TARGETS[name]
    optimizer = row.make(learning_rate=row.targets[name])

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(target.loss)(params)
        updates, state = optimizer.update(
            gradient, state, params, **row.extra_args(value)
        )
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def train(params):
        carry = params, optimizer.init(params)
        (params, state), _ = jax.lax.scan(step, carry, length=STEPS)
        return params, arsg_optax.eval_params(state, params)

    for found in train(target.start):
        jax.tree.map(
            lambda p, q: np.testing.assert_allclose(p, q, rtol=0.03, atol=0.03),
            found,
            target.minimum,
        )
