"""The learning rate: Optax's last link, which also records the rate it applied."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._precision import cast_updates, compute_dtype
from arsg_optax._trees import check_real, per_leaf
from arsg_optax._validation import check, check_flag


class ScaleByLearningRateState(NamedTuple):
    """State of :func:`scale_by_learning_rate`."""

    count: jax.Array  # () int32, updates so far.
    # (), default float dtype: the last update was minus this times what came in. Not
    # named learning_rate, which optax.tree.get finds in injected hyper-parameters.
    applied_learning_rate: jax.Array

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        return {"learning_rate": self.applied_learning_rate}


def scale_by_learning_rate(
    learning_rate: optax.ScalarOrSchedule, *, flip_sign: bool = True
) -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by the negative learning rate, and records it.

    It works as :func:`optax.scale_by_learning_rate` does; :func:`arsg_optax.metrics`
    reports the recorded rate. A policy around the chain may pass the extra argument
    ``learning_rate_scale``, a () array, which multiplies the rate. Updates come out in
    the parameters' dtypes, or without ``params`` in those they came in.

    Args:
      learning_rate: finite and at least 0, or a schedule of the updates before.
      flip_sign: False keeps the sign, so that the steps ascend. The recorded rate is
        negative then, so that an update is always minus the recorded rate times what
        came in.

    Raises:
      ValueError: if the learning rate is negative, not finite or no scalar.
    """
    check("learning_rate", learning_rate)
    check_flag("flip_sign", flip_sign)
    sign = 1 if flip_sign else -1

    def init_fn(params):
        check_real("params", params)
        return ScaleByLearningRateState(
            count=jnp.zeros([], jnp.int32),
            applied_learning_rate=jnp.zeros([], default_float()),
        )

    def update_fn(updates, state, params=None, *, learning_rate_scale=None, **_):
        scale = learning_rate_scale
        rate = sign * value_at("learning_rate", learning_rate, state.count, scale)
        new_state = ScaleByLearningRateState(
            count=increment(state.count), applied_learning_rate=as_scalar(rate)
        )
        return cast_updates(step(updates, -rate), params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def step(updates: optax.Updates, factor: float | jax.Array) -> optax.Updates:
    """Updates times a () factor, in float32 at least."""
    factor = as_scalar(factor)  # Once, not once per leaf.
    return jax.tree.map(lambda update: _times(update, factor), updates)


@functools.partial(per_leaf, inline=True)
def _times(update, factor):
    dtype = compute_dtype(update)
    return jnp.asarray(factor, dtype) * update.astype(dtype)
