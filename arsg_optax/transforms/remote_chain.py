"""The combinator: momentum, observation, links, decay and step, in one state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from arsg_optax._hyperparameters import as_scalar, default_float, increment, value_at
from arsg_optax._iterate import shifted
from arsg_optax._moments import moments_like, update_moment
from arsg_optax._precision import cast_updates, check_storage_dtype, compute_dtype
from arsg_optax._rounding import FIRST_MOMENT
from arsg_optax._states import without_variables
from arsg_optax._trees import check_real, check_updates, per_leaf
from arsg_optax._validation import check, check_flag, check_transforms
from arsg_optax.transforms import _links
from arsg_optax.transforms._coefficients import DEFAULT_OBSERVATION, Schedules
from arsg_optax.transforms._decay import Mask, decay, switched_off
from arsg_optax.transforms.learning_rate import step
from arsg_optax.transforms.observation import mix


class RemoteChainState(NamedTuple):
    """State of :func:`remote_chain`; scalars are of the default float dtype."""

    count: jax.Array  # () int32, updates so far.
    mu: optax.Updates  # m_t, shaped as the parameters.
    weight: jax.Array  # (), total weight of the gradients in m_t: 1 - prod(b1).
    links: tuple[Any, ...]  # The states of the links.
    # u_t, shaped as the parameters, where the exact form cannot compute it again from
    # mu and links; else empty.
    previous: optax.Updates | tuple[()]
    # (), of the last update, 0 before the first.
    applied_learning_rate: jax.Array
    applied_observation: jax.Array
    applied_distance: jax.Array

    def observed(self) -> optax.Updates:
        """A tree whose leaves are those with an iterate; empty where none is known."""
        return () if self._has_none() else self.mu

    def iterate(self, params: optax.Params) -> optax.Params:
        r"""The iterate behind the observation point y that the training loop holds.

        .. math:: x_{t+1} = y_{t+1} + \eta_t \alpha_t u_t

        with :math:`u_t` the momentum over all denominators of the links, or the stored
        direction where the exact form keeps one. In the concise form links that only
        multiply by factors around 1 are left out, and where one makes a direction of
        what it gets there is no iterate: the parameters come back as they are. Other
        leaves may stand in y = ``params``.

        Raises:
          ValueError: if params do not fit the state.
        """
        if self._has_none() or not jax.tree.leaves(self.mu):
            return params
        state = without_variables(self)
        u = state.previous if _stores(state) else _links.divided(state.mu, state.links)
        ahead = state.applied_distance * state.applied_learning_rate
        return shifted(params, step(u, ahead))

    def _has_none(self) -> bool:
        """Whether the state knows no iterate: a direction in the concise form."""
        return not _stores(self) and _links.make_direction(self.links)

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        return {
            "learning_rate": self.applied_learning_rate,
            "observation": self.applied_observation,
            "distance": self.applied_distance,
        }


def remote_chain(
    *links: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.999,
    observation: optax.ScalarOrSchedule | None = DEFAULT_OBSERVATION,
    distance: optax.ScalarOrSchedule | None = None,
    exact: bool = False,
    debias: bool = False,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Mask = None,
    mu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""One whole optimizer: momentum observed remotely, links, decay, learning rate.

    Let :math:`g_t` be the gradient, :math:`\alpha_t` the learning rate,
    :math:`\beta_t` and :math:`\mu_t` the arguments ``b1`` and ``observation``,
    :math:`\eta_t = \mu_t \beta_t / (1 - \beta_t)` the distance, :math:`\gamma` the
    weight decay, :math:`y_t` the parameters and :math:`P_t` what the links do, such as
    the division by :math:`\sqrt{\hat v_t}`. Both forms start from :math:`m_0 = 0`:

    .. math::

      \begin{align*}
        m_t &\leftarrow \beta_t m_{t-1} + (1-\beta_t) g_t \\
        \text{concise:} \quad y_{t+1} &\leftarrow y_t
          - \alpha_t \left( P_t((1-\mu_t) m_t + \mu_t g_t) + \gamma y_t \right) \\
        \text{exact:} \quad x_{t+1} &\leftarrow x_t
          - \alpha_t \left( u_t + \gamma y_t \right), \qquad u_t = P_t(m_t) \\
        y_{t+1} &\leftarrow x_{t+1} - \eta_t \alpha_t u_t
      \end{align*}

    The training loop holds :math:`y`; :func:`arsg_optax.eval_params` returns the
    iterate :math:`x`, which carries far less gradient noise. In the concise form it is
    the point above only while all coefficients and :math:`P_t` are constant, and jumps
    towards :math:`y` when the learning rate falls. With constant coefficients and no
    links the two forms are the same.

    The exact form finds :math:`x_t = y_t + \eta_{t-1} \alpha_{t-1} u_{t-1}` from the
    old state. Where a link cannot be recomputed from its state (a resilience, a
    declared link, a direction) it stores :math:`u_t`. Its links get :math:`m_t`, not
    the mixture: for links that divide this is the same algorithm, for a sign or an
    orthogonalisation another one. At learning rate 0 it moves :math:`y` to :math:`x`,
    once; when the rate leaves 0 again, :math:`y` jumps ahead by
    :math:`(1+\eta_t)\alpha_t u_t`.

    Every link gets the gradient as the extra argument ``raw_gradient`` and takes its
    statistics from it; masks and partitions of links need
    ``mask_compatible_extra_args=True``. A policy around the optimizer may pass the ()
    arrays ``observation_scale``, ``learning_rate_scale`` and ``observation_boost``, see
    :func:`arsg_optax.observation_boost`.

    State: one array per parameter, those of the links, and :math:`u_t` where stored.
    Updates come out in the parameters' dtypes, or without ``params`` in the gradients'.

    Args:
      *links: transforms between momentum and decay, in order. The state of each must
        say what it does: a method ``denominator()`` for a link that divides, the class
        attribute ``elementwise`` for factors around 1 (see
        :func:`arsg_optax.declare_elementwise`), ``makes_direction`` for signs and
        orthogonalisations.
      learning_rate: finite and at least 0, or a schedule of the number of updates so
        far, counted from 0.
      b1: decay rate of the momentum, in [0, 1), or a schedule.
      observation: observation factor, dimensionless, in [0, 1), or a schedule; None
        where ``distance`` is given.
      distance: observation distance in momentum steps, at least 0, or a schedule,
        instead of ``observation``; below ``b1 / (1 - b1)`` in the concise form.
      exact: the exact form instead of the papers' concise one. With a bfloat16 momentum
        the rounding of :math:`m_t` moves :math:`y` by :math:`1+\eta_t` times as much as
        :math:`x`.
      debias: divide the momentum's part of the direction by the total weight of its
        gradients, see :func:`arsg_optax.remote_observation`; not in the exact form.
      weight_decay: decoupled, multiplied by the learning rate, or a schedule. It acts
        at :math:`y` in both forms.
      mask: tree of booleans or a callable, which selects the leaves that decay, as in
        Optax; with ``inject_hyperparams`` name it in ``static_args``.
      mu_dtype: dtype that stores the momentum: bfloat16 (rounded stochastically),
        float32 or float64; None is the parameter's dtype, but float32 at least.

    Raises:
      ValueError: if an argument is out of range or contradicts another, if a link does
        not say what it does, or if gradients are not real floating point or do not fit
        the state.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> link = arsg_optax.scale_by_adam_rms(b2=0.99)
      >>> solver = arsg_optax.remote_chain(link, learning_rate=0.1, b1=0.9, exact=True)
      >>> params = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f'{f(params):.2f} {f(arsg_optax.eval_params(state, params)):.2f}')
      12.07 12.48

    References:
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, eq. 2 (exact), eq. 3
      (concise), Algorithm 1; `NAMSG <https://arxiv.org/abs/1905.01422v2>`_, eq. 6
      (exact).
    """
    check_flag("exact", exact)
    schedules = Schedules(learning_rate, b1, observation, distance, exact)
    schedules.check()
    check("weight_decay", weight_decay)
    check_flag("debias", debias)
    if exact and debias:
        raise ValueError(
            "debias must be False with exact=True, got True: the correction belongs to "
            "the momentum's part of the mixture and has no two-point form; leave one "
            "of them out."
        )
    check_transforms("links", *links)
    mu_dtype = check_storage_dtype("mu_dtype", mu_dtype)
    chained = tuple(optax.with_extra_args_support(link) for link in links)

    def init_fn(params):
        check_real("params", params)
        states = tuple(link.init(params) for link in chained)
        _links.check_links(states)
        stores = exact and not _links.can_be_recomputed(states)
        weight, *applied = (jnp.zeros([], default_float()) for _ in range(4))
        previous = moments_like(params, None) if stores else ()
        mu = moments_like(params, mu_dtype)
        return RemoteChainState(
            jnp.zeros([], jnp.int32), mu, weight, states, previous, *applied
        )

    def update_fn(
        updates,
        state,
        params=None,
        *,
        observation_scale=None,
        learning_rate_scale=None,
        observation_boost=None,
        **extra_args,
    ):
        if not isinstance(state, RemoteChainState):
            raise ValueError(
                "state must be the one that init made, got a "
                f"{type(state).__name__}; call update(gradients, state, params)."
            )
        check_updates("updates", updates, state.mu)
        scales = observation_scale, learning_rate_scale, observation_boost
        now = schedules.at(state.count, *scales)
        new_state = _averaged(state, updates, now)
        incoming = new_state.mu
        if not exact:
            weight = new_state.weight if debias else None
            mixture = mix(updates, new_state.mu, now.observation, weight)
            incoming = cast_updates(mixture, params, updates)
        # One count for all links, so that a compiler sees that moments are rounded with
        # the same random bits, see `_rounding`.
        passed = {**extra_args, "raw_gradient": updates, "shared_step": state.count}
        made, states = _links.apply(chained, state.links, incoming, params, passed)
        new_state = new_state._replace(links=states)
        decaying = not switched_off(weight_decay)
        if decaying:
            shrink = value_at("weight_decay", weight_decay, state.count)
        if exact:
            steps, new_state = _two_point(state, new_state, made)
            if decaying:
                steps = decay(steps, params, -now.learning_rate * shrink, mask)
        else:
            if decaying:
                made = cast_updates(decay(made, params, shrink, mask), params, updates)
            steps = step(made, -now.learning_rate)
        return cast_updates(steps, params, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _stores(state: RemoteChainState) -> bool:
    """Whether the state keeps u_t."""
    return not (isinstance(state.previous, tuple) and len(state.previous) == 0)


def _averaged(state: RemoteChainState, gradient: optax.Updates, now: Any):
    """The state with the gradient in its momentum, and with the scalars applied."""
    return state._replace(
        count=increment(state.count),
        mu=update_moment(gradient, state.mu, now.b1, state.count, FIRST_MOMENT),
        weight=now.b1 * state.weight + (1 - now.b1),
        applied_learning_rate=as_scalar(now.learning_rate),
        applied_observation=as_scalar(now.observation),
        applied_distance=as_scalar(now.distance),
    )


def _two_point(
    old: RemoteChainState, new: RemoteChainState, made: optax.Updates
) -> tuple[optax.Updates, RemoteChainState]:
    """y_{t+1} - y_t = c_{t-1} u_{t-1} - (α_t + c_t) u_t, c = η α, and the new state.

    u is taken of the moments as they are stored, so that the next update takes away
    what this one adds. Where it is stored, links have rounded it to the parameters'
    dtypes.
    """
    if _stores(old):
        before = old.previous
        now = jax.tree.map(lambda u, like: u.astype(like.dtype), made, before)
        new = new._replace(previous=now)
    else:
        before = _links.divided(old.mu, old.links)
        now = _links.divided(new.mu, new.links)
    back = old.applied_distance * old.applied_learning_rate
    forth = (1 + new.applied_distance) * new.applied_learning_rate
    return jax.tree.map(lambda u, v: _moved(u, v, back, forth), before, now), new


@per_leaf
def _moved(before, now, back, forth):
    dtype = compute_dtype(before, now)
    u, v, back, forth = (jnp.asarray(x, dtype) for x in (before, now, back, forth))
    return back * u - forth * v
