"""The average of any optimizer's parameters, observed remotely."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._iterate import shifted
from arsg_optax._precision import cast_updates, compute_dtype
from arsg_optax._states import by_path, without_variables
from arsg_optax._trees import (
    check_params,
    check_real,
    check_updates,
    leaf_dtype,
    map_updates,
    per_leaf,
    require_params,
)
from arsg_optax._validation import check
from arsg_optax._wrapping import Wrappable, as_extra_args
from arsg_optax.schedules import log_time_momentum


class AverageRemotelyState(NamedTuple):
    """State of :func:`average_remotely`; scalars are of the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    z: optax.Params  # What the inner optimizer moves, shaped as the parameters.
    applied_observation: jax.Array  # (), of the last update, 0 before the first.
    inner_state: Any

    def observed(self) -> optax.Params:
        """A tree whose leaves are those with an observation point."""
        return self.z

    def iterate(self, params: optax.Params) -> optax.Params:
        """The average x behind the observation point y that the training loop holds."""
        state, held = without_variables(self), by_path(params)

        def offset(path, z):
            y: Any = held.get(jax.tree_util.keystr(path))
            fits = jnp.shape(y) == z.shape  # If not, `shifted` refuses it.
            return _back(y, z, state.applied_observation) if fits else z

        return shifted(params, jax.tree_util.tree_map_with_path(offset, state.z))

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        return {"observation": self.applied_observation}


def average_remotely(
    inner: Wrappable,
    b1: optax.ScalarOrSchedule = log_time_momentum(4.0),  # noqa: B008 - it is a function
    observation: optax.ScalarOrSchedule = 0.2,
) -> optax.GradientTransformationExtraArgs:
    r"""Averages any optimizer's parameters and takes gradients ahead of the average.

    Let :math:`\beta_t` and :math:`\mu_t` be the arguments ``b1`` and ``observation``
    and :math:`u_t` the inner optimizer's update. From :math:`x_0 = y_0 = z_0`,

    .. math::

      \begin{align*}
        z_{t+1} &\leftarrow z_t + u_t \\
        x_{t+1} &\leftarrow \beta_t x_t + (1-\beta_t) z_{t+1} \\
        y_{t+1} &\leftarrow (1-\mu_t) x_{t+1} + \mu_t z_{t+1}
      \end{align*}

    The training loop holds :math:`y`, where gradients are taken, the state holds
    :math:`z`, and :func:`arsg_optax.eval_params` returns the average :math:`x`. You may
    evaluate it at any time, so the learning rate needs no schedule that knows when the
    training ends. The inner optimizer runs as it is, on :math:`z`: it gets :math:`z`
    for its parameters, which its weight decay shrinks, and gradients at :math:`y`.

    - With a number for ``b1`` this is generalized primal averaging (GPA): its
      :math:`\mu_x` is ``b1`` and its :math:`\mu_y` is ``1 - observation``.
    - ``log_time_momentum(1.0)`` gives schedule-free learning, except for its first
      average, if ``observation`` is 1 minus the ``b1`` of
      :func:`optax.contrib.schedule_free`.
    - :class:`optax.MultiSteps` goes around it: inside, the average would move with
      every batch.
    - Around :func:`optax.sgd`, with numbers for both, it is :func:`arsg_optax.rsg`.

    State: one array per parameter and those of the inner optimizer. Keep parameters in
    float32: rounded to 16 bits :math:`y` hides small moves of the average.

    Args:
      inner: any optimizer, its learning rate included. It is not looked into: an inner
        optimizer that has an observation point of its own holds that one in
        :math:`z`.
      b1: share of the average that an update keeps, in [0, 1), or a schedule of the
        number of updates so far. The default weighs :math:`z_s` by :math:`s^3`.
      observation: share of :math:`z` in the observation point, dimensionless, in
        [0, 1), or a schedule.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs`, whose ``update`` needs params.

    Raises:
      ValueError: if an argument is out of range, if ``update`` gets no params, or if
        gradients are not real floating point or do not fit the state.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> solver = arsg_optax.average_remotely(optax.sgd(0.1))
      >>> params = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> average = arsg_optax.eval_params(state, params)
      >>> print(f'Objective function: from 14.00 to {f(average):.2f}')
      Objective function: from 14.00 to 2.21

    References:
      Defazio et al, `Smoothing DiLoCo with Primal Averaging
      <https://arxiv.org/abs/2512.17131>`_, 2025; Defazio et al, `The Road Less
      Scheduled <https://arxiv.org/abs/2405.15682>`_, 2024; the weights from Shamir and
      Zhang, `Stochastic Gradient Descent for Non-smooth Optimization
      <https://arxiv.org/abs/1212.1824>`_, 2013.
    """
    check("b1", b1)
    check("observation", observation)
    inner = as_extra_args(inner)

    def init_fn(params):
        check_real("params", params)
        return AverageRemotelyState(
            count=jnp.zeros([], jnp.int32),
            z=jax.tree.map(_wide_copy, params),
            applied_observation=jnp.zeros([], default_float()),
            inner_state=inner.init(params),
        )

    def update_fn(updates, state, params=None, **extra_args):
        params = require_params(params, "parameters are averaged")
        check_updates("updates", updates, state.z)
        check_params(params, state.z)
        held = map_updates(lambda z, y: z.astype(leaf_dtype(y)), state.z, params)
        moved, inner_state = inner.update(
            updates, state.inner_state, held, **extra_args
        )
        kept = value_at("b1", b1, state.count)
        now = value_at("observation", observation, state.count)
        z = jax.tree.map(lambda z, u: z + u.astype(z.dtype), state.z, moved)
        scalars = as_scalar(kept), as_scalar(now), state.applied_observation
        steps = jax.tree.map(
            lambda z, z_new, y: None if z is None else _step(y, z, z_new, *scalars),
            state.z,
            z,
            params,
            is_leaf=lambda node: node is None,
        )
        new_state = AverageRemotelyState(
            count=increment(state.count),
            z=z,
            applied_observation=as_scalar(now),
            inner_state=inner_state,
        )
        return cast_updates(steps, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _wide_copy(param):
    return jnp.array(param, compute_dtype(param), copy=True)


@per_leaf
def _back(y, z, share):
    """x - y, of y = (1 - share) x + share z."""
    share = jnp.asarray(share, z.dtype)
    return share / (1 - share) * (y.astype(z.dtype) - z)


@per_leaf
def _step(y, z, z_new, kept, observation, before):
    """y_{t+1} - y_t."""
    kept, observation = (jnp.asarray(each, z.dtype) for each in (kept, observation))
    y = y.astype(z.dtype)
    x = y + _back(y, z, before)
    x = x + (1 - kept) * (z_new - x)
    return x + observation * (z_new - x) - y
