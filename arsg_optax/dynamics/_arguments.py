"""Arguments of the theory: ranges of numbers, and one shape and dtype for arrays."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from arsg_optax._validation import check_number

_INF = float("inf")


def check_magnitudes(**magnitudes: ArrayLike) -> None:
    """Checks lengths, norms and sums of them, by name: finite and at least 0."""
    for name, value in magnitudes.items():
        check_number(name, value, 0, "[)", _INF, "it is a length, a norm or their sum")


def check_tau(tau: ArrayLike) -> None:
    """Checks a step size times curvature: any finite number."""
    remedy = "tau is learning rate times curvature, dimensionless"
    check_number("tau", tau, -_INF, "()", _INF, remedy)


def check_b1(b1: ArrayLike) -> None:
    """Checks a momentum decay: in [0, 1)."""
    remedy = "1 - b1 is the weight of the newest gradient; 0.9 to 0.999 are usual"
    check_number("b1", b1, 0, "[)", 1, remedy)


def check_observation(observation: ArrayLike) -> None:
    """Checks an observation factor: in [0, 1)."""
    remedy = "0 is heavy ball, 1 - b1 is Nesterov, 0.1 is the ARSG default"
    check_number("observation", observation, 0, "[)", 1, remedy)


def check_positive(name: str, value: ArrayLike, remedy: str) -> None:
    """Checks a finite number above 0."""
    check_number(name, value, 0, "()", _INF, remedy)


def check_nonnegative(name: str, value: ArrayLike, remedy: str) -> None:
    """Checks a finite number, 0 or above."""
    check_number(name, value, 0, "[)", _INF, remedy)


def common_dtype(*values: ArrayLike) -> jnp.dtype:
    """The floating dtype to compute in, 32 bits at least.

    It is cast explicitly, because callers may forbid implicit promotion. In 16 bits a
    decay of 0.999 would be 1. Python numbers follow the arrays; alone they are of JAX's
    default dtype.
    """
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(*values)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"arguments must be real, got dtype {dtype}; curvatures of a symmetric "
            "Hessian are real, pass their real part."
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        return jnp.result_type(float)
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype


def common_arrays(*values: ArrayLike) -> list[jax.Array]:
    """The values as arrays of one floating dtype and one shape, NumPy's broadcast."""
    dtype = common_dtype(*values)
    return jnp.broadcast_arrays(*(jnp.asarray(value, dtype) for value in values))


def safe_sqrt(square: jax.Array) -> jax.Array:
    """Square root, 0 below 0, with derivative 0 instead of infinity there and at 0.

    The inner `where` keeps the unused branch's infinite derivative, times zero, from
    turning a gradient into NaN.
    """
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)
