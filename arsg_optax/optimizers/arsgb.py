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

    Let :math:`\alpha_t` be the learning rate, :math:`\beta_{1t}, \beta_2, \epsilon`
    and :math:`\mu` the arguments ``b1``, ``b2``, ``eps`` and ``observation``,
    :math:`\gamma` the weight decay and :math:`y_t` the parameters. With n boosts so
    far, :math:`\mu_n = 2^n\mu` and
    :math:`\alpha_{t,n} = \alpha_t\, \tau^*(\beta_1, 2^n\mu) / \tau^*(\beta_1, \mu)`,
    see :func:`arsg_optax.observation_boost`, the update is ARSG's: from
    :math:`m_0 = 0, v_0 = 0, \hat v_0 = \epsilon`,

    .. math::

      \begin{align*}
        m_t &\leftarrow \beta_{1t} m_{t-1} + (1-\beta_{1t}) g_t \\
        v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
        \hat v_t &\leftarrow \max(\hat v_{t-1}, v_t) \\
        y_{t+1} &\leftarrow y_t - \alpha_{t,n} \left(
          ((1-\mu_n) m_t + \mu_n g_t) / \sqrt{\hat v_t} + \gamma y_t \right)
      \end{align*}

    State: three arrays per parameter, twelve bytes in float32, six in bfloat16.

    When to use it: in longer runs, whose loss levels off while gradients stay noisy.

    Args:
      learning_rate: before any boost: finite and at least 0, or a schedule. The
        paper's problems need 0.005 to 0.1.
      b1: decay rate of the momentum, in [0, 1), or a schedule; ARSG's default.
      b2: decay rate of the second moment, in [0, 1); ARSG's default.
      eps: where the maximum of the second moment starts, see :func:`arsg_optax.arsg`.
      observation: observation factor before any boost, in (0, 0.5), or a schedule.
        The default is half of ARSG's, which one boost reaches.
      boost_at: update from which the boost is in force, counted from 0; None boosts
        automatically, then ``update`` needs ``value=loss`` or ``loss=loss``. The
        paper boosts at its 6th epoch of 20 or 11th of 40.
      max_boosts: most automatic boosts; the paper does one.
      window: steps over which the automatic mode averages losses. This and the next
        three are chosen so that noise does not boost, as measured in
        :func:`arsg_optax.observation_boost`.
      threshold: relative decrease from window to window below which a loss is flat.
      confidence: standard errors by which the decrease must exceed the threshold.
      refractory: windows left out at the start and after a boost.
      exact: the exact two-point form, whose iterate is right under every schedule, see
        :func:`arsg_optax.remote_chain`; the default is the concise form.
      preconditioner: see :func:`arsg_optax.arsg`.
      debias: see :func:`arsg_optax.remote_observation`.
      weight_decay: decoupled, multiplied by the boosted learning rate.
      mask: tree of booleans or a callable, which selects the leaves that decay.
      mu_dtype: dtype that stores the momentum, see :func:`arsg_optax.arsg`.
      nu_dtype: the same for both second moments.

    Returns:
      The corresponding :class:`optax.GradientTransformationExtraArgs`.

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
      ...     loss, gradient = jax.value_and_grad(f)(params)
      ...     updates, state = solver.update(gradient, state, params, value=loss)
      ...     params = optax.apply_updates(params, updates)
      ...     print(f'{f(params):.2f} {arsg_optax.metrics(state)["observation"]:.2f}')
      12.81 0.05
      12.01 0.05
      11.37 0.05
      11.11 0.10
      10.88 0.10

    References:
      Chen et al, `An Adaptive Remote Stochastic Gradient Method for Training Neural
      Networks <https://arxiv.org/abs/1905.01422>`_, 2020, section 3, OBSB, and
      Algorithm 1.
    """
    _check_can_double(observation, max_boosts if boost_at is None else 1)
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


def _check_can_double(observation: Any, boosts: Any) -> None:
    """Refuses an observation factor that all its boosts would take to 1."""
    check("observation", observation)
    if is_number(boosts):
        remedy = f"each of {boosts:g} boosts doubles it, and it must stay below 1."
        limit = 2.0 ** -min(float(boosts), 1000.0)
        check_number("observation", observation, 0, "()", limit, remedy)
