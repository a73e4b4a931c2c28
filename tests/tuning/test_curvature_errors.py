"""What the curvature probe refuses: each error names argument, value and remedy."""

import jax.numpy as jnp
import numpy as np
import pytest

from arsg_optax.tuning import curvature

GOOD = {
    "loss_fn": lambda params, batch: jnp.sum(params["w"] ** 2) * jnp.mean(batch),
    "params": {"w": jnp.ones(2)},
    "batches": jnp.ones((2, 3)),
}


def root_at_zero(power):
    """A loss whose derivatives are finite only up to an order below the power."""
    return lambda params, batch: (
        jnp.sum(params["w"])
        + jnp.sum(jnp.abs(params["w"] - 1) ** power) * jnp.mean(batch)
    )


BAD = {
    "vector": (
        {"loss_fn": lambda params, batch: params["w"]},
        r"loss_fn must return a real scalar, got shape \(2,\).*; return",
    ),
    "infinite loss": (
        {
            "loss_fn": lambda params, batch: jnp.sum(params["w"]) / jnp.mean(batch),
            "batches": jnp.array([[1.0], [0.0]]),
        },
        "loss_fn must return a finite loss, got inf for batch 1; pass",
    ),
    "infinite gradient": (
        {"loss_fn": root_at_zero(0.5)},
        r"loss_fn must have finite gradients, got .* at '\['w'\]'; pass",
    ),
    "infinite curvature": (
        {"loss_fn": root_at_zero(1.5)},
        "loss_fn must have finite second derivatives, but .*; pass",
    ),
    "integer": (
        {"params": {"n": jnp.int32(1), "w": jnp.ones(2)}},
        r"params must be real floating point, got dtype int32 at '\['n'\]'; hold",
    ),
    "complex": (
        {"params": {"w": jnp.ones(2, jnp.complex64)}},
        r"params must be real floating point, got dtype complex64 .*; hold",
    ),
    "no leaf": ({"params": {}}, "params must hold at least one number, got {}; pass"),
    "no number": (
        {"params": {"w": jnp.ones(0)}},
        "params must hold at least one number, got .*; pass",
    ),
    "one batch": (
        {"batches": jnp.ones((1, 3))},
        "batches must hold at least two along axis 0, got 1; .* split",
    ),
    "two counts": (
        {"batches": (jnp.ones((2, 3)), jnp.ones((3, 3)))},
        "batches must have leading axes of one length, got ",
    ),
    "no axis": ({"batches": jnp.float32(1)}, "batches must have a leading axis"),
    "structure": (
        {"preconditioner": {"v": jnp.ones(2)}},
        "preconditioner must have the tree structure of params, .*; pass",
    ),
    "shape": (
        {"preconditioner": {"w": jnp.ones(())}},
        r"preconditioner must have the shape \(2,\) at '\['w'\]', got \(\); pass",
    ),
    "negative": (
        {"preconditioner": {"w": jnp.array([1.0, -0.5])}},
        r"preconditioner must be at least 0, got -0.5 at '\['w'\]'; it",
    ),
    "not a number": (
        {"preconditioner": {"w": jnp.array([1.0, jnp.nan])}},
        "preconditioner must be at least 0, got nan",
    ),
    "all dead": (
        {"preconditioner": {"w": jnp.zeros(2)}},
        "preconditioner must be above 0 somewhere, got none; pass",
    ),
    "no iteration": (
        {"iterations": 0},
        "iterations must be a whole number, at least 1 .*, got 0; each",
    ),
    "half an iteration": (
        {"iterations": 1.5},
        "iterations must be a whole number, .*, got 1.5; each",
    ),
    "start": (
        {"start": "zero"},
        "start must be 'gradient' or 'random', got 'zero'; the gradient",
    ),
    "no key": ({"start": "random"}, "key must be a JAX key .*, got None; pass"),
    "no gradient": (
        {"params": {"w": jnp.zeros(2)}},
        "start must be 'random' at params where the gradient is 0, got .*; pass",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_refusals(kind):
    changes, message = BAD[kind]
    with pytest.raises(ValueError, match=f"^{message}"):
        curvature(**{**GOOD, **changes})


def test_the_accepted_arguments_are_good():
    found = curvature(**GOOD)
    np.testing.assert_allclose(found.eigenvalues, [2.0])
