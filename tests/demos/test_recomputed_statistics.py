"""The mean of batches' own statistics, from running ones of any momentum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax.flax import recomputed_statistics


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e8])
def test_any_momentum_and_size(momentum, size):
    """The momentum is known to 6e-8, so 1 - momentum to 6e-8 / (1 - momentum)."""
    statistics = {"a": jnp.zeros(3), "b": jnp.ones(2)}
    values = size * np.random.default_rng(0).random((50, 3)).astype(np.float32)

    def update(statistics, value):
        own = {"a": value, "b": value[:2] ** 2 / size}
        return jax.tree.map(
            lambda old, new: momentum * old + (1 - momentum) * new, statistics, own
        )

    got = recomputed_statistics(update, statistics, jnp.asarray(values))
    tolerance = 1e-6 + 2e-7 / (1 - momentum)
    wide = np.float64(values)
    np.testing.assert_allclose(got["a"], wide.mean(0), rtol=tolerance)
    square = (wide[:, :2] ** 2 / size).mean(0)
    np.testing.assert_allclose(got["b"], square, rtol=tolerance)


def test_statistics_stored_in_bfloat16():
    values = np.linspace(1, 2, 50, dtype=np.float32)

    def update(statistic, value):
        return (0.99 * statistic + 0.01 * value).astype(statistic.dtype)

    got = recomputed_statistics(
        update, jnp.zeros(1, jnp.bfloat16), jnp.asarray(values)[:, None]
    )
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, jnp.bfloat16(1.5))


def test_in_double_precision(x64):
    values = np.random.default_rng(0).random(50)

    def update(statistic, value):
        return 0.99 * statistic + 0.01 * value

    got = recomputed_statistics(update, jnp.zeros(()), jnp.asarray(values))
    np.testing.assert_allclose(got, values.mean(), rtol=1e-12)


def test_what_was_remembered_has_no_part():
    def update(statistic, value):
        return 0.9 * statistic + 0.1 * value

    values = jnp.arange(50.0)
    for start in (jnp.float32(0), jnp.float32(1e6), jnp.float32(jnp.nan)):
        got = recomputed_statistics(update, start, values)
        np.testing.assert_allclose(got, 24.5, rtol=1e-5)


def test_nothing_to_gather():
    assert recomputed_statistics(lambda s, b: s, {}, iter(())) == {}


def test_no_batch_is_too_few_for_any_number():
    with pytest.raises(ValueError, match="batches must be at least 1, got 0"):
        recomputed_statistics(lambda s, b: s, jnp.zeros(1), [], at_least=0)
