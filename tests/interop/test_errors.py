"""Wrong trees and dtypes are refused with the remedy in the message."""

import jax
import jax.numpy as jnp
import pytest

from tests.interop.steps import gradients, tree
from tests.interop.table import rows

REFUSED = {
    "complex": (jnp.complex64, "optax.contrib.split_real_and_imaginary"),
    "integer": (jnp.int32, "optax.masked or optax.partition"),
    "boolean": (jnp.bool_, "optax.masked or optax.partition"),
}


@pytest.mark.parametrize("kind", REFUSED)
@rows("errors")
def test_params_must_be_real(row, kind):
    dtype, remedy = REFUSED[kind]
    params = {**tree(0), "w": jnp.ones((2, 3), dtype)}
    with pytest.raises(ValueError, match=rf"(?s)params.*'\['w'\]'.*{remedy}"):
        row.make().init(params)
    with pytest.raises(ValueError, match=remedy):
        jax.eval_shape(row.make().init, params)


@pytest.mark.parametrize("kind", REFUSED)
@rows("errors_updates")
def test_gradients_must_be_real(row, kind):
    dtype, remedy = REFUSED[kind]
    optimizer, params = row.make(), tree(0)
    gradient = {**gradients(1)[0], "w": jnp.ones((2, 3), dtype)}
    extra = row.extra_args(jnp.float32(1.0))
    with pytest.raises(ValueError, match=remedy):
        optimizer.update(gradient, optimizer.init(params), params, **extra)


CHANGED = {
    "missing leaf": lambda g: {"w": g["w"]},
    "further leaf": lambda g: {**g, "z": g["w"]},
    "other container": lambda g: (g["b"], g["w"]),
    "broadcastable shape": lambda g: {**g, "b": g["b"][:1]},
    "scalar": lambda g: {**g, "b": g["b"][0]},
}


@pytest.mark.parametrize("change", CHANGED)
@rows("errors")
def test_gradients_must_fit_the_state(row, change):
    optimizer, params = row.make(), tree(0)
    gradient = CHANGED[change](gradients(1)[0])
    remedy = "call update with gradients of the parameters that init was called with"
    extra = row.extra_args(jnp.float32(1.0))
    with pytest.raises(ValueError, match=remedy):
        # Parameters that fit the gradient, so that nothing else can complain.
        optimizer.update(
            gradient,
            optimizer.init(params),
            jax.tree.map(jnp.zeros_like, gradient),
            **extra,
        )
