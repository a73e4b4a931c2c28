"""What an interoperability test must know about an optimizer."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.interop.offsets import Offset


class Row(NamedTuple):
    """An optimizer, how to call it and what to expect of it."""

    name: str
    factory: Callable[..., optax.GradientTransformationExtraArgs]
    # Every argument but the learning rate.
    arguments: Mapping[str, Any]
    # For a few steps on the arrays of `steps.py` and on the small networks.
    learning_rate: float
    # Those of `targets.py` that it has -> learning rate that reaches each in time.
    targets: Mapping[str, float]
    # Arguments that the papers index by t: each takes a schedule.
    scheduled: tuple[str, ...]
    offset: Offset
    # Maps a leaf's iterate onto what constrains it, given the held leaf.
    onto: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda point, held: point
    # Of a moment or an update against float64, relative.
    rounding: float = 1e-5
    # Arguments that inject_hyperparams must leave alone.
    static: tuple[str, ...] = ()
    # Arguments that switch on a weight decay.
    decay: Mapping[str, Any] = {}
    # What the update needs beside the gradient, from the value of the loss.
    extra_args: Callable[[Any], dict[str, Any]] = lambda value: {}
    # Check, as in `rows(check)` -> why it does not apply.
    skip: Mapping[str, str] = {}
    # The row that calls JAX and Optax as this one does, with other values; for most
    # tests that row is enough.
    like: str = ""

    def make(self, **changes: Any) -> optax.GradientTransformationExtraArgs:
        """The optimizer, with some arguments changed."""
        return self.factory(**{**self.hyperparameters(), **changes})

    def stores_bfloat16(self) -> bool:
        state = self.make().init({"w": jnp.zeros(1)})
        return any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(state))

    def hyperparameters(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, **self.arguments}
