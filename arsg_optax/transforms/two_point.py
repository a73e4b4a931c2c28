"""The exact two-point form of remote observation, around any optimizer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._iterate import iterate_of, shifted
from arsg_optax._moments import moments_like
from arsg_optax._precision import cast_updates
from arsg_optax._trees import check_params, check_real, check_updates
from arsg_optax._validation import check
from arsg_optax._wrapping import Wrappable, as_extra_args


class ObserveRemotelyState(NamedTuple):
    """State of :func:`observe_remotely`."""

    count: jax.Array  # () int32, updates so far.
    previous: optax.Updates  # u_{t-1} of the inner optimizer, shaped as the parameters.
    applied_distance: jax.Array  # (), default float dtype: eta_{t-1}.
    inner_state: optax.OptState

    def observed(self) -> optax.Updates:
        """A tree whose leaves are those with an observation point."""
        return self.previous

    def iterate(self, params: optax.Params) -> optax.Params:
        """The iterate behind y = params, or what the inner optimizer evaluates there.

        The tree may hold other leaves. ValueError if params do not fit the state.
        """
        return iterate_of(self.inner_state, self._behind(params))[0]

    def _behind(self, params: optax.Params) -> optax.Params:
        """x = y - distance * previous, which the inner optimizer has as parameters."""
        back = -jnp.asarray(self.applied_distance)
        offsets = jax.tree.map(
            lambda u: jnp.asarray(u) * back.astype(u.dtype), self.previous
        )
        return shifted(params, offsets)

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        return {"distance": self.applied_distance}


def observe_remotely(
    inner: Wrappable, distance: optax.ScalarOrSchedule
) -> optax.GradientTransformationExtraArgs:
    r"""Takes gradients ahead of any optimizer's iterate, in its last direction.

    With :math:`\eta` = ``distance`` and the inner optimizer's update :math:`u_t`, from
    :math:`y_0 = x_0`,

    .. math::

      \begin{align*}
        x_{t+1} &\leftarrow x_t + u_t \\
        y_{t+1} &\leftarrow x_t + (1 + \eta_t) u_t
      \end{align*}

    The training loop holds the observation point :math:`y`, the inner optimizer is
    given the iterate :math:`x_t = y_t - \eta_{t-1} u_{t-1}` as its parameters (none
    where ``update`` gets none): its weight decay shrinks the iterate, and schedule-free
    averages iterates. :func:`arsg_optax.eval_params` returns :math:`x`, or what the
    inner optimizer evaluates at instead.

    Around ``arsg(learning_rate, observation=0.0)`` this is ARSG's two-point form.
    ``arsg(learning_rate, exact=True)`` is the same form, without another array. A
    policy may pass ``observation_scale``, which multiplies the distance.

    Args:
      inner: any optimizer, its learning rate included: what it returns is added to the
        parameters. :class:`optax.MultiSteps` and :func:`optax.apply_if_finite` go
        around this transform: inside, the observation point would fall back onto the
        iterate wherever they return no step.
      distance: observation distance in inner updates, dimensionless, finite and at
        least 0, or a schedule; 99.9 is ARSG's for b1 = 0.999 and an observation factor
        of 0.1, see :func:`arsg_optax.hyperparams.distance_from_observation`.

    Raises:
      ValueError: if the distance is out of range, or if gradients are not real
        floating point or do not fit the state.

    References:
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, eq. 2, with any
      update in the place of the momentum's.
    """
    check("distance", distance)
    inner = as_extra_args(inner)

    def init_fn(params):
        check_real("params", params)
        return ObserveRemotelyState(
            count=jnp.zeros([], jnp.int32),
            previous=moments_like(params, None),
            applied_distance=jnp.zeros([], default_float()),
            inner_state=inner.init(params),
        )

    def update_fn(updates, state, params=None, **extra_args):
        check_updates("updates", updates, state.previous)
        iterate = params
        if params is not None:
            check_params(params, state.previous)
            iterate = state._behind(params)
        step, inner_state = inner.update(
            updates, state.inner_state, iterate, **extra_args
        )
        scale = extra_args.get("observation_scale")
        ahead = value_at("distance", distance, state.count, scale)

        def move(u, u_before):
            now = jnp.asarray(1 + ahead, u_before.dtype)
            before = state.applied_distance.astype(u_before.dtype)
            return now * u.astype(u_before.dtype) - before * u_before

        new_state = ObserveRemotelyState(
            count=increment(state.count),
            previous=jax.tree.map(
                lambda u, u_before: u.astype(u_before.dtype), step, state.previous
            ),
            applied_distance=as_scalar(ahead),
            inner_state=inner_state,
        )
        moved = jax.tree.map(move, step, state.previous)
        return cast_updates(moved, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
