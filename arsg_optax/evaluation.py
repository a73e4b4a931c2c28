"""What an optimizer state knows: the iterate to evaluate at, and the metrics."""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from arsg_optax._iterate import iterate_of, observes
from arsg_optax._placement import laid_out_as, on_device
from arsg_optax._states import Found, divides, find_states, outermost
from arsg_optax.transforms.observation import RemoteObservationState


def eval_params(
    opt_state: optax.OptState, params: optax.Params, *, strict: bool = False
) -> optax.Params:
    r"""The iterate: the low-noise point to evaluate, for free.

    The training loop of an optimizer with remote observation holds the observation
    point :math:`y`. The iterate behind it,

    .. math:: x_{t+1} = y_{t+1} + \eta_t \alpha_t u_t,

    moves only by the slow momentum: what the newest gradient adds to :math:`y` through
    the factor :math:`\mu`, the second term takes away. :math:`u_t` is the momentum over
    what the links divide by, such as :math:`m_t / \sqrt{\hat v_t}`. With ``exact=True``
    that is the iterate of the two-point form, under every schedule. In the concise form
    it is so while all coefficients and the preconditioner are constant; it is far off
    during a warm-up, and jumps towards :math:`y` when the learning rate drops. Early in
    training :math:`x` lags in both forms.

    Around any other optimizer, :func:`arsg_optax.observe_remotely` knows its iterate
    exactly. For :func:`optax.contrib.schedule_free` the average is returned. Where the
    parameters are kept in a set (:func:`arsg_optax.project`) or on a sphere
    (:func:`arsg_optax.constrain_to_sphere`), :math:`x` is mapped onto it; at the edge
    of a set it does not lead back inside, since the momentum there never vanishes.

    Works on the state of any nesting of ``chain``, ``named_chain``, ``masked``,
    ``partition``, ``MultiSteps``, ``apply_if_finite``, ``conditionally_transform``,
    ``lookahead`` and ``inject_hyperparams``, also under ``jit``. Leaves without an
    observation point come back as they are, so for other optimizers this is the
    identity. The state may lie in a host's memory (``pinned_host``) or be split
    otherwise than the parameters; the iterate is laid out as ``params``, under ``jit``
    as the compiler chooses. With batch norm, recompute the running statistics at
    :math:`x` before evaluating.

    Args:
      opt_state: the optimizer's state after some update, or a fresh one.
      params: the parameters that belong to it, as the training loop holds them.
      strict: raise where the state moves no leaf, instead of returning ``params``.

    Returns:
      Tree as ``params``, with its shapes and dtypes.

    Raises:
      ValueError: if something stands around or behind an observed optimizer that could
        rescale its steps, if two observations cover one leaf, if ``remote_observation``
        is used in a plain chain, or if the arguments are swapped, do not fit each
        other, or are not what their names say.

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
    _check_params(params)
    _check_state(opt_state)
    point, moved = iterate_of(on_device(opt_state), params)
    if strict and not moved:
        names = sorted({type(each.state).__name__ for each in find_states(opt_state)})
        raise ValueError(
            "opt_state must have an observation with strict=True, got one that moves "
            f"nothing, with the states {names}; pass the state of an optimizer "
            "with remote observation, or strict=False for params as they are."
        )
    return laid_out_as(point, params) if moved else point


def _check_params(params: Any) -> None:
    """Refuses a state in the place of the parameters."""
    for found in find_states(params):
        module, state = type(found.state).__module__.split(".")[0], found.state
        foreign = module in ("optax", "arsg_optax") and hasattr(state, "_fields")
        foreign &= not isinstance(state, optax.MaskedNode)
        if observes(state) or foreign:
            remedy = "call eval_params(opt_state, params), in this order"
            if isinstance(state, optax.LookaheadParams):
                remedy = "pass params.fast"
            raise ValueError(
                f"params must be parameters, got a {type(state).__name__}; {remedy}."
            )


def _check_state(opt_state: Any) -> None:
    """Refuses states whose iterate nothing knows, though they have one."""
    if opt_state is None or isinstance(
        opt_state, (optax.GradientTransformation, optax.MultiSteps)
    ):
        raise ValueError(
            f"opt_state must be a state, got {opt_state!r}; pass what the optimizer's "
            "init and update return."
        )
    found = outermost(find_states(opt_state))
    plain = [isinstance(each.state, RemoteObservationState) for each in found]
    if any(plain):
        _refuse_plain_chain(found[plain.index(True) :])
    if _holds_fields(opt_state):
        raise ValueError(
            "opt_state must be an optimizer state, got a dictionary of its fields; "
            "restore it first: flax.serialization.from_state_dict(optimizer.init("
            "params), saved)."
        )


def _refuse_plain_chain(found: list[Found]) -> None:
    """Names the call to write instead of a chain that begins with an observation."""
    names = [_link_name(each.state) for each in found]
    links = "".join(f"{name}(...), " for name in names if name)
    raise ValueError(
        "opt_state must record the steps that its observation took, got a plain chain "
        f"with remote_observation at '{jax.tree_util.keystr(found[0].path)}'; write "
        f"arsg_optax.remote_chain({links}learning_rate=..., b1=..., observation=...) "
        "in its place, which trains as the same links inside chain_on_gradient do."
    )


def _link_name(state: Any) -> str:
    """The transform that a link's state belongs to, or nothing for other states."""
    own = type(state).__module__.startswith("arsg_optax.")
    if not own or not (divides(state) or hasattr(type(state), "elementwise")):
        return ""
    name = type(state).__name__.removesuffix("State")
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _holds_fields(tree: Any) -> bool:
    """Whether a state was taken apart into dictionaries, as Flax does to save it."""
    if isinstance(tree, Mapping):
        taken_apart = "applied_distance" in tree
        return taken_apart or any(_holds_fields(each) for each in tree.values())
    return isinstance(tree, (tuple, list)) and any(_holds_fields(each) for each in tree)


def metrics(
    opt_state: optax.OptState, *, share_at_eps: bool = False
) -> dict[str, jax.Array]:
    """The scalars that an optimizer state holds, by name.

    Args:
      opt_state: state of any optimizer, however nested.
      share_at_eps: also measure how many elements of the second moment of
        :func:`arsg_optax.scale_by_nonincreasing_rms` have never exceeded ``eps``. It
        reads all of them once, so ask for it now and then, not in every step.

    Returns:
      ``learning_rate`` (last applied), ``observation`` and ``distance`` (likewise),
      ``resilience`` (likewise) and ``momentum_max`` (AdaRem's, one entry per leaf for
      scope "leaf"), ``boosts`` (done or decided, int32), ``switched`` (to SGD, bool),
      ``oscillation`` (the Q of all parameters) and ``oscillation/<path>`` (of one
      array), each if the state holds it, and ``share_at_eps`` (from 0 to 1) if asked
      for. Where several instances hold the same scalar, each key has the instance's
      path as prefix, as in ``inner_states/decoder/inner_state/learning_rate``. Before
      the first update the values are 0.
    """
    held = []
    for path, state in find_states(opt_state):
        own = type(state).__module__.startswith("arsg_optax.")
        scalars = dict(state.metrics()) if own and hasattr(state, "metrics") else {}
        if share_at_eps and hasattr(state, "share_at_eps"):
            scalars["share_at_eps"] = state.share_at_eps()
        for name, value in scalars.items():
            # Flax NNX holds each array of a state in a variable, a tree of one leaf.
            prefix = jax.tree_util.keystr(path, simple=True, separator="/")
            held.append((prefix, name, jax.tree.leaves(value)[0]))
    names = [name for _, name, _ in held]
    return {
        f"{prefix}/{name}" if prefix and names.count(name) > 1 else name: value
        for prefix, name, value in held
    }
