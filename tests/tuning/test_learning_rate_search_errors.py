"""What a search of the step size refuses."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

import arsg_optax
from arsg_optax.tuning import search_learning_rate
from tests.tuning.searches import regression, square_loss, start


def _search(rates=(0.01, 0.1), steps=2, **options):
    return search_learning_rate(
        arsg_optax.rsg,
        square_loss,
        start(),
        regression(),
        rates,
        steps=steps,
        **options,
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rates": []}, "learning_rates must not be empty"),
        ({"rates": [0.1, -1.0]}, "learning_rates must be finite and positive, got -1"),
        ({"rates": [float("nan")]}, "learning_rates must be finite and positive"),
        ({"steps": 0}, "steps must be a whole number, at least 1 .* got 0"),
        ({"steps": 1.5}, "steps must be a whole number, at least 1 .* got 1.5"),
        ({"seeds": 0}, "seeds must be a whole number, at least 1 .* got 0"),
        ({"engine": "fast"}, "engine must be one of auto, vmapped"),
        ({"memory_limit": 0}, "memory_limit must be in"),
        ({"margin": -0.1}, r"margin must be in \[0, inf\), got -0.1"),
        ({"rates": [0.1, 1e39]}, "learning_rate must be within float32"),
        ({"rates": [1e-50]}, "learning_rate must be within float32"),
    ],
)
def test_errors_name_argument_value_and_remedy(options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        _search(**options)


@pytest.mark.parametrize(
    ("batches", "match"),
    [
        ((), "batches must hold arrays"),
        (jnp.float32(1), "leading axis of batches, got shape"),
        ((jnp.ones((2, 3)), jnp.ones(3)), "leading axes of one length"),
        (jnp.ones((0, 3)), "leading axis of batches"),
    ],
)
def test_batches_that_are_none(batches, match):
    with pytest.raises(ValueError, match=match):
        search_learning_rate(optax.sgd, square_loss, start(), batches, [0.1], steps=1)


def test_losses_and_states_that_are_none():
    search = functools.partial(
        search_learning_rate, optax.sgd, learning_rates=[0.1], steps=1
    )
    batches, params = jnp.ones((2, 3)), jnp.ones(3)
    with pytest.raises(ValueError, match=r"real scalar, got shape \(3,\)"):
        search(lambda p, b: p * b, params, batches)
    with pytest.raises(ValueError, match="real scalar, got tuple"):
        search(lambda p, b: (jnp.sum(p * b), 1), params, batches)
    with pytest.raises(ValueError, match="aux must keep its structure"):
        search(lambda p, a, b: (jnp.sum(p * b), (a, a)), params, batches, aux=params)
    with pytest.raises(ValueError, match=r"loss_fn must return \(loss, next aux\)"):
        search(lambda p, a, b: jnp.sum(p * b), params, batches, aux=params)
    with pytest.raises(ValueError, match="params must be real floating point"):
        search(lambda p, b: jnp.sum(p * b), jnp.ones(3, int), batches)


def test_engines_but_vmapped_know_no_mesh():
    mesh = jax.make_mesh((8,), ("all",))
    with pytest.raises(ValueError, match="engine must be auto or vmapped on a mesh"):
        _search(mesh=mesh, engine="unrolled")
