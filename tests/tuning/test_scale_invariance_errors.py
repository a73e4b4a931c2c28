"""What cannot be tested for scale invariance is refused, with the remedy."""

import jax
import jax.numpy as jnp
import pytest

from arsg_optax.tuning import scale_invariant_leaves

BAD_LOSSES = {
    "vector": (lambda w: w**2, r"real scalar, got shape \(2,\)"),
    "tuple": (lambda w: (jnp.sum(w), 1), "real scalar, got tuple.*auxiliary"),
    "integer": (lambda w: jnp.int32(1), "real scalar, got shape .* int32"),
    "complex": (
        lambda w: jax.lax.complex(w[0], w[1]),
        "real scalar, got shape .* complex64",
    ),
    "nothing": (lambda w: None, "real scalar, got NoneType; return"),
    "NaN": (lambda w: jnp.sum(w) * jnp.nan, "finite loss, got nan; pass"),
    "infinite": (lambda w: jnp.sum(w) / 0.0, "finite loss, got inf; pass"),
    "gradient": (
        lambda w: jnp.sqrt(jnp.sum((w - w) ** 2)),
        r"finite gradients, got a norm of nan at ''; pass",
    ),
}


@pytest.mark.parametrize("kind", BAD_LOSSES)
def test_bad_losses(kind):
    loss, message = BAD_LOSSES[kind]
    with pytest.raises(ValueError, match=f"^loss_fn must .*{message}"):
        scale_invariant_leaves(loss, jnp.array([1.0, 2.0]))


def test_complex_parameters():
    params = {"a": jnp.ones(2), "z": jnp.ones(2, jnp.complex64)}
    with pytest.raises(ValueError, match=r"params must be real, got .*'\['z'\]'; give"):
        scale_invariant_leaves(lambda p: jnp.sum(p["a"]), params)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("factor", 1.0),
        ("factor", 0.5),
        ("factor", 1.1),
        ("factor", float("nan")),
        ("factor", jnp.ones(3)),
        ("tolerance", 0.0),
        ("tolerance", 0.5),
        ("tolerance", None),
    ],
)
def test_arguments_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*; .*"):
        scale_invariant_leaves(jnp.sum, jnp.ones(2), **{name: value})
