"""ARSGB, ARSG with the observation boost."""

from typing import Any

import chex
import optax

from arsg_optax._validation import check, check_number, is_number
from arsg_optax.optimizers.arsg import arsg
from arsg_optax.policies.observation_boost import observation_boost
from arsg_optax.transforms._decay import Mask


def arsgb(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = 0.999,
    b2: chex.Numeric = 0.99,
    eps: chex.Numeric = 1e-8,
    observation: optax.ScalarOrSchedule = 0.05,
    *,
    boost_at: chex.Numeric | None = None,
    max_boosts: chex.Numeric = 1,
    window: chex.Numeric = 300,
    threshold: chex.Numeric = 0.005,
    confidence: chex.Numeric = 2.0,
    refractory: chex.Numeric = 1,
    exact: bool = False,
    preconditioner: optax.GradientTransformation | None = None,
    debias: bool = False,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Mask = None,
    mu_dtype: Any | None = None,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""ARSGB: :func:`arsg_optax.arsg` that looks further ahead once the loss is flat.

    It starts with half of ARSG's observation factor and with a learning rate chosen
    for it, in general twice ARSG's or more, and falls fast. When the loss flattens,
    the factor doubles and the learning rate shrinks so that the curvature which
    converges fastest stays the same: for the defaults to 0.2483 of itself.

    After n boosts it is ARSG, in whose symbols, with

    .. math::

      \mu_n = 2^n \mu, \qquad
      \alpha_{t,n} = \alpha_t\, \tau^*(\beta_1, 2^n\mu) / \tau^*(\beta_1, \mu),

    see :func:`arsg_optax.observation_boost`, and with ARSG's state.

    When to use it: in longer runs, whose loss levels off while gradients stay noisy.

    Args:
      learning_rate: before any boost: finite and at least 0, or a schedule. The
        paper's problems need 0.005 to 0.1.
      observation: observation factor before any boost, in (0, 0.5), or a schedule.
        The default is half of ARSG's, which one boost reaches.
      boost_at: update from which the boost is in force, counted from 0; None boosts
        automatically, then ``update`` needs ``value=loss`` or ``loss=loss``. The
        paper boosts at its 6th epoch of 20 or 11th of 40.
      max_boosts: the largest number of automatic boosts; the paper does one.
      window, threshold, confidence, refractory: when a loss counts as flat, see
        :func:`arsg_optax.observation_boost`.
      b1, b2, eps, exact, preconditioner, debias: as in :func:`arsg_optax.arsg`.
      weight_decay, mask, mu_dtype, nu_dtype: as there.

    Raises:
      ValueError: if an argument is out of range, or if in the automatic mode
        ``update`` gets neither ``value`` nor ``loss``, or both.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(x): return jnp.sum(x ** 2)
      >>> solver = arsg_optax.arsgb(learning_rate=0.2, boost_at=3)
      >>> params = jnp.array([1., 2., 3.])
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f'{f(params):.2f} {arsg_optax.metrics(state)["observation"]:.2f}')
      10.88 0.10

    References:
      ARSG, `Chen et al 2020 <https://arxiv.org/abs/1905.01422>`_, section 3, OBSB,
      and Algorithm 1.
    """
    check("observation", observation)
    check("max_boosts", max_boosts)
    boosts = max_boosts if boost_at is None else 1
    if is_number(boosts):
        remedy = f"each of {boosts:g} boosts doubles it, and it must stay below 1."
        limit = 2.0 ** -min(float(boosts), 1000.0)
        check_number("observation", observation, 0, "()", limit, remedy)
    inner = arsg(
        learning_rate,
        b1,
        b2,
        eps,
        observation,
        exact=exact,
        preconditioner=preconditioner,
        debias=debias,
        weight_decay=weight_decay,
        mask=mask,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
    return observation_boost(
        inner,
        boost_at=boost_at,
        max_boosts=max_boosts,
        window=window,
        threshold=threshold,
        confidence=confidence,
        refractory=refractory,
    )
