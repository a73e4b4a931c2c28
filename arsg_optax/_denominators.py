"""Which links between an observation and its step divide by what."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from arsg_optax._precision import compute_dtype
from arsg_optax._state_search import Found, find_states

# States that do not scale the step, or hold such states; an observation there covers
# other leaves. A resilience and what a user declared do scale the step, by factors
# around 1 that no state keeps; the iterate is defined without.
_HARMLESS = frozenset(
    (
        "ApplyIfFiniteState",
        "DecayScheduleState",
        "DeclareElementwiseState",
        "EmptyState",
        "InjectHyperparamsState",
        "InjectStatefulHyperparamsState",
        "MaskedNode",
        "MaskedState",
        "MultiStepsState",
        "PartitionState",
        "RemoteObservationState",
        "ScaleByResilienceState",
        "TrackOscillationState",
        "WeightDecaySchedule",
        "WrappedScheduleState",
    )
)


def preconditioners(links: Sequence[Found]) -> list[Found]:
    """Those links that divide the step: their states have a method `denominator()`.

    Args:
      links: states of the links between an observation and its learning rate.

    Raises:
      ValueError: if one of the others may hide a preconditioner.
    """
    known = [link for link in links if hasattr(link.state, "denominator")]
    for link in links:
        name = type(link.state).__name__
        if link not in known and name not in _HARMLESS:
            raise ValueError(
                f"opt_state must hold only known links between an observation and its "
                f"learning rate, got {name} at "
                f"'{jax.tree_util.keystr(link.path)}'; use a preconditioner of "
                "arsg_optax, or give the state a method denominator() that returns "
                "what it divides by, or wrap the link in "
                "arsg_optax.declare_elementwise if its factors stay around 1."
            )
    return known


def known_denominator(state: optax.OptState) -> optax.Updates:
    """The product of all denominators in a state, shaped as the parameters.

    Raises:
      ValueError: if there is none, or if an unknown link may hide one.
    """
    trees = [link.state.denominator() for link in preconditioners(find_states(state))]
    if not trees:
        raise ValueError(
            "preconditioner must have a state with a method denominator(), got "
            f"{type(state).__name__}; use a preconditioner of arsg_optax."
        )

    def multiply(one, other):
        dtype = compute_dtype(one, other)
        return jnp.asarray(one, dtype) * jnp.asarray(other, dtype)

    return functools.reduce(lambda a, b: jax.tree.map(multiply, a, b), trees)
