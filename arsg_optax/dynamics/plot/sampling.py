"""Values of the theory's functions for a picture: float64 and NumPy."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.experimental
import numpy as np
from numpy.typing import ArrayLike


def evaluate(function: Callable[..., Any], *arguments: ArrayLike) -> Any:
    """Calls one of the theory's functions in float64.

    Beside the gain 1 of small curvatures float32 has steps that a picture would show.
    The setting holds for this call and this thread only.

    Args:
      function: of `arsg_optax.dynamics`.
      *arguments: numbers and arrays, broadcast against each other.

    Returns:
      The result, with NumPy arrays of the broadcast shape in place of JAX's.
    """
    arrays = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in arguments)
    )
    with _float64():
        return jax.tree.map(np.array, function(*arrays))


def _float64() -> AbstractContextManager[Any]:
    # The context manager moved out of jax.experimental after jax 0.7.
    scoped = getattr(jax, "enable_x64", None)
    if scoped is not None:
        return scoped(True)
    return jax.experimental.enable_x64()  # pyright: ignore[reportAttributeAccessIssue]
