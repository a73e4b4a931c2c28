"""Sets that are empty, undefined or do not fit raise, with the remedy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax import Box, HalfSpace, L2Ball, project

nan, inf = float("nan"), float("inf")
PARAMS = {"b": jnp.ones(3), "w": jnp.ones((2, 3))}

REFUSED: list[tuple[Any, str]] = [
    ((0.0, 1.0), "onto must be a Box, an L2Ball or a HalfSpace"),
    (Box(1.0, 0.0), "lower must be at most upper, got lower 1.0 and upper 0.0; swap"),
    (Box(np.float32(1), jnp.zeros(())), "lower must be at most upper"),
    (Box(jnp.array([0.0, 2.0]), 1.0), "lower must be at most upper"),
    (Box(2.0, {"b": 3.0, "w": 1.0}), r"at most upper at '\['w'\]'.*swap"),
    (Box({"b": 3.0, "w": 1.0}, 2.0), r"at most upper at '\['b'\]'.*swap"),
    (Box({"b": 0.0, "w": 1.0}, {"b": 1.0, "w": 0.0}), r"at most upper at '\['w'\]'"),
    (Box(nan, None), "lower must not be NaN.*None is no bound"),
    (Box(None, {"b": nan, "w": 1.0}), r"upper must not be NaN at '\['b'\]'"),
    (Box("0", None), "lower must be real numbers or arrays, got '0'"),
    (Box(True, None), "lower must be real numbers or arrays, got True"),
    (Box(1j, None), "lower must be real numbers or arrays"),
    (Box(None, jnp.ones(2, jnp.complex64)), "upper must be real"),
    (L2Ball(-1.0), r"radius must be finite and at least 0, got -1\.0; without"),
    (L2Ball(nan), "radius must be finite and at least 0, got nan"),
    (L2Ball(inf), "radius must be finite.*leave project out"),
    (L2Ball(jnp.float32(-1.0)), "radius must be finite and at least 0"),
    (L2Ball(jnp.ones(2)), "radius must be a real number"),
    (L2Ball(None), "radius must be given"),
    (L2Ball(1.0, {"b": inf, "w": 0.0}), r"center must be finite at '\['b'\]'"),
    (HalfSpace(0.0, 1.0), "normal must not be 0.*direction"),
    (HalfSpace({"b": np.zeros(3), "w": 0}, 1.0), "normal must not be 0"),
    (HalfSpace(None, 1.0), "normal must be given"),
    (HalfSpace({"b": nan, "w": 0.0}, 1.0), "normal must be finite"),
    (HalfSpace(1.0, inf), "offset must be finite"),
    (HalfSpace(1.0, {"b": 1.0}), "offset must be a real number"),
]


@pytest.mark.parametrize(("onto", "message"), REFUSED)
def test_sets_that_are_empty_or_undefined(onto, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        project(optax.sgd(0.1), onto)


MISFITS: list[tuple[Any, str]] = [
    (Box({"b": 0.0}, None), "lower must be a number or have the tree structure"),
    (Box(None, {"b": 1.0, "w": 1.0, "z": 1.0}), "upper must be a number or have"),
    (Box((0.0, 0.0), None), "lower must be a number or have the tree structure"),
    (Box({"b": {"c": 0.0}, "w": 0.0}, None), r"lower must have one leaf at '\['b'\]'"),
    (Box({"b": np.zeros(2), "w": 0.0}, None), r"shape \(3,\) at '\['b'\]', got \(2,\)"),
    (
        L2Ball(1.0, {"b": np.zeros((1, 3)), "w": 0.0}),
        r"center must broadcast.*\(1, 3\)",
    ),
    (HalfSpace({"b": 1.0, "w": np.ones(2)}, 1.0), r"normal must broadcast.*got \(2,\)"),
    (HalfSpace(np.ones(3), 1.0), "normal must be a number or have the tree structure"),
]


@pytest.mark.parametrize(("onto", "message"), MISFITS)
def test_sets_that_do_not_fit_the_parameters(onto, message):
    optimizer = project(optax.sgd(0.1), onto)
    with pytest.raises(ValueError, match=f"(?s){message}.*; give it"):
        optimizer.init(PARAMS)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        jax.eval_shape(optimizer.init, PARAMS)


def test_what_fits():
    fitting = [
        Box(None, None),
        Box(-inf, inf),
        Box({"b": -1, "w": np.zeros((1, 3))}, {"b": np.ones(1), "w": None}),
        Box(1.0, 1.0),
        L2Ball(0.0, 1.0),
        L2Ball(np.int32(2), {"b": None, "w": np.zeros(3)}),
        HalfSpace({"b": 0.0, "w": 1.0}, -1),
    ]
    for onto in fitting:
        optimizer = project(optax.sgd(0.1), onto)
        state = optimizer.init(PARAMS)
        for leaf in jax.tree.leaves(state.onto):
            assert leaf.dtype == jnp.float32
            assert leaf.shape in ((), (3,), (2, 3))
        optimizer.update(PARAMS, state, PARAMS)


def test_update_needs_params():
    optimizer = project(optax.sgd(0.1), L2Ball(1.0))
    with pytest.raises(
        ValueError, match=r"params must be given.*update\(gradients, st"
    ):
        optimizer.update(PARAMS, optimizer.init(PARAMS))


def test_params_must_be_real_and_fit():
    optimizer = project(optax.sgd(0.1), L2Ball(1.0))
    with pytest.raises(ValueError, match="params must be real"):
        optimizer.init({"a": jnp.ones(2, jnp.int32)})
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match="params must have the tree structure"):
        optimizer.update(PARAMS, state, {"b": PARAMS["b"]})


def test_traced_values_are_not_compared():
    @jax.jit
    def step(lower, upper, radius, normal):
        for onto in (Box(lower, upper), L2Ball(radius), HalfSpace(normal, 1.0)):
            optimizer = project(optax.sgd(0.1), onto)
            optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
        return lower

    step(1.0, 0.0, -1.0, 0.0)


def test_statistics_in_another_structure_are_refused():
    optimizer = project(optax.flatten(arsg_optax.arsg(0.1)), L2Ball(1.0))
    with pytest.raises(ValueError, match=r"inner must keep.*optax\.flatten"):
        optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
