"""Moments in bfloat16 follow their float32 twins without bias."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax._rounding import stochastic_round
from benchmarks.nearest import stored_to_nearest

# These run for longer than they compile.
pytestmark = pytest.mark.usefixtures("optimized")

SIZE, STEPS = 4096, 4000


def _constant(count):
    del count
    return jnp.ones(SIZE)


def _noisy(count):
    key = jax.random.fold_in(jax.random.key(0), count)
    return 0.1 + jax.random.normal(key, (SIZE,))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _states(transform, gradient):
    """State after each 1,000 of STEPS updates, a leading axis of 4."""

    def step(state, count):
        _, state = transform.update(gradient(count), state)
        return state, None

    def thousand(state, start):
        state, _ = jax.lax.scan(step, state, start + jnp.arange(1000))
        return state, state

    starts = jnp.arange(0, STEPS, 1000)
    return jax.lax.scan(thousand, transform.init(jnp.zeros(SIZE)), starts)[1]


def _relative_bias(narrow, wide):
    """Mean deviation over the elements, relative to the twin's, and its error."""
    difference = np.asarray(narrow, np.float64) - np.asarray(wide, np.float64)
    scale = np.abs(np.mean(np.asarray(wide, np.float64), axis=-1))
    error = np.std(difference, axis=-1) / np.sqrt(SIZE)
    return np.mean(difference, axis=-1) / scale, error / scale


@pytest.mark.parametrize("gradient", [_constant, _noisy])
def test_first_moment_in_bfloat16_is_unbiased(gradient):
    narrow, wide = (
        _states(arsg_optax.remote_observation(0.999, 0.1, mu_dtype=dtype), gradient).mu
        for dtype in (jnp.bfloat16, None)
    )
    assert narrow.dtype == jnp.bfloat16
    bias, error = _relative_bias(narrow, wide)
    assert np.all(np.abs(bias) < 4.5 * error)
    assert np.all(error < 1e-3), "the test would not see a bias of half a per cent"


def test_resilience_in_bfloat16_is_unbiased():
    narrow, wide = (
        _states(arsg_optax.scale_by_resilience(0.999, mu_dtype=dtype), _constant).mu
        for dtype in (jnp.bfloat16, None)
    )
    bias, error = _relative_bias(narrow, wide)
    assert np.all(np.abs(bias) < 4.5 * error)


@pytest.mark.parametrize(("gradient", "b2"), [(_constant, 0.999), (_noisy, 0.99)])
def test_second_moment_in_bfloat16(gradient, b2):
    narrow, wide = (
        _states(arsg_optax.scale_by_nonincreasing_rms(b2, nu_dtype=dtype), gradient)
        for dtype in (jnp.bfloat16, None)
    )
    bias, error = _relative_bias(narrow.nu, wide.nu)
    # float32 itself settles 2e-6 below the limit 1, which bfloat16 holds exactly.
    assert np.all(np.abs(bias) < 4.5 * error + 1e-5)
    assert np.all(error < 1e-3)
    excess = np.asarray(narrow.nu_max, np.float64) / np.asarray(wide.nu_max) - 1
    # A running maximum picks the upward roundings out of an unbiased average.
    assert -0.02 < np.mean(excess) < 0.04


def test_round_to_nearest_would_be_biased():
    """What the stochastic rounding is for: 0.999 m + 0.001 rounds back to m."""
    m = jnp.zeros([], jnp.bfloat16)
    for _ in range(3000):
        m = (0.999 * m.astype(jnp.float32) + 0.001).astype(jnp.bfloat16)
    assert m < 0.5  # float32 reaches 0.95


def _trained(optimizer):
    """Mean loss of a quadratic, little noise, over the last fifth of 3,000 steps."""
    curvature = jnp.geomspace(0.01, 1, 256)

    def step(carry, count):
        params, state = carry
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), count), (256,))
        gradient = curvature * params + 1e-4 * noise
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), jnp.sum(curvature * params**2)

    start = jnp.ones(256)
    carry = (start, optimizer.init(start))
    losses = jax.jit(lambda c: jax.lax.scan(step, c, jnp.arange(3000))[1])(carry)
    return float(jnp.mean(losses[-600:]))


def test_training_needs_the_stochastic_rounding():
    """Rounded to nearest, the momentum stands still and the run stays far behind.

    Strong noise would hide it: it keeps any average moving.
    """
    wide = _trained(arsg_optax.rsg(0.1))
    rounded = _trained(arsg_optax.rsg(0.1, mu_dtype=jnp.bfloat16))
    nearest = _trained(stored_to_nearest(arsg_optax.rsg(0.1)))
    assert abs(rounded / wide - 1) < 0.05
    assert nearest > 1.5 * wide


def _rounded(x, steps, shift=16):
    salt = jnp.zeros(2, jnp.uint32)
    return jax.vmap(lambda step: stochastic_round(x, step, salt, shift=shift))(
        jnp.arange(steps)
    )


@pytest.mark.parametrize("shift", [0, 16])
@pytest.mark.parametrize("value", [1.003, -1.003, 3.3e-5, 1.5e-38, 7.7e30])
def test_stochastic_rounding_has_the_right_mean(value, shift):
    x = jnp.full((512,), value, jnp.float32)
    got = np.asarray(_rounded(x, 200, shift), np.float64)
    low, high = got.min(), got.max()
    exact = float(x[0])
    assert low <= exact <= high
    assert high - low <= 2**-7 * abs(exact)
    error = (high - low) / 2 / np.sqrt(got.size)
    assert abs(got.mean() - exact) <= 5 * error
    # Neither neighbouring positions nor successive steps share their fate.
    up = (got > exact) - np.mean(got > exact)
    bound = 5 * np.var(up) / np.sqrt(got.size)
    assert abs(np.mean(up[:, 1:] * up[:, :-1])) < bound
    assert abs(np.mean(up[1:] * up[:-1])) < bound


def test_stochastic_rounding_keeps_what_bfloat16_can_hold():
    largest = float(jnp.finfo(jnp.bfloat16).max)
    held = [0.0, -0.0, 1.0, -2.5, largest, -largest, np.inf, -np.inf]
    got = _rounded(jnp.array(held, jnp.float32), 50)
    np.testing.assert_array_equal(np.asarray(got, np.float32), [held] * 50)
    assert jnp.all(jnp.isnan(_rounded(jnp.array([jnp.nan], jnp.float32), 5)))
    beyond = jnp.array([jnp.finfo(jnp.float32).max], jnp.float32)
    assert jnp.all(jnp.isfinite(_rounded(beyond, 50)))


def test_a_float64_beyond_float32_stays_finite(x64):
    rounded = _rounded(jnp.array([1e300, -1e300, jnp.inf]), 3).astype(jnp.float32)
    largest = float(jnp.finfo(jnp.bfloat16).max)
    np.testing.assert_array_equal(rounded, [[largest, -largest, jnp.inf]] * 3)


def test_the_halves_of_a_hash_are_independent():
    """One draw serves both moments: an element's two roundings are unrelated."""
    x = jnp.full((512,), 1.003, jnp.float32)
    up = [np.asarray(_rounded(x, 200, s), np.float32).ravel() > 1.003 for s in (0, 16)]
    assert abs(np.corrcoef(up)[0, 1]) < 5 / np.sqrt(up[0].size)


def test_gradients_pass_the_rounding_as_if_it_were_not_there():
    """Through an update, as in meta-learning."""

    def moved(gradient, dtype):
        link = arsg_optax.remote_observation(0.9, 0.1, mu_dtype=dtype)
        update, _ = link.update(gradient, link.init(gradient))
        return jnp.sum(update)

    start = jnp.linspace(-1, 1, 10)
    narrow, wide = (jax.grad(moved)(start, dtype) for dtype in (jnp.bfloat16, None))
    np.testing.assert_allclose(narrow, wide, rtol=2**-8)


def test_equal_leaves_and_moments_get_different_bits():
    optimizer = arsg_optax.arsg(0.1, mu_dtype=jnp.bfloat16, nu_dtype=jnp.bfloat16)
    gradient = {name: jnp.full((1000,), 1.2345) for name in "ab"}
    _, state = optimizer.update(gradient, optimizer.init(gradient), gradient)
    leaves = [*state.mu.values(), *state.links[0].nu.values()]
    up = [
        leaf.astype(jnp.float32) > jnp.mean(leaf.astype(jnp.float32)) for leaf in leaves
    ]
    correlation = np.corrcoef(np.asarray(up))
    assert np.all(np.abs(correlation - np.eye(4)) < 0.15)


def test_bfloat16_arsg_holds_six_bytes_a_parameter():
    params = jnp.zeros((128, 64), jnp.bfloat16)
    optimizer = arsg_optax.arsg(0.1, mu_dtype=jnp.bfloat16, nu_dtype="bfloat16")
    arrays = [leaf for leaf in jax.tree.leaves(optimizer.init(params)) if leaf.ndim]
    assert sum(leaf.nbytes for leaf in arrays) == 6 * params.size


def test_default_moments_of_narrow_parameters_are_float32():
    for dtype in (jnp.bfloat16, jnp.float16):
        state = arsg_optax.arsg(0.1).init(jnp.ones(3, dtype))
        arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
        assert {leaf.dtype for leaf in arrays} == {jnp.dtype(jnp.float32)}


def test_sixteen_bit_training_follows_float32(relaxed_promotion):
    """bfloat16 parameters and gradients, float32 moments: steps agree to rounding."""
    target = jax.random.normal(jax.random.key(1), (256,))
    wide = narrow = jnp.zeros(256)
    optimizer = arsg_optax.arsg(0.01)
    wide_state = optimizer.init(wide)
    narrow_state = optimizer.init(narrow.astype(jnp.bfloat16))
    for _ in range(50):
        gradient = wide - target
        updates, wide_state = optimizer.update(gradient, wide_state, wide)
        half = (gradient.astype(jnp.bfloat16), narrow.astype(jnp.bfloat16))
        rounded, narrow_state = optimizer.update(half[0], narrow_state, half[1])
        assert rounded.dtype == jnp.bfloat16
        error = jnp.max(jnp.abs(rounded.astype(jnp.float32) - updates))
        # Gradient, direction, scaled direction and update round by 2^-8 each.
        assert error < 4 * 2**-8 * jnp.max(jnp.abs(updates))
        wide = optax.apply_updates(wide, updates)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.int32, "int8", "nonsense"])
@pytest.mark.parametrize("argument", ["mu_dtype", "nu_dtype"])
def test_other_storage_is_refused(argument, dtype):
    with pytest.raises(ValueError, match=rf"{argument} must be .*bfloat16"):
        arsg_optax.arsg(0.1, **{argument: dtype})
