"""How far the iterate lies from the held parameters, leaf by leaf.

Three kinds of states move it: a remote observation, the two-point form around an
optimizer, and inside the latter schedule-free, which evaluates at an average.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax
import optax.contrib

from arsg_optax._denominators import preconditioners
from arsg_optax._precision import compute_dtype
from arsg_optax._state_search import (
    Found,
    by_path,
    contains,
    follows,
    shared_prefix,
)
from arsg_optax.transforms.observation import RemoteObservationState
from arsg_optax.transforms.two_point import ObserveRemotelyState

# The leaves that there are, by path, and the offsets of some of them.
Leaves = dict[str, jax.Array]
Offsets = Callable[[Leaves], Leaves]


def movers(found: list[Found]) -> list[tuple[Found, Offsets]]:
    """The states that move the iterate, outer ones first, and by how much.

    Args:
      found: all states of an optimizer.

    Returns:
      Pairs of a state and a function: from the point where the states before it have
      moved the iterate, by path, to the offsets of the leaves that it moves further.
    """
    two_point = [each for each in found if isinstance(each.state, ObserveRemotelyState)]
    moving: list[tuple[Found, Offsets]] = []
    for each in found:
        if isinstance(each.state, RemoteObservationState):
            moving.append((each, lambda _, e=each: _of_observation(e, found)))
        elif isinstance(each.state, ObserveRemotelyState):
            moving.append((each, lambda _, e=each: _of_two_point(e.state)))
        elif isinstance(each.state, optax.contrib.ScheduleFreeState) and any(
            contains(outer, each) for outer in two_point
        ):
            _check_observes_nothing(each, found)
            moving.append((each, lambda at, e=each: _of_schedule_free(e.state, at)))
    return moving


def _check_observes_nothing(schedule_free: Found, found: list[Found]) -> None:
    observing = (RemoteObservationState, ObserveRemotelyState)
    for each in found:
        if contains(schedule_free, each) and isinstance(each.state, observing):
            raise ValueError(
                "opt_state must hold no observation inside schedule-free, got "
                f"{type(each.state).__name__} at '{jax.tree_util.keystr(each.path)}'; "
                "put arsg_optax.observe_remotely around schedule-free instead."
            )


def _of_two_point(state: ObserveRemotelyState) -> Leaves:
    """-distance * u_{t-1}."""
    return {
        path: -state.applied_distance.astype(update.dtype) * update
        for path, update in by_path(state.previous).items()
    }


def _of_schedule_free(state: Any, point: Leaves) -> Leaves:
    """(1 / b1 - 1) (y - z), which leads from its y to its average."""
    offsets = {}
    for path, z in by_path(state.z).items():
        if path in point:
            dtype = compute_dtype(z, point[path])
            share = (1 / state.b1.astype(dtype)) - 1
            offsets[path] = share * (point[path].astype(dtype) - z.astype(dtype))
    return offsets


def _of_observation(observation: Found, found: list[Found]) -> Leaves:
    """distance * learning_rate * mu / denominators of each leaf that is observed."""
    rate = learning_rate_of(observation, found)
    between = [
        link for link in found if follows(link, observation) and link.order < rate.order
    ]
    denominators = [
        by_path(link.state.denominator()) for link in preconditioners(between)
    ]
    state, momenta = observation.state, by_path(observation.state.mu)
    rates, offsets = _rates(rate, len(momenta)), {}
    for (path, momentum), leaf_rate in zip(momenta.items(), rates, strict=True):
        divisors = [tree[path] for tree in denominators if path in tree]
        dtype = compute_dtype(momentum, *divisors)
        step = (state.applied_distance * leaf_rate).astype(dtype)
        offset = step * momentum.astype(dtype)
        for divisor in divisors:
            offset = offset / divisor.astype(dtype)
        offsets[path] = offset
    return offsets


def _rates(rate: Found, leaves: int) -> list[jax.Array]:
    """The learning rate of each leaf; on a sphere every leaf has one of its own."""
    if not hasattr(rate.state, "rates"):
        return [rate.state.applied_learning_rate] * leaves
    rates = list(rate.state.rates())
    if len(rates) != leaves:
        raise ValueError(
            "opt_state must record one learning rate for every observed leaf, got "
            f"{len(rates)} for {leaves} at '{jax.tree_util.keystr(rate.path)}'; mask "
            "or partition whole optimizers, not the observation alone."
        )
    return rates


def learning_rate_of(observation: Found, found: list[Found]) -> Found:
    """The learning rate behind an observation that shares the longest path with it."""
    rates = [
        (len(shared_prefix(observation, other)), other)
        for other in found
        if hasattr(other.state, "applied_learning_rate") and follows(other, observation)
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
        masks = isinstance(wrapper.state, optax.MaskedState)
        if masks and contains(wrapper, rate) and len(wrapper.path) >= shared:
            raise ValueError(
                "opt_state must record a learning rate for every leaf of an "
                "observation, got a masked one for the one at "
                f"'{jax.tree_util.keystr(observation.path)}'; mask or partition whole "
                "optimizers, not learning rates alone."
            )
