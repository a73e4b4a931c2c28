"""What the papers' convergence theorems share: conditions and one constant."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from arsg_optax._validation import check_number, is_number
from arsg_optax.dynamics._arguments import check_b1, check_positive


def check_step_size(step_size: ArrayLike) -> None:
    """Checks the constant that the theorems call α, α̇ or η."""
    check_positive("step_size", step_size, "it multiplies every learning rate")


def check_horizon(horizon: ArrayLike) -> None:
    """Checks a number of steps."""
    check_number("horizon", horizon, 1, "[)", math.inf, "count the steps taken")


def check_b2(b2: ArrayLike) -> None:
    """Checks the decay rate of the second moment."""
    check_number("b2", b2, 0, "[)", 1, "1 - b2 weighs the newest square; 0.99 is usual")


def check_decays(b1: ArrayLike, b2: ArrayLike) -> None:
    """Checks both decay rates and the theorems' γ = b1 / sqrt(b2) < 1."""
    check_b1(b1)
    check_b2(b2)
    if is_number(b2):
        remedy = "the theorem needs b1 < sqrt(b2); lower b1 or raise b2"
        check_number("b1", b1, 0, "[)", math.sqrt(b2), remedy)


def check_nesterov_or_beyond(b1: ArrayLike, observation: ArrayLike) -> None:
    """Checks Theorem 3's 1 - b1 <= observation < 1."""
    if is_number(b1):
        remedy = "Theorem 3 needs at least Nesterov's 1 - b1; raise it or b1"
        lowest = 1 - float(b1) - 1e-12  # 1 - 0.7 is above the float 0.3
        check_number("observation", observation, lowest, "[)", 1, remedy)


def momentum_weight(b1: jax.Array, b2: jax.Array) -> jax.Array:
    """β₁² / ((1 - β₁)(1 - γ)) with γ = β₁ / √b2, in the regret of the momentum."""
    return b1**2 / ((1 - b1) * (1 - b1 / jnp.sqrt(b2)))


def step_numbers(rows: jax.Array) -> jax.Array:
    """The papers' t = 1 ... T for arrays with one row per step: (T,)."""
    return jnp.arange(1, rows.shape[0] + 1, dtype=rows.dtype)


def check_rows(name: str, rows: jax.Array) -> None:
    """Checks that there is one row per step."""
    if rows.ndim != 2 or not rows.shape[0]:
        raise ValueError(
            f"{name} must have the shape (T, d) with T >= 1, got {rows.shape}; "
            "stack one row per step."
        )
