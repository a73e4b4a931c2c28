"""RAdam's rectification against 60 digits: which updates have one, and how large."""

import decimal
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import arsg_optax


def _exact_rectification(b2, t, threshold=5):
    """r_t to 60 digits, of the binary number b2; 0 where it is intractable."""
    with decimal.localcontext() as context:
        context.prec = 60
        b, power = decimal.Decimal(b2), decimal.Decimal(b2) ** t
        longest = 2 / (1 - b) - 1
        rho = longest - 2 * t * power / (1 - power)
        if rho < threshold:
            return 0.0
        seen, all_seen = ((x - 4) * (x - 2) / x for x in (rho, longest))
        return float((seen / all_seen).sqrt())


def _rectification(b2):
    """Compiled: update t, from 1 -> r_t, from the state."""
    link = arsg_optax.scale_by_rectified_rms(b2)

    def rectification(t):
        state = link.init(jnp.ones(()))._replace(count=t - 1)
        return link.update(jnp.ones(()), state)[1].rectification

    return jax.jit(rectification)


COUNTS = (1, 2, 4, 5, 6, 7, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000, 1_000_000)
DECAYS = pytest.mark.parametrize(
    "b2", [0.0, 0.6, 0.7, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999]
)


def _assert_rectification(b2, seen, rtol):
    rectification = _rectification(b2)
    for t in COUNTS:
        expected = _exact_rectification(seen, t)
        got = float(rectification(jnp.asarray(t, jnp.int32)))
        assert (got == 0) == (expected == 0), f"tractable at update {t}"
        assert math.isclose(got, expected, rel_tol=rtol), f"update {t}"


@DECAYS
def test_rectification_to_rounding_in_float32(b2):
    _assert_rectification(b2, b2, 1e-6)
    narrow = jnp.float32(b2)
    _assert_rectification(narrow, float(narrow), 1e-6)


@DECAYS
def test_rectification_to_rounding_in_float64(b2, x64):
    _assert_rectification(b2, b2, 2e-15)


def test_the_printed_form_would_lose_all_digits():
    """What the other form of rho_t is for."""
    b, t = np.float32(0.9999), np.float32(6)
    printed = 2 / (1 - b) - 1 - 2 * t * b**t / (1 - b**t)
    assert abs(printed / 6 - 1) > 0.1  # rho_6 is 5.997


def _steps(link):
    """Updates and states of a hundred gradients of 1."""

    def step(state, gradient):
        update, state = link.update(gradient, state)
        return state, (update, state)

    return jax.lax.scan(step, link.init(jnp.ones(())), jnp.ones(100))[1]


@pytest.mark.parametrize("b2", [0.0, 0.5, 0.6])
def test_too_short_an_average_is_never_used(b2):
    """There rho_t stays below 4."""
    link = arsg_optax.scale_by_rectified_rms(b2, threshold=4.0)
    updates, states = _steps(link)
    np.testing.assert_array_equal(updates, np.ones(100))
    assert np.all(states.rectification == 0)


@pytest.mark.parametrize(("threshold", "first"), [(4.0, 5), (5.0, 6), (7.5, 8)])
def test_where_the_rectification_begins(threshold, first):
    """rho_t lies just below t."""
    link = arsg_optax.scale_by_rectified_rms(threshold=threshold)
    _, states = _steps(link)
    used = np.asarray(states.rectification) > 0
    assert np.argmax(used) == first - 1
    assert np.all(used[first - 1 :])
