"""Step sizes from formulas: against simulations of the momentum, and in training."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax import dynamics
from arsg_optax.tuning import (
    curvature,
    gradient_rms,
    probe_learning_rate,
    suggest_learning_rate,
)
from arsg_optax.tuning.learning_rate_probe import allot
from tests.tuning.dense import quadratic
from tests.tuning.searches import regression, square_loss, start, train

CURVATURES = np.array([0.5, 1.0, 4.0])


def _measured(noise_scale=0.0, n=64):
    random = np.random.default_rng(0)
    noise = noise_scale * random.normal(size=(n, 3))
    return curvature(*quadratic(CURVATURES, noise - noise.mean(0)), iterations=3)


def test_without_noise_it_is_a_share_of_the_convergence_bound():
    found = suggest_learning_rate(_measured(), safety=0.25)
    bound = float(dynamics.convergence_bound(0.999, 0.1))
    np.testing.assert_allclose(found.learning_rate, 0.25 * bound / 4, rtol=1e-5)
    assert found.limited_by == "curvature"
    assert found.noise_loss == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.tau, 0.25 * bound, rtol=1e-5)
    np.testing.assert_allclose(found.noise_limit, bound / 4, rtol=1e-5)


@pytest.mark.parametrize(("share", "converges"), [(0.95, True), (1.05, False)])
def test_the_bound_is_where_training_starts_to_diverge(share, converges):
    limit = suggest_learning_rate(_measured(), b1=0.9, safety=0.5)
    rate = share * limit.curvature_limit / 0.5
    optimizer = arsg_optax.rsg(rate, b1=0.9)
    params, state = jnp.ones(3), optimizer.init(jnp.ones(3))
    update = jax.jit(optimizer.update)
    for _ in range(400):
        updates, state = update(jnp.asarray(CURVATURES) * params, state, params)
        params = optax.apply_updates(params, updates)
    assert (float(jnp.max(jnp.abs(params))) < 1) == converges


@pytest.mark.parametrize("rate_share", [0.1, 0.5])
def test_the_noise_loss_is_what_training_keeps(rate_share):
    """Of many noisy trainings at once, at the suggested step size, after many steps."""
    measured = _measured(noise_scale=0.7, n=1000)
    found = suggest_learning_rate(measured, b1=0.9, safety=rate_share, noise_share=1e3)
    assert found.limited_by == "curvature"
    optimizer = arsg_optax.rsg(found.learning_rate, b1=0.9)
    diagonal = jnp.broadcast_to(jnp.asarray(CURVATURES, jnp.float32), (4000, 3))

    def step(carry, key):
        params, state = carry
        noise = 0.7 * jax.random.normal(key, params.shape)
        updates, state = optimizer.update(diagonal * params + noise, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), jnp.mean(jnp.sum(diagonal * params**2, axis=1)) / 2

    params = jnp.zeros((4000, 3))
    keys = jax.random.split(jax.random.key(0), 600)
    losses = jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]
    # The measured variance of 1000 batches is off by a few per cent, as is the mean.
    np.testing.assert_allclose(found.noise_loss, losses[300:].mean(), rtol=0.08)


def test_much_noise_limits_the_step():
    quiet = suggest_learning_rate(_measured(1.0), noise_share=10.0)
    noisy = suggest_learning_rate(_measured(20.0), noise_share=0.1)
    assert quiet.limited_by == "curvature"
    assert noisy.limited_by == "noise"
    assert noisy.learning_rate == noisy.noise_limit < quiet.learning_rate
    np.testing.assert_allclose(noisy.noise_loss, 0.1 * noisy.loss, rtol=1e-6)
    half = suggest_learning_rate(_measured(20.0), noise_share=0.05)
    assert half.noise_loss == pytest.approx(noisy.noise_loss / 2)
    assert half.learning_rate < noisy.learning_rate


def test_rare_directions_may_be_left_out():
    params = jnp.array([1.0, 1.0, 1e-3])
    noise = 1e-3 * np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    measured = curvature(*quadratic([1.0, 2.0, 50.0], noise, params), iterations=3)
    bound = float(dynamics.convergence_bound(0.999, 0.1))
    for min_weight, expected in ((0.0, 50), (0.01, 2)):
        found = suggest_learning_rate(measured, min_weight=min_weight)
        assert found.curvature == pytest.approx(expected, rel=1e-4)
        assert found.limited_by == "curvature"
        assert found.learning_rate == pytest.approx(bound / 2 / expected, rel=1e-4)
        assert math.isfinite(found.noise_loss)


def test_negative_curvature_counts_as_flat():
    measured = _measured(1.0)
    turned = measured._replace(
        eigenvalues=np.array([-0.5, 1.0, 4.0]), noise=np.array([1.0, 0.0, 0.0])
    )
    flat = measured._replace(
        eigenvalues=np.array([0.0, 1.0, 4.0]), noise=np.array([1.0, 0.0, 0.0])
    )
    one, other = suggest_learning_rate(turned), suggest_learning_rate(flat)
    assert one.noise_loss == other.noise_loss > 0
    np.testing.assert_allclose(
        one.noise_loss,
        one.learning_rate * (1.0 + measured.noise_outside) / 4,
        rtol=1e-3,
    )


def test_reads_as_text():
    text = str(suggest_learning_rate(_measured(20.0), noise_share=0.1))
    assert text.startswith("learning rate ")
    assert "limited by noise" in text
    assert "10% of" in text


def test_the_probe_finds_a_good_step_without_a_grid():
    x, y = regression(count=40)
    scales = np.array([1.0, 0.5, 0.2, 0.1], np.float32)  # Now ill-conditioned.
    batches, steps = (np.asarray(x) * scales, y), 1000
    for optimizer, make in (("rsg", arsg_optax.rsg), ("arsg", arsg_optax.arsg)):
        found = probe_learning_rate(
            square_loss, start(), batches, steps=steps, optimizer=optimizer
        )
        assert found.gradients <= 0.05 * steps
        losses = train(make(found.learning_rate), start(), batches, steps)
        # 0.01 is the noise of the targets; it starts at 5 or more.
        assert losses[0] > 5
        assert np.mean(losses[-100:]) < 0.015


def test_the_probe_is_the_same_at_each_call():
    probe = functools.partial(
        probe_learning_rate, square_loss, start(), regression(), steps=400
    )
    assert probe() == probe()


def test_root_mean_square_of_gradients():
    x, y = regression()
    batches = [(x[i], y[i]) for i in range(3)]
    found: Any = gradient_rms(square_loss, start(), batches)
    each = [jax.grad(square_loss)(start(), batch) for batch in batches]
    for name in ("w", "b"):
        expected = np.sqrt(np.mean([np.square(g[name]) for g in each], axis=0))
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("gradients", [14, 20, 33, 50, 234, 1000])
def test_an_allotment_spends_what_there_is(gradients, adaptive):
    found = allot(gradients, adaptive)
    assert found is not None
    assert 0.6 * gradients <= found.gradients <= gradients
    assert found.batches >= 2
    assert 1 <= found.iterations <= 10
    assert (found.warm_up >= found.batches) == adaptive


def test_too_few_gradients_are_refused():
    assert allot(13, adaptive=True) is None
    with pytest.raises(ValueError, match=r"at least 14 gradients, got 0\.05 of 200 "):
        probe_learning_rate(square_loss, start(), regression(), steps=200)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"safety": 0.0}, r"safety must be in \(0, 1\), got 0"),
        ({"safety": 1.0}, r"safety must be in \(0, 1\), got 1"),
        ({"noise_share": -1}, r"noise_share must be in \(0, inf\], got -1"),
        ({"min_weight": 1}, r"min_weight must be in \[0, 1\), got 1"),
        ({"b1": 1.0}, r"b1 must be in \[0, 1\), got 1"),
        ({"observation": 1.0}, r"observation must be in \[0, 1\), got 1"),
    ],
)
def test_errors_name_argument_value_and_remedy(options, match):
    with pytest.raises(ValueError, match=match):
        suggest_learning_rate(_measured(), **options)


def test_measurements_that_do_not_serve():
    problem = quadratic([-1.0, -2.0], np.zeros((2, 2)))
    with pytest.raises(ValueError, match="must have a positive loss, got -"):
        suggest_learning_rate(curvature(*problem))
    with pytest.raises(ValueError, match="must have a positive curvature"):
        suggest_learning_rate(curvature(*problem), noise_share=math.inf)
    measured = curvature(*problem, key=jax.random.key(0), start="random")
    with pytest.raises(ValueError, match="min_weight must be 0 for a random start"):
        suggest_learning_rate(measured, min_weight=0.1, noise_share=math.inf)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"optimizer": "adam"}, "optimizer must be 'rsg' or 'arsg', got 'adam'"),
        ({"share": 0.0}, r"share must be in \(0, 1\], got 0"),
        ({"steps": 0}, "steps must be a whole number, at least 1"),
        ({"eps": -1.0}, "eps must be finite and at least 1.18e-38, got -1.0"),
        ({"b1": 2.0}, r"b1 must be in \[0, 1\)"),
    ],
)
def test_errors_of_the_probe(options, match):
    arguments: Any = {"steps": 400, **options}
    with pytest.raises(ValueError, match=match):
        probe_learning_rate(square_loss, start(), regression(), **arguments)


def test_half_life():
    found = suggest_learning_rate(_measured(), b1=0.9)
    gain = float(dynamics.gain_factor(found.tau, 0.9, 0.1))
    assert gain**found.half_life == pytest.approx(0.5)
    assert math.isfinite(found.half_life)
