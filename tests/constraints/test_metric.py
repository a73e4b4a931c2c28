"""Which optimizers have a metric that a projection can read, and how to do without."""

from typing import Any, NamedTuple

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import arsg_optax
from arsg_optax import Box, HalfSpace, L2Ball, project

PARAMS = {"b": jnp.ones(3), "w": jnp.full((2, 3), -1.0)}
GRADIENT = {"b": jnp.array([1.0, 10.0, -3.0]), "w": jnp.full((2, 3), 0.5)}
BALL, HALF = L2Ball(0.5), HalfSpace(1.0, -4.0)


def _noisy_rms():
    return optax.chain(optax.scale_by_rms(), optax.scale(-0.1))


UNKNOWN = {
    "adam": optax.adam(0.1),
    "rmsprop": optax.rmsprop(0.1),
    "lion": optax.lion(0.1),
    "adafactor": optax.adafactor(0.1),
    "adadelta": optax.adadelta(0.1),
    "novograd": optax.novograd(0.1),
    "masked": optax.masked(_noisy_rms(), {"b": True, "w": False}),
    "partition": optax.partition(
        {"one": optax.sgd(0.1), "other": _noisy_rms()}, {"b": "one", "w": "other"}
    ),
    "flatten": optax.flatten(_noisy_rms()),
    "inject": optax.inject_hyperparams(optax.rmsprop)(0.1),
    "MultiSteps": optax.MultiSteps(_noisy_rms(), 2),
    "schedule_free": optax.contrib.schedule_free(_noisy_rms(), 0.1),
    "guarded": optax.apply_if_finite(_noisy_rms(), 3),
    "behind a momentum of ours": optax.chain(
        arsg_optax.remote_observation(), _noisy_rms()
    ),
}
KNOWN = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "schedule": optax.sgd(optax.linear_schedule(0.1, 0.0, 9)),
    "average": optax.chain(optax.ema(0.9), optax.scale(-0.1)),
    "noise": optax.chain(optax.add_noise(0.1, 0.5, 0), optax.scale(-0.1)),
    "accumulated": optax.MultiSteps(optax.sgd(0.1), 2),
    "applied every": optax.chain(optax.apply_every(2), optax.scale(-0.1)),
    "injected": optax.inject_hyperparams(optax.sgd)(0.1, momentum=0.9),
    "guarded": optax.apply_if_finite(optax.sgd(0.1, momentum=0.9), 3),
    "masked": optax.masked(optax.sgd(0.1, momentum=0.9), {"b": True, "w": False}),
    "plateau": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
    "schedule-free": optax.contrib.schedule_free(optax.sgd(0.1), 0.1),
    "arsg": arsg_optax.arsg(0.1),
    "adarem": arsg_optax.adarem(0.1),
    "swnts": arsg_optax.swnts(0.1, switch_at=2),
    "two points": arsg_optax.observe_remotely(optax.sgd(0.1), 2.0),
    "declared": optax.chain(
        arsg_optax.declare_elementwise(optax.scale_by_rms()), optax.scale(-0.1)
    ),
}


@pytest.mark.parametrize("onto", [BALL, HALF], ids=["ball", "half-space"])
@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_metric_is_refused(name, onto):
    with pytest.raises(ValueError, match=r"inner must .* metric='euclidean'"):
        project(UNKNOWN[name], onto).init(PARAMS)
    project(UNKNOWN[name], onto, metric="euclidean").init(PARAMS)
    project(UNKNOWN[name], Box(-1.0, 1.0)).init(PARAMS)


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_metric_passes(name):
    for onto in (BALL, HALF):
        project(KNOWN[name], onto).init(PARAMS)


def test_a_lone_scalar_has_a_metric_too():
    with pytest.raises(ValueError, match="ScaleByRmsState"):
        project(_noisy_rms(), BALL).init({"scale": jnp.ones([])})
    project(optax.sgd(0.1, momentum=0.9), BALL).init({"scale": jnp.ones([])})


def _projected(inner, onto, **options):
    optimizer = project(inner, onto, **options)
    updates, state = optimizer.update(GRADIENT, optimizer.init(PARAMS), PARAMS)
    return optax.apply_updates(PARAMS, updates), state


@pytest.mark.parametrize("inner", [_noisy_rms(), arsg_optax.arsg(0.1)])
def test_the_euclidean_metric_shrinks_all_elements_alike(inner):
    got, _ = _projected(inner, BALL, metric="euclidean")
    free, _ = inner.update(GRADIENT, inner.init(PARAMS), PARAMS)
    point = jax.tree.map(jnp.add, PARAMS, free)
    length = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in point.values()))
    for name, leaf in point.items():
        np.testing.assert_allclose(got[name], leaf * 0.5 / length, rtol=1e-5)


def test_the_metric_of_the_optimizer_is_another_one():
    euclidean, _ = _projected(arsg_optax.arsg(0.1), BALL, metric="euclidean")
    own, _ = _projected(arsg_optax.arsg(0.1), BALL)
    assert np.max(np.abs(own["b"] - euclidean["b"])) > 0.01


def test_the_metric_is_kept_in_the_state_without_an_array():
    states = [
        _projected(arsg_optax.arsg(0.1), BALL, metric=metric)[1]
        for metric in ("optimizer", "euclidean")
    ]
    assert len(jax.tree.leaves(states[0])) == len(jax.tree.leaves(states[1]))
    assert states[0].multipliers().keys() == {"['b']", "['w']"}
    assert states[1].multipliers() == {}


@pytest.mark.parametrize("metric", ["l2", None, True])
def test_what_is_no_metric(metric):
    wrong: Any = metric
    with pytest.raises(ValueError, match="metric must be 'optimizer' or 'euclidean'"):
        project(optax.sgd(0.1), BALL, metric=wrong)


class _Field(equinox.Module):
    numerator: jax.Array
    denominator: jax.Array


class _Method(equinox.Module):
    weight: jax.Array

    def denominator(self, x: Any = 0.0) -> Any:
        return self.weight + x


class _Tuple(NamedTuple):
    numerator: jax.Array
    denominator: jax.Array


@pytest.mark.parametrize(
    "params",
    [
        _Field(jnp.ones(3), jnp.full(2, 2.0)),
        _Method(jnp.ones(3)),
        {"rational": _Method(jnp.ones(3)), "last": jnp.ones(2)},
        _Tuple(jnp.ones(3), jnp.full(2, 2.0)),
    ],
    ids=["field", "method", "method inside", "tuple"],
)
@pytest.mark.parametrize(
    "inner",
    [
        arsg_optax.arsg(0.1, b1=0.9),
        arsg_optax.adarem(0.1),
        optax.sgd(0.1, momentum=0.9),
    ],
    ids=["arsg", "adarem", "momentum"],
)
def test_parameters_are_not_taken_for_states(params, inner):
    """Whatever the names of their fields and methods, they are projected as arrays."""
    leaves, structure = jax.tree.flatten(params)
    optimizer = project(inner, BALL)
    got, state = params, optimizer.init(params)
    plain, plain_state = leaves, optimizer.init(leaves)
    for _ in range(2):
        updates, state = optimizer.update(got, state, got)
        got = optax.apply_updates(got, updates)
        updates, plain_state = optimizer.update(plain, plain_state, plain)
        plain = optax.apply_updates(plain, updates)
    assert jax.tree.structure(got) == structure
    for one, other in zip(jax.tree.leaves(got), plain, strict=True):
        np.testing.assert_array_equal(one, other)
