"""Recipes against what their authors write down."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from flax import nnx

from arsg_optax import swnts
from arsg_optax.demos.models import LSTMLanguageModel, MnistCNN, ResNetCifar
from scripts.reproduction.experiments.recipes import (
    ademamix,
    average_params,
    find_method,
    hidden_weights,
    muon,
    swnts1,
)

GRADIENTS = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def _run(transform, steps=12):
    params = jnp.ones(5)
    state = transform.init(params)
    held = []
    for gradient in GRADIENTS[:steps]:
        updates, state = transform.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        held.append(params)
    return np.array(held), state


def test_ademamix_warms_up_as_its_authors_write():
    rate, warmup, b3, alpha = 0.01, 8, 0.99, 8.0
    found, _ = _run(ademamix(rate, warmup=warmup, b3=b3, alpha=alpha, weight_decay=0.1))
    theta, fast, slow, square = np.ones(5), np.zeros(5), np.zeros(5), np.zeros(5)
    for t, gradient in enumerate(GRADIENTS.astype(np.float64), start=1):
        # Their schedulers count from 0; interpolation is of log(1/2)/log(beta) - 1.
        share = min((t - 1) / warmup, 1)
        halves = (1 - share) * np.log(0.5) / np.log(0.9) + share * np.log(0.5) / np.log(
            b3
        )
        slow_decay = 0.5 ** (1 / halves)
        fast = 0.9 * fast + 0.1 * gradient
        slow = slow_decay * slow + (1 - slow_decay) * gradient
        square = 0.999 * square + 0.001 * gradient**2
        top = fast / (1 - 0.9**t) + share * alpha * slow
        bottom = np.sqrt(square / (1 - 0.999**t)) + 1e-8
        theta = theta - rate * (top / bottom + 0.1 * theta)
        np.testing.assert_allclose(found[t - 1], theta, rtol=2e-5)


def _taken(make):
    """Names of what Muon takes; shapes tell, so no network is built."""
    params = nnx.state(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))), nnx.Param)
    return {
        jax.tree_util.keystr(path).removesuffix(".value")
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            hidden_weights(params),
            is_leaf=lambda leaf: isinstance(leaf, optax.contrib.MuonDimensionNumbers),
        )
        if leaf is not None
    }


def test_muon_takes_hidden_weights_only():
    assert _taken(MnistCNN) == {
        "['convolutions'][1]['kernel']",
        "['inner']['kernel']",
    }
    assert _taken(partial(LSTMLanguageModel, 50, features=8)) == {
        f"['layers'][{n}]['{kind}_kernel']"
        for n in (0, 1)
        for kind in ("input", "hidden")
    }
    taken = _taken(partial(ResNetCifar, 20))
    assert len(taken) > 17
    assert not any("stem" in name or "last" in name for name in taken)


def test_muons_two_rates_follow_one_schedule():
    def change(rate):
        transform = muon(rate, weight_decay=0.0)
        params = {"inner": jnp.ones((4, 4)), "last": jnp.ones((4, 2))}
        gradients = jax.tree.map(lambda p: p * 0.3, params)
        state = transform.init(params)
        return transform.update(gradients, state, params)[0]

    constant, scheduled = change(0.02), change(lambda count: 0.02 / (1 + count))
    # Optax counts from 0, so the first step has the schedule's first rate.
    for name in constant:
        np.testing.assert_allclose(constant[name], scheduled[name], rtol=1e-6)
    # Adam's first step is its rate, without Nesterov's momentum.
    np.testing.assert_allclose(constant["last"], -3e-4, rtol=1e-4)


def test_an_average_is_of_the_parameters_after_each_step():
    held, state = _run(optax.chain(optax.sgd(0.1), average_params(0.9)))
    average = np.ones(5)
    for t, params in enumerate(held, start=1):
        decay = min(0.9, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * params
    found = optax.tree_utils.tree_get(state, "AverageState")
    np.testing.assert_allclose(found.average, average, rtol=1e-5)
    assert int(found.count) == 12


def test_an_average_needs_the_parameters():
    transform = average_params(0.9)
    with pytest.raises(ValueError, match="params must be given"):
        transform.update(jnp.ones(5), transform.init(jnp.ones(5)))


def test_swnts1_trains_like_swnts_and_is_evaluated_at_the_average():
    options = {"b1": 0.9, "b2": 0.99, "distance": 3.0, "switch_at": 6}
    plain, _ = _run(swnts(0.01, **options))
    averaged, state = _run(swnts1(0.01, average=0.9, **options))
    np.testing.assert_array_equal(plain, averaged)
    points = find_method("swnts1").points
    x = points.evaluation_point(state, jnp.asarray(averaged[-1]))
    low, high = averaged.min(0) - 1e-6, np.maximum(averaged.max(0), 1.0) + 1e-6
    assert np.all((low <= x) & (x <= high)) and np.any(x != averaged[-1])


def test_half_precision_parameters_keep_their_average():
    transform = average_params(0.9)
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    state = transform.init(params)
    _, state = transform.update(params, state, params)
    assert state.average["w"].dtype == jnp.bfloat16
