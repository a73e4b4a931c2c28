"""When a loss counts as flat: 100 noisy losses a kind, with the default values."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import arsg_optax
from arsg_optax.policies.plateau import LossWindows, empty_windows, is_flat, push

SEEDS, STEPS = 100, 10_000
DEFAULTS = {
    name: inspect.signature(arsg_optax.observation_boost).parameters[name].default
    for name in ("window", "threshold", "confidence", "refractory")
}


@jax.jit
@jax.vmap
def _found(loss):
    def step(carry, value):
        windows, found, count = carry
        windows = push(windows, value, DEFAULTS["window"])
        now = is_flat(windows, **DEFAULTS) & (found < 0)
        return (windows, jnp.where(now, count, found), count + 1), None

    start = empty_windows(), jnp.int32(-1), jnp.int32(0)
    return jax.lax.scan(step, start, loss)[0][1]


def _first_flat(losses):
    """The value at which each loss is first found flat, or -1."""
    return np.asarray(_found(jnp.asarray(losses, jnp.float32)))


def _noisy(loss, deviation, seed=0):
    noise = np.random.default_rng(seed).normal(size=(SEEDS, len(loss)))
    return loss + deviation * noise


@pytest.mark.parametrize("horizon", [1, 10, 100, 1000])
@pytest.mark.parametrize("noise", ["100 decreases", "5 percent"])
def test_a_loss_that_falls_like_1_over_t_is_never_flat(horizon, noise):
    t = np.arange(STEPS)
    loss = 1 / (1 + t / horizon)
    decrease = loss**2 / horizon
    deviation = 100 * decrease if noise == "100 decreases" else 0.05 * loss
    assert np.all(_first_flat(_noisy(loss, deviation)) == -1)


@pytest.mark.parametrize("decreases", [0, 10, 100])
@pytest.mark.parametrize(
    ("flat_from", "start", "end"),
    [(500, 2.3, 0.3), (1000, 2.3, 0.05), (2000, 2.0, 1.0), (3000, 1.0, 0.5)],
)
def test_a_loss_that_turned_flat_is_found_within_1000_steps(
    flat_from, start, end, decreases
):
    decrease = (start - end) / flat_from
    loss = np.maximum(start - decrease * np.arange(flat_from + 1000), end)
    found = _first_flat(_noisy(loss, decreases * decrease))
    assert np.all(found >= flat_from)
    assert np.all(found < flat_from + 1000)


@pytest.mark.parametrize("spike", [1.0, 10.0, 1e4, 1e30])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_an_outlier_does_not_hide_the_fall_of_a_loss(spike, noise):
    t = np.arange(4000)
    losses = _noisy(2 * np.exp(-t / 3000), noise, seed=1)
    plain = _first_flat(losses)
    losses[np.arange(SEEDS), 1000 + 20 * np.arange(SEEDS)] += spike
    assert np.all(plain == -1)
    assert np.all(_first_flat(losses) == -1)


def test_heavy_tails():
    t = np.arange(STEPS)
    loss = 1 / (1 + t / 100)
    noise = np.random.default_rng(2).standard_t(2, size=(SEEDS, STEPS))
    assert np.all(_first_flat(loss + 0.01 * loss * noise) == -1)


@pytest.mark.parametrize("deviation", [0.0, 0.1])
def test_a_loss_that_is_flat_from_the_start(deviation):
    found = _first_flat(_noisy(np.ones(1000), deviation))
    assert np.all(found >= 3 * 296 - 1)  # One window left out, two gathered.
    assert np.all(found < 1000)


def test_a_rising_loss_is_flat_and_a_negative_one_is_judged_by_its_size():
    rising = _noisy(1 + np.arange(1000) / 100, 0.0)
    assert np.all(_first_flat(rising) == 3 * 296 - 1)
    falling = _noisy(-1 - np.arange(2000) / 1000, 0.0)
    assert np.all(_first_flat(falling) == -1)


def _pushed(values, window=8):
    windows = empty_windows()
    for value in values:
        windows = push(windows, jnp.float32(value), window)
    return windows


def test_values_that_are_not_finite_are_ignored():
    with_gaps = _pushed([1.0, np.nan, 2.0, np.inf, 4.0, -np.inf])
    for got, expected in zip(with_gaps, _pushed([1.0, 2.0, 4.0]), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("window", [8, 20, 37])
def test_the_bins_hold_means_and_noise(window):
    values = np.random.default_rng(0).normal(size=200)
    windows = _pushed(values, window)
    length = window // 8
    complete = values[: len(values) // length * length].reshape(-1, length)
    assert windows.bins == len(complete)
    np.testing.assert_allclose(
        windows.means, complete.mean(axis=1)[-16:], rtol=1e-5, atol=1e-6
    )
    steps = np.concatenate([[0.0], np.diff(values)])[: complete.size] ** 2 / 2
    noise = steps.reshape(-1, length).mean(axis=1)[-16:]
    np.testing.assert_allclose(windows.variances, noise, rtol=1e-5)


def test_a_trend_is_not_taken_for_noise():
    windows = _pushed(np.linspace(3, 0, 400) + 0.01 * np.sin(np.arange(400) * 2))
    sd = np.sqrt(np.mean(windows.variances))
    assert 0.003 < sd < 0.02


def test_the_state_keeps_its_dtypes():
    before = empty_windows()
    after = _pushed([1.0])
    assert isinstance(after, LossWindows)
    for a, b in zip(before, after, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert not b.weak_type
