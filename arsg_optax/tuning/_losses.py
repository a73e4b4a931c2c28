"""What a loss function must return, and whether it may run in a compiled loop."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def real_scalar(
    loss: Any, remedy: str = "return the mean loss alone, without auxiliary outputs."
) -> jax.Array:
    """The loss that a loss function returned, checked while tracing.

    Raises:
      ValueError: if it is not real floating point of shape ().
    """
    kind = type(loss).__name__
    if isinstance(loss, float) or hasattr(loss, "dtype"):
        loss = jnp.asarray(loss)
        if loss.shape == () and jnp.issubdtype(loss.dtype, jnp.floating):
            return loss
        kind = f"shape {loss.shape} and dtype {loss.dtype}"
    raise ValueError(f"loss_fn must return a real scalar, got {kind}; {remedy}")


def suits_compiled_loop(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function should run in a compiled loop on this backend.

    XLA:CPU runs a convolution inside a loop several times slower than outside of it.

    Args:
      function: is traced, not run.
      *arguments: arrays, or their shapes.
    """
    if jax.default_backend() != "cpu":
        return True
    return "conv_general_dilated" not in str(jax.make_jaxpr(function)(*arguments))
