"""What an optimizer state tells: the iterate to evaluate at, and the metrics."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from arsg_optax._constraints import constrained
from arsg_optax._iterate import Leaves, movers
from arsg_optax._state_search import Found, contains, find_states
from arsg_optax._trees import leaf_dtype
from arsg_optax.policies.observation_boost import ObservationBoostState
from arsg_optax.policies.switch import SwitchToSgdState
from arsg_optax.transforms.observation import RemoteObservationState
from arsg_optax.transforms.oscillation import TrackOscillationState
from arsg_optax.transforms.resilience import ScaleByResilienceState
from arsg_optax.transforms.two_point import ObserveRemotelyState


def eval_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    r"""The iterate: the low-noise point to evaluate, for free.

    The training loop of an optimizer with remote observation holds the observation
    point :math:`y`. The iterate behind it,

    .. math:: x_{t+1} = y_{t+1} + \eta_t \alpha_t m_t / \sqrt{\hat v_t},

    moves only by the slow momentum: what the newest gradient adds to :math:`y`
    through the factor :math:`\mu`, the second term takes away. Nothing extra is
    stored, the state records the learning rate and distance last applied. While
    these and the preconditioner are constant, :math:`x` is exactly the iterate of
    the two-point form; where a schedule changes them it is a definition, and moves
    towards :math:`y` when the learning rate drops. Early in training :math:`x` lags.

    Around any other optimizer, :func:`arsg_optax.observe_remotely` knows its iterate
    exactly; of schedule-free inside it, the average is returned. Where the parameters
    are kept in a set (:func:`arsg_optax.project`) or on a sphere, :math:`x` is mapped
    onto it; where they rest at the edge of a set, the offset's part that leads back
    inside is left out, since the momentum there never vanishes. On a sphere with a
    learning rate of its own, :math:`\alpha_t` is that of the leaf,
    :math:`\alpha_t/\rho_t^2`.

    Works on the state of any nesting of ``chain``, ``masked``, ``partition``,
    ``MultiSteps``, ``apply_if_finite`` and ``inject_hyperparams``, inside and outside
    of ``jit``. Leaves without an observation point come back as they are, so for
    other optimizers this is the identity. With batch norm, recompute the running
    statistics at :math:`x` before evaluating.

    Not seen, and so not accounted for, are links without a state between observation
    and learning rate (clipping, scaling, trust ratios), links that rescale or zero
    updates after the learning rate, and wrappers that move the parameters by something
    other than the updates (schedule-free, mechanize). Clip before the observation, put
    factors into the learning rate's schedule, and freeze leaves with `optax.partition`
    around whole optimizers. A resilience behind the observation, and links that are
    declared by :func:`arsg_optax.declare_elementwise`, are left out of the definition.

    Args:
      opt_state: the optimizer's state after some update, or a fresh one.
      params: the parameters that belong to it, as the training loop holds them.

    Returns:
      Tree as ``params``, with its shapes and dtypes.

    Raises:
      ValueError: if an observation has no learning rate recorded behind it or two,
        if two observations cover one leaf, if a state between the two may hide a
        preconditioner that is not known (a preconditioner is known by a method
        ``denominator()`` of its state), or if ``params`` do not fit the state.

    Examples:
      >>> import arsg_optax, jax.numpy as jnp, optax
      >>> solver = arsg_optax.rsg(learning_rate=1.0, b1=0.9, observation=0.5)
      >>> params = jnp.array([1.0, 2.0])
      >>> state = solver.init(params)
      >>> updates, state = solver.update(params, state, params)
      >>> params = optax.apply_updates(params, updates)
      >>> print(params, arsg_optax.eval_params(state, params))
      [0.45 0.9 ] [0.9 1.8]
    """
    found = find_states(opt_state)
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    held = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    iterate: Leaves = dict(held)
    moved_by: dict[str, Found] = {}
    for mover, offsets in movers(found):
        for path, offset in offsets(iterate).items():
            _check_alone(path, mover, moved_by)
            _check_belongs(path, offset, held)
            moved_by[path] = mover
            shifted = jnp.asarray(iterate[path], offset.dtype) + offset
            iterate[path] = shifted.astype(leaf_dtype(held[path]))
    iterate = constrained(iterate, held, frozenset(moved_by), found)
    return jax.tree.unflatten(structure, iterate.values())


def _check_alone(path: str, mover: Found, moved_by: dict[str, Found]) -> None:
    """Refuses a second observation of a leaf, unless it lies inside the first."""
    if path in moved_by and not contains(moved_by[path], mover):
        raise ValueError(
            f"opt_state must hold one observation a leaf, got two for '{path}'; chain "
            "a single one, or split the leaves between them with optax.partition."
        )


def _check_belongs(path: str, offset: jax.Array, held: dict[str, Any]) -> None:
    if path not in held or jnp.shape(held[path]) != offset.shape:
        raise ValueError(
            f"params must be those that opt_state belongs to, got none of shape "
            f"{offset.shape} at '{path}'; pass the parameters that the optimizer was "
            "initialised with."
        )


def metrics(opt_state: optax.OptState) -> dict[str, jax.Array]:
    """The scalars that an optimizer state holds, by name.

    Args:
      opt_state: state of any optimizer, however nested.

    Returns:
      ``learning_rate`` (last applied), ``observation`` and ``distance`` (likewise),
      ``resilience`` (likewise) and ``momentum_max`` (AdaRem's, one entry a leaf for
      scope "leaf"), ``boosts`` (done or decided, int32), ``switched`` (to SGD, bool),
      ``oscillation`` (the Q of all parameters) and ``oscillation/<path>`` (of one
      array), each if the state holds it. Where several instances hold one, each key
      has the instance's path as prefix, as in
      ``inner_states/decoder/inner_state/1/learning_rate``. Before the first update the
      values are 0.
    """
    held = [
        # Flax NNX holds each array of a state in a variable, a tree of one leaf.
        (found.path, name, jax.tree.leaves(value)[0])
        for found in find_states(opt_state)
        for name, value in _scalars(found.state).items()
    ]
    names = [name for _, name, _ in held]
    return {
        _prefixed(path, name) if names.count(name) > 1 else name: value
        for path, name, value in held
    }


def _scalars(state: Any) -> dict[str, jax.Array]:
    """What one state has to report; empty of a state that is not ours."""
    if isinstance(state, RemoteObservationState):
        return {
            "observation": state.applied_observation,
            "distance": state.applied_distance,
        }
    if isinstance(state, ScaleByResilienceState):
        return {
            "momentum_max": state.mu_max,
            "resilience": state.applied_resilience,
        }
    if isinstance(state, ObserveRemotelyState):
        return {"distance": state.applied_distance}
    if isinstance(state, ObservationBoostState):
        return {"boosts": state.boosts}
    if isinstance(state, SwitchToSgdState):
        return {"switched": state.switched}
    if isinstance(state, TrackOscillationState):
        by_leaf = state.oscillation_by_leaf()
        return {
            "oscillation": state.oscillation(),
            **{f"oscillation/{leaf}": value for leaf, value in by_leaf.items()},
        }
    if hasattr(state, "applied_learning_rate"):
        return {"learning_rate": state.applied_learning_rate}
    return {}


def _prefixed(path: tuple[Any, ...], name: str) -> str:
    prefix = jax.tree_util.keystr(path, simple=True, separator="/")
    return f"{prefix}/{name}" if prefix else name
