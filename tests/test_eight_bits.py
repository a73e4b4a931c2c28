"""Second moments in eight bits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from benchmarks.eight_bits import BLOCK, decode, scale_by_eight_bit_rms


@pytest.mark.parametrize("average", [False, True])
def test_the_maximum_in_eight_bits_never_falls(average):
    """It also stays within half a step of the grid of what it was taken of."""
    link = scale_by_eight_bit_rms(0.9, 1e-8, average_in_eight_bits=average)
    exact = arsg_optax.scale_by_nonincreasing_rms(0.9, 1e-8)
    random = np.random.default_rng(0)
    scales = 10.0 ** (3 * np.sin(np.arange(30) / 3))
    gradients = {
        "w": np.float32(scales[:, None, None] * random.normal(size=(30, 40, 10))),
        "b": np.float32(random.normal(size=(30, 3))),
    }

    def step(states, gradient):
        state, exact_state = states
        _, state = link.update(gradient, state)
        _, exact_state = exact.update(gradient, exact_state)
        states = state, exact_state
        return states, (state.denominator(), exact_state.denominator())

    @jax.jit
    def run(gradients):
        params = {"w": jnp.zeros((40, 10)), "b": jnp.zeros(3)}
        return jax.lax.scan(step, (link.init(params), exact.init(params)), gradients)

    (state, _), (held, wanted) = run(gradients)
    for name in gradients:
        assert np.all(held[name] > 0)
        np.testing.assert_array_less(held[name][:-1], held[name][1:] * 1.00001)
    if not average:
        ratio = np.asarray(held["w"][-1]) / wanted["w"][-1]
        assert np.min(ratio) > 0.9 and np.max(ratio) < 1.1
    assert decode(state.nu_max["w"]).dtype == jnp.float32


def test_bytes_of_the_state():
    params = jnp.zeros((128, 64))
    for average, expected in ((False, 5), (True, 4)):
        link = scale_by_eight_bit_rms(average_in_eight_bits=average)
        optimizer = arsg_optax.arsg(0.1, preconditioner=link, mu_dtype=jnp.bfloat16)
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(optimizer.init(params)))
        # An offset a block of 256, and scalars.
        assert held < (expected + 0.02) * params.size + 64


def test_the_iterate_is_found_and_dtypes_are_kept():
    link = scale_by_eight_bit_rms()
    optimizer = arsg_optax.arsg(0.1, preconditioner=link)
    params = {"w": jnp.ones((7, 5), jnp.bfloat16)}
    state = optimizer.init(params)
    updates, after = optimizer.update(params, state, params)
    assert updates["w"].dtype == jnp.bfloat16
    assert jax.tree.map(lambda x: x.aval, after) == jax.tree.map(
        lambda x: x.aval, state
    )
    point = arsg_optax.eval_params(after, params)
    assert jnp.all(jnp.isfinite(point["w"].astype(jnp.float32)))


def test_a_bad_decay_is_refused():
    with pytest.raises(ValueError, match="b2 must be"):
        scale_by_eight_bit_rms(1.0)


@pytest.mark.parametrize("bad", [1e30, np.inf, np.nan])
@pytest.mark.parametrize("average", [False, True])
def test_an_overflow_stops_its_block_and_no_other(bad, average):
    link = scale_by_eight_bit_rms(0.9, average_in_eight_bits=average)
    good, step = jnp.ones(BLOCK + 10), jax.jit(link.update)
    _, state = step(good.at[3].set(bad), link.init(good))
    for _ in range(3):
        update, state = step(good, state)
    assert jnp.all(jnp.isfinite(update))
    assert jnp.all(jnp.abs(update[:BLOCK]) < 1e-13)
    assert jnp.all(jnp.abs(update[BLOCK:]) > 0.9)


def test_elements_far_below_their_block_have_its_lowest_divisor():
    """What the 32 octaves of a block cost: 1e-6 is held, 1e-8 is not."""
    gradient = jnp.ones(BLOCK).at[:2].set(jnp.array([1e-3, 1e-8]))
    link = scale_by_eight_bit_rms(0.0, 1e-30)
    update, _ = link.update(gradient, link.init(gradient))
    np.testing.assert_allclose(update[2:], 1, rtol=0.05)
    np.testing.assert_allclose(update[0], 1, rtol=0.05)
    assert update[1] < 1e-2


def test_injected_under_x64_and_for_a_number(x64, relaxed_promotion):
    link = optax.inject_hyperparams(scale_by_eight_bit_rms)(b2=0.9)
    params = {"w": jnp.ones(3, jnp.float32), "b": 1.0}
    update, state = link.update(params, link.init(params))
    again, _ = jax.jit(link.update)(params, state)
    assert jnp.all(jnp.isfinite(update["w"])) and jnp.isfinite(again["b"])


def test_both_averages_are_unbiased():
    """Constant squares: their average tends to the square, not beside it."""
    gradient = jnp.full(4096, 0.3)
    for average in (False, True):
        link = scale_by_eight_bit_rms(0.9, average_in_eight_bits=average)
        step = lambda _, s: link.update(gradient, s)[1]  # noqa: B023, E731
        state = jax.lax.fori_loop(0, 200, step, link.init(gradient))
        nu = decode(state.nu) if average else state.nu.astype(jnp.float32)
        np.testing.assert_allclose(jnp.mean(nu), 0.09, rtol=3e-3)
