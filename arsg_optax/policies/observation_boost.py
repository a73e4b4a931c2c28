"""OBSB, the observation boost: once the loss is flat, look further in smaller steps."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
import optax.contrib

from arsg_optax._hyperparameters import default_float, increment
from arsg_optax._states import find_states
from arsg_optax._trees import check_real
from arsg_optax._validation import check, check_loss
from arsg_optax._wrapping import (
    Wrappable,
    as_extra_args,
    has_accepted,
    has_stepped,
    takes_extra_args,
    where,
)
from arsg_optax.policies.plateau import LossWindows, empty_windows, is_flat, push
from arsg_optax.policies.value_averaging import MeanValue, include, no_values
from arsg_optax.transforms.observation import RemoteObservationState
from arsg_optax.transforms.remote_chain import RemoteChainState
from arsg_optax.transforms.two_point import ObserveRemotelyState

# States of wrappers of Optax whose update takes no extra arguments.
_LOSING = (optax.LookaheadState, optax.contrib.SplitRealAndImaginaryState)
_WATCHES = "an automatic observation boost watches"
_INSTEAD = (
    ", or where a library's loop calls update without it, boost at a given update "
    "with boost_at="
)


class ObservationBoostState(NamedTuple):
    """State of :func:`observation_boost`."""

    count: jax.Array  # () int32, updates so far.
    boosts: jax.Array  # () int32, those that the next update finds done.
    # Of the automatic mode, else empty: the loss since the last step, and before.
    pending: MeanValue | tuple[()]
    windows: LossWindows | tuple[()]
    inner_state: optax.OptState

    def metrics(self) -> dict[str, jax.Array]:
        """The scalars worth logging, see :func:`arsg_optax.metrics`."""
        return {"boosts": self.boosts}


def observation_boost(
    inner: Wrappable,
    *,
    boost_at: chex.Numeric | None = None,
    max_boosts: chex.Numeric = 1,
    window: chex.Numeric = 300,
    threshold: chex.Numeric = 0.005,
    confidence: chex.Numeric = 2.0,
    refractory: chex.Numeric = 1,
) -> optax.GradientTransformationExtraArgs:
    r"""Doubles the observation factor when the loss flattens, and shortens the steps.

    After n boosts the inner optimizer works with

    .. math::

      \mu_n = 2^n \mu, \qquad
      \alpha_n = \alpha \, \tau^*(\beta, 2^n \mu) / \tau^*(\beta, \mu),

    where :math:`\tau^*(\beta, \mu)` is the fastest step
    (:func:`arsg_optax.dynamics.fastest_tau`), so that the curvature which converges
    fastest stays the same. For b1 = 0.999 and a factor of 0.05 the first ratio is
    0.2483. Less noise remains, which lets the loss fall further. The ratio multiplies
    any schedule of the learning rate, decoupled weight decay included. No boost is done
    that would take the observation factor to 1.

    ``boost_at=k`` boosts once: update k, counted from 0, is the first boosted one.
    ``boost_at=None`` boosts when the loss flattens; then ``update`` needs the loss, and
    the minibatch's will do: ``update(gradients, state, params, value=loss)``, or
    ``loss=``, as Levanter and MaxText call it. Flat means that from one window of steps
    to the next,

    .. math::

      \bar L_1 - \bar L_2 < \text{threshold} \, |\bar L_1| +
        \text{confidence} \cdot \text{standard error},

    the error of the difference of the two means, estimated from successive losses. The
    windows slide by an eighth of their length. Losses that are not finite are ignored,
    and a single one that jumps by more than 8 standard deviations and one percent of
    the loss is cut off there. With the default values no run of 100 boosted in 10,000
    steps of a noisy loss that falls like 1/t, and all of them did within 1,000 steps
    after it turned flat (tests/policies/test_plateau.py).

    The inner optimizer must hold a :func:`arsg_optax.remote_chain`, as the named
    optimizers do, which gets :math:`2^n` as the extra argument ``observation_boost``.
    In an :func:`optax.partition` each takes the ratio of its own values; an optimizer
    without an observation beside them keeps its rate. An :class:`optax.MultiSteps` may
    stand inside; then updates are counted, and losses averaged, over accumulated
    batches. It may also stand around, with :func:`arsg_optax.average_value` around
    both.

    Args:
      inner: the optimizer to boost.
      boost_at: update to boost at, a whole number, or None for automatic boosts.
      max_boosts: the largest number of automatic boosts, at least 1.
      window: steps in a window, at least 8, rounded down to a multiple of 8.
      threshold: relative decrease from window to window below which a loss is flat.
      confidence: the decrease must exceed the threshold by this many standard errors.
      refractory: windows left out at the start and after a boost, before the two that
        are compared.

    Raises:
      ValueError: if an argument is out of range, if the inner optimizer cannot be
        boosted, or if in the automatic mode ``update`` gets neither ``value`` nor
        ``loss``, or both.

    References:
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, section 3, OBSB. The
      paper does not say when a loss is flat: the rule and its values are our choice.
    """
    check("boost_at", boost_at)
    check("max_boosts", max_boosts)
    check("window", window)
    check("threshold", threshold, low=0, remedy="0.005 is the default, half a percent.")
    check("confidence", confidence)
    check("refractory", refractory)
    if not takes_extra_args(inner):
        raise ValueError(
            "inner must pass extra arguments on, got a transform whose update takes "
            "none, such as optax.lookahead; put the observation boost inside of it."
        )
    inner, automatic = as_extra_args(inner), boost_at is None

    def init_fn(params):
        check_real("params", params)
        inner_state = inner.init(params)
        _check_can_be_boosted(inner_state)
        return ObservationBoostState(
            count=jnp.zeros([], jnp.int32),
            boosts=jnp.zeros([], jnp.int32),
            pending=no_values() if automatic else (),
            windows=empty_windows() if automatic else (),
            inner_state=inner_state,
        )

    def watch(state, value, accepted, stepped, possible):
        """Boosts, pending and windows after a loss."""
        pending = where(accepted, include(state.pending, value), state.pending)
        grown = push(state.windows, pending.value(), window)
        flat = is_flat(grown, window, threshold, confidence, refractory)
        wanted = stepped & flat & (state.boosts < jnp.asarray(max_boosts, jnp.int32))
        boost = wanted & possible
        windows = where(boost, empty_windows(), where(stepped, grown, state.windows))
        boosts = state.boosts + boost.astype(jnp.int32)
        return boosts, where(stepped, no_values(), pending), windows

    def update_fn(updates, state, params=None, **extra_args):
        boosts, pending, windows = state.boosts, state.pending, state.windows
        if not automatic:
            due = state.count >= jnp.asarray(boost_at).astype(jnp.int32)
            boosts = due.astype(jnp.int32)
        updates, inner_state = inner.update(
            updates,
            state.inner_state,
            params,
            **extra_args,
            observation_boost=jnp.ldexp(jnp.ones([], default_float()), boosts),
        )
        stepped = has_stepped(state.inner_state, inner_state)
        if automatic:
            _, loss = check_loss(extra_args, _WATCHES, _INSTEAD)
            accepted = has_accepted(state.inner_state, inner_state)
            # No factor may reach 1.
            factors = [each.applied_observation for each in _chains(inner_state)]
            possible = jnp.all(2 * jnp.stack(factors) < 1)
            boosts, pending, windows = watch(state, loss, accepted, stepped, possible)
        return updates, ObservationBoostState(
            count=jnp.where(stepped, increment(state.count), state.count),
            boosts=boosts,
            pending=pending,
            windows=windows,
            inner_state=inner_state,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _chains(inner_state: optax.OptState) -> list[RemoteChainState]:
    states = (each.state for each in find_states(inner_state))
    return [state for state in states if isinstance(state, RemoteChainState)]


def _check_can_be_boosted(inner_state: optax.OptState) -> None:
    """Only a remote chain knows the decay and the factor that a boost starts from."""
    states = [each.state for each in find_states(inner_state)]
    for state in states:
        if isinstance(state, _LOSING):
            raise ValueError(
                "inner must pass extra arguments on, got a "
                f"{type(state).__name__} inside, whose wrapper does not; put the "
                "observation boost inside of that wrapper."
            )
        if isinstance(state, ObservationBoostState):
            raise ValueError(
                "inner must hold no other observation boost, got one inside; give "
                "one of them max_boosts=2 instead."
            )
    others = (RemoteObservationState, ObserveRemotelyState)
    if any(isinstance(state, others) for state in states) or not _chains(inner_state):
        names = sorted({type(state).__name__ for state in states})
        raise ValueError(
            "inner must hold its observation in a remote_chain, got the states "
            f"{names}; boost rsg, arsg, namsg or a remote_chain of your own. With "
            "exact=True they are the two-point form, which observe_remotely makes of "
            "any optimizer."
        )
