"""RSG on a noisy quadratic along one eigenvector, step by step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from arsg_optax.dynamics._arguments import (
    check_b1,
    check_observation,
    check_tau,
    common_dtype,
)


class Trajectory(NamedTuple):
    """States before the first and after each step: shape (steps + 1, ...).

    Attributes:
      momentum: v = learning rate times first moment, in units of the parameter.
      deviation: s, the held parameter (observation point) minus the minimum.
      iterate: the iterate minus the minimum, what `arsg_optax.eval_params` returns.
    """

    momentum: jax.Array
    deviation: jax.Array
    iterate: jax.Array


def simulate(
    tau: ArrayLike,
    b1: ArrayLike,
    observation: ArrayLike,
    noise: ArrayLike | None = None,
    *,
    key: jax.Array | None = None,
    steps: int | None = None,
    deviation: ArrayLike = 1.0,
    momentum: ArrayLike = 0.0,
) -> Trajectory:
    """Runs the noisy linear system.

    Give either `noise`, or `key` and `steps` for independent standard normal noise, or
    `steps` alone for none. Results, noise included, scale with each other: noise of
    standard deviation σ from a deviation of 1 is standard noise from 1/σ, times σ.

    Args:
      tau: learning rate times curvature, dimensionless, any sign.
      b1: momentum decay, dimensionless, in [0, 1).
      observation: observation factor, dimensionless, in [0, 1).
      noise: shape (steps, ...), the gradient's error at each step divided by the
        curvature, in units of the parameter.
      key: random key for standard normal noise.
      steps: number of steps, at least 0.
      deviation: s at the start, in units of the parameter.
      momentum: v at the start; 0 is an optimizer's first step.

    Returns:
      :class:`Trajectory`; ... is the broadcast shape of all arguments, without the
      noise's first axis.

    Raises:
      ValueError: if a number is out of range (arrays are not checked), or if noise, key
        and steps do not fit.

    Source: ARSG eq. 9 and 10.
    """
    check_tau(tau)
    check_b1(b1)
    check_observation(observation)
    _check_noise(noise, key, steps)
    system = [tau, b1, observation, deviation, momentum]
    dtype = common_dtype(*system, *(() if noise is None else (noise,)))
    tail = () if noise is None else jnp.shape(noise)[1:]
    shape = jnp.broadcast_shapes(tail, *(jnp.shape(value) for value in system))
    if noise is not None:
        errors = jnp.asarray(noise, dtype)
        ones = (1,) * (len(shape) - len(tail))
        errors = errors.reshape(errors.shape[:1] + ones + tail)
        errors = jnp.broadcast_to(errors, errors.shape[:1] + shape)
    elif key is not None:
        errors = jax.random.normal(key, (steps or 0, *shape), dtype)
    else:
        errors = jnp.zeros((steps or 0, *shape), dtype)
    start = [jnp.broadcast_to(jnp.asarray(value, dtype), shape) for value in system]
    return _run(errors, *start)


@jax.jit
def _run(errors, tau, b1, observation, deviation, momentum):
    kick = (1 - b1) + b1 * observation

    def step(state, error):
        v, s = state
        gradient = tau * (s + error)
        v_next = b1 * v + (1 - b1) * gradient
        s_next = s - b1 * (1 - observation) * v - kick * gradient
        return (v_next, s_next), (v_next, s_next)

    _, states = lax.scan(step, (momentum, deviation), errors)
    v, s = (
        jnp.concatenate([start[None], later])
        for start, later in zip((momentum, deviation), states, strict=True)
    )
    distance = observation * b1 / (1 - b1)
    return Trajectory(v, s, s + distance[None] * v)


def _check_noise(noise, key, steps):
    if noise is not None:
        if key is not None or steps is not None:
            raise ValueError(
                "noise must be given without key and steps, got both; its first axis "
                "is the steps."
            )
        if jnp.ndim(noise) == 0:
            raise ValueError(
                f"noise must have the steps as first axis, got the scalar {noise}; "
                "multiply an array of shape (steps,)."
            )
    elif not isinstance(steps, int) or steps < 0:
        raise ValueError(
            f"steps must be an integer of at least 0 where no noise is given, got "
            f"{steps}; pass steps=1000, and a key for random noise."
        )
