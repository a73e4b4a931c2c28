"""Bounds: dtypes, compilation and messages."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax import dynamics
from arsg_optax.dynamics import namsg_regret as namsg
from arsg_optax.dynamics import regret as bounds

THEOREM3: dict[str, Any] = dict(step_size=1.0, b1=0.5, b2=0.9, observation=0.5)
NAMSG: dict[str, Any] = dict(step_size=0.3, b1=0.5, b2=0.9)
STEEPEST: dict[str, Any] = dict(diameter=1.0, gradient_l1=1.0)


@pytest.mark.usefixtures("x64")
def test_bounds_compile_and_follow_their_arguments_dtype():
    constants: dict[str, Any] = dict(step_size=1.0, b1=0.5, b2=0.9)

    @jax.jit
    def both(horizon, root):
        strong = bounds.arsg_theorem3_bound(
            horizon,
            **constants,
            observation=0.5,
            diameter=1.0,
            gradient_l1=1.0,
            largest_root=root,
        )
        return strong, namsg.namsg_harmonic_bound(
            horizon, root, root, **constants, diameter=1.0
        )

    for dtype in (jnp.float32, jnp.float64):
        root = jnp.ones((7,), dtype)
        for found in both(jnp.arange(1, 8), root):
            assert found.shape == (7,)
            assert found.dtype == dtype
            assert np.all(np.isfinite(found))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: bounds.arsg_theorem3_bound(
                1, **THEOREM3, **STEEPEST, eps=1e-8, largest_root=1.0
            ),
            "exactly one of eps and largest_root must be given, got 1e-08 and 1.0",
        ),
        (
            lambda: bounds.arsg_theorem3_bound(
                0, **THEOREM3, **STEEPEST, largest_root=1.0
            ),
            "horizon must be in [1",
        ),
        (
            lambda: bounds.arsg_theorem3_step_size(
                np.ones(3), b1=0.5, observation=0.5, strong_convexity=1.0
            ),
            "roots must have the shape (T, d) with T >= 1, got (3,)",
        ),
        (
            lambda: namsg.namsg_theorem1_bound(
                np.ones((3, 2)), np.ones((3, 2)), **NAMSG, diameter=1.0
            ),
            "b1 must have the shape (T,)",
        ),
        (
            lambda: namsg.namsg_corollary1_bound(
                1, 1.0, 1.0, **NAMSG, decay=1.0, diameter=1.0
            ),
            "decay must be in [0, 1), got 1.0",
        ),
        (
            lambda: bounds.adarem_theorem1_bound(
                1,
                step_size=1.0,
                resilience=1.0,
                diameter=1.0,
                gradient_l2=1.0,
                dimension=1,
            ),
            "resilience must be in [0, 1), got 1.0",
        ),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError) as raised:
        call()
    assert message in str(raised.value)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["diameter", "gradient_l1", "largest_root"])
def test_theorem3_magnitudes(name, value):
    arguments = {"diameter": 1.0, "gradient_l1": 1.0, "largest_root": 1.0, name: value}
    with pytest.raises(ValueError, match=f"{name} must be"):
        dynamics.arsg_theorem3_bound(
            10, step_size=1.0, b1=0.5, b2=0.9, observation=0.6, **arguments
        )


@pytest.mark.parametrize("name", ["diameter", "gradient_l2", "dimension"])
def test_adarem_magnitudes(name):
    arguments = {"diameter": 1.0, "gradient_l2": 1.0, "dimension": 2, name: -3.0}
    with pytest.raises(ValueError, match=f"{name} must be"):
        dynamics.adarem_theorem1_bound(10, step_size=1.0, resilience=0.5, **arguments)


@pytest.mark.parametrize("name", ["root_sum", "gradient_norm_sum", "diameter"])
def test_namsg_magnitudes(name):
    arguments = {"root_sum": 1.0, "gradient_norm_sum": 1.0, "diameter": 1.0, name: -1.0}
    with pytest.raises(ValueError, match=f"{name} must be"):
        dynamics.namsg_harmonic_bound(10, step_size=1.0, b1=0.5, b2=0.9, **arguments)


def test_numpy_numbers_are_compared():
    with pytest.raises(ValueError, match="exchange lambda_min"):
        dynamics.optimal_hyperparams(np.float32(2), np.float32(1), observation=0.0)
    with pytest.raises(ValueError, match="c_beta must be"):
        dynamics.theorem1_rate(np.float32(100), np.float32(5), np.float32(50), 1.0)


@pytest.mark.parametrize(
    ("tau", "curvature", "noise"), [(100.0, 1.0, 0.0), (-1.0, 0.0, 1.0)]
)
def test_final_loss_is_infinite_where_the_variance_is(tau, curvature, noise):
    assert dynamics.final_loss(tau, 0.9, 0.5, curvature, noise) == float("inf")
