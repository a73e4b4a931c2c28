"""What an optimizer state tells: the iterate to evaluate at, and the metrics."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from arsg_optax._precision import compute_dtype
from arsg_optax._state_search import Found, find_states, follows, shared_prefix
from arsg_optax._trees import leaf_dtype
from arsg_optax.transforms.learning_rate import ScaleByLearningRateState
from arsg_optax.transforms.observation import RemoteObservationState
from arsg_optax.transforms.resilience import ScaleByResilienceState

# States between an observation and its learning rate that do not scale the step, or
# hold such states; an observation there covers other leaves. A resilience does scale
# the step, by a factor in [0, 2] that no state keeps; the iterate is defined without.
_HARMLESS = frozenset(
    (
        "ApplyIfFiniteState",
        "DecayScheduleState",
        "EmptyState",
        "InjectHyperparamsState",
        "InjectStatefulHyperparamsState",
        "MaskedNode",
        "MaskedState",
        "MultiStepsState",
        "PartitionState",
        "RemoteObservationState",
        "ScaleByResilienceState",
        "WeightDecaySchedule",
        "WrappedScheduleState",
    )
)


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
    around whole optimizers. A resilience behind the observation is left out of the
    definition.

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
    iterate = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    moved: set[str] = set()
    for observation in found:
        if not isinstance(observation.state, RemoteObservationState):
            continue
        for path, offset in _offsets(observation, found).items():
            if path in moved:
                raise ValueError(
                    f"opt_state must hold one observation a leaf, got two for "
                    f"'{path}'; chain a single one, or split the leaves between them "
                    "with optax.partition."
                )
            if path not in iterate or jnp.shape(iterate[path]) != offset.shape:
                raise ValueError(
                    f"params must be those that opt_state belongs to, got none of "
                    f"shape {offset.shape} at '{path}'; pass the parameters that the "
                    "optimizer was initialised with."
                )
            moved.add(path)
            dtype = leaf_dtype(iterate[path])
            shifted = jnp.asarray(iterate[path], offset.dtype) + offset
            iterate[path] = shifted.astype(dtype)
    return jax.tree.unflatten(structure, iterate.values())


def metrics(opt_state: optax.OptState) -> dict[str, jax.Array]:
    """The scalars that an optimizer state holds, by name.

    Args:
      opt_state: state of any optimizer, however nested.

    Returns:
      ``learning_rate`` (last applied), ``observation`` and ``distance`` (likewise) and
      ``momentum_max`` (AdaRem's, one entry a leaf for scope "leaf"), each if the state
      holds it. Where several instances hold one, each key has the instance's path as
      prefix, as in ``inner_states/decoder/inner_state/1/learning_rate``. Before the
      first update the values are 0.
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
    if isinstance(state, ScaleByLearningRateState):
        return {"learning_rate": state.applied_learning_rate}
    if isinstance(state, RemoteObservationState):
        return {
            "observation": state.applied_observation,
            "distance": state.applied_distance,
        }
    if isinstance(state, ScaleByResilienceState):
        return {"momentum_max": state.mu_max}
    return {}


def _prefixed(path: tuple[Any, ...], name: str) -> str:
    prefix = jax.tree_util.keystr(path, simple=True, separator="/")
    return f"{prefix}/{name}" if prefix else name


def _offsets(observation: Found, found: list[Found]) -> dict[str, jax.Array]:
    """distance * learning_rate * mu / denominators of each leaf that is observed."""
    rate = _learning_rate_of(observation, found)
    denominators = [
        _by_path(link.state.denominator())
        for link in _links_between(observation, rate, found)
    ]
    state, offsets = observation.state, {}
    for path, momentum in _by_path(state.mu).items():
        divisors = [tree[path] for tree in denominators if path in tree]
        dtype = compute_dtype(momentum, *divisors)
        step = (state.applied_distance * rate.state.applied_learning_rate).astype(dtype)
        offset = step * momentum.astype(dtype)
        for divisor in divisors:
            offset = offset / divisor.astype(dtype)
        offsets[path] = offset
    return offsets


def _learning_rate_of(observation: Found, found: list[Found]) -> Found:
    """The learning rate behind an observation that shares the longest path with it."""
    rates = [
        (len(shared_prefix(observation, other)), other)
        for other in found
        if isinstance(other.state, ScaleByLearningRateState)
        and follows(other, observation)
    ]
    if not rates:
        raise ValueError(
            "opt_state must record the learning rate behind an observation, got none "
            f"for the one at '{jax.tree_util.keystr(observation.path)}'; end the chain "
            "with arsg_optax.scale_by_learning_rate instead of Optax's."
        )
    longest = max(length for length, _ in rates)
    nearest = [rate for length, rate in rates if length == longest]
    if len(nearest) > 1:
        raise ValueError(
            "opt_state must record one learning rate behind an observation, got "
            f"{len(nearest)} for the one at "
            f"'{jax.tree_util.keystr(observation.path)}'; put all factors into one "
            "arsg_optax.scale_by_learning_rate, and partition whole optimizers, not "
            "learning rates alone."
        )
    _check_reaches_all_leaves(nearest[0], observation, found)
    return nearest[0]


def _check_reaches_all_leaves(
    rate: Found, observation: Found, found: list[Found]
) -> None:
    """Refuses a rate inside a mask that the observation is outside of."""
    shared = len(shared_prefix(rate, observation))
    for wrapper in found:
        inside = rate.path[: len(wrapper.path)] == wrapper.path
        masks = isinstance(wrapper.state, optax.MaskedState)
        if masks and inside and len(wrapper.path) >= shared:
            raise ValueError(
                "opt_state must record a learning rate for every leaf of an "
                "observation, got a masked one for the one at "
                f"'{jax.tree_util.keystr(observation.path)}'; mask or partition whole "
                "optimizers, not learning rates alone."
            )


def _links_between(observation: Found, rate: Found, found: list[Found]) -> list[Found]:
    """The preconditioners that an observed direction passes before its step."""
    between = [
        link for link in found if follows(link, observation) and link.order < rate.order
    ]
    known = [link for link in between if hasattr(link.state, "denominator")]
    for link in between:
        name = type(link.state).__name__
        if link not in known and name not in _HARMLESS:
            raise ValueError(
                f"opt_state must hold only known links between an observation and its "
                f"learning rate, got {name} at "
                f"'{jax.tree_util.keystr(link.path)}'; use a preconditioner of "
                "arsg_optax, or give the state a method denominator() that returns "
                "what it divides by."
            )
    return known


def _by_path(tree: optax.Updates) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
