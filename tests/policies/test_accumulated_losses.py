"""The loss of several batches: MultiSteps around and inside, and skipped batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from tests.policies.test_observation_boost import ARGUMENTS, FIRST, _boosted, _losses


def test_around_multi_steps_the_boost_counts_updates_and_averages(relaxed_promotion):
    # MultiSteps multiplies float updates by a boolean flag.
    inner = optax.MultiSteps(arsg_optax.rsg(0.1, **ARGUMENTS), 4)
    # Each mean is 1, the last of each four falls for ever.
    falling = np.exp(-0.05 * np.arange(40))
    losses = np.stack([1 + falling / 3] * 3 + [1 - falling], axis=1).ravel()
    seen, _ = _losses(_boosted(inner), losses)
    boosts = [int(each["boosts"]) for each in seen]
    assert boosts.index(1) == 4 * FIRST - 1
    at, _ = _losses(_boosted(inner, boost_at=2), [0.0] * 16)
    observed = [round(float(each["observation"]), 3) for each in at]
    assert observed == [0] * 3 + [0.05] * 8 + [0.1] * 5


def test_the_mean_is_handed_on_under_the_name_it_came_by(relaxed_promotion):
    for name in ("value", "loss"):
        optimizer = arsg_optax.average_value(optax.MultiSteps(_boosted(), 2))
        params = jnp.ones(3)
        state, update = optimizer.init(params), jax.jit(optimizer.update)
        for loss in (1.0, 3.0):
            _, state = update(params, state, params, **{name: jnp.float32(loss)})
        assert float(state.inner_state.inner_opt_state.windows.last) == 2.0


def _inside_multi_steps(losses, average):
    optimizer = optax.MultiSteps(_boosted(), 4)
    around = arsg_optax.average_value(optimizer) if average else optimizer
    seen, _ = _losses(around, losses)
    return [int(each["boosts"]) for each in seen]


def test_inside_multi_steps_the_mean_needs_average_value(relaxed_promotion):
    falling = np.exp(-0.05 * np.arange(40))
    losses = np.stack([1 + falling / 3] * 3 + [1 - falling], axis=1).ravel()
    assert _inside_multi_steps(losses, average=True).index(1) == 4 * FIRST - 1
    # The last of each four alone: 1 - exp, which rises and so counts as flat too,
    # so turn it round: flat last ones of a falling mean must not boost.
    losses = np.stack([2 * falling] * 3 + [np.ones(40)], axis=1).ravel()
    assert 1 not in _inside_multi_steps(losses, average=True)
    assert 1 in _inside_multi_steps(losses, average=False)


def test_losses_of_skipped_batches_are_left_out(relaxed_promotion):
    multi_steps = optax.MultiSteps(
        _boosted(), 2, should_skip_update_fn=optax.skip_not_finite
    )
    optimizer, params = arsg_optax.average_value(multi_steps), jnp.ones(3)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for gradient, loss in ((jnp.nan, 1e6), (1.0, 1.0), (1.0, 3.0)):
        _, state = update(gradient * params, state, params, value=jnp.float32(loss))
    assert float(state.inner_state.inner_opt_state.windows.last) == 2.0


def test_a_gradient_let_through_after_too_many_refusals_counts():
    inner = optax.apply_if_finite(arsg_optax.rsg(0.1, **ARGUMENTS), 1)
    optimizer, params = _boosted(inner, boost_at=9), jnp.ones(3)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for _ in range(3):
        _, state = update(params * jnp.nan, state, params)
    assert int(state.count) == int(state.inner_state.inner_state.count) == 2


def test_average_value_asks_for_the_loss_itself():
    optimizer, params = arsg_optax.average_value(optax.sgd(0.1)), jnp.ones(3)
    with pytest.raises(ValueError, match="average_value averages it; call update"):
        optimizer.update(params, optimizer.init(params), params)
