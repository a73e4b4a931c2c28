"""RSG's arguments for methods that language models are trained with."""

from typing import Any

import jax
import jax.numpy as jnp

from arsg_optax._hyperparameters import as_scalar
from arsg_optax._validation import check_number
from arsg_optax.hyperparams._params import (
    DECAY,
    INF,
    SGD,
    STEP,
    Moving,
    Numeric,
    RSGParams,
    moving,
    rsg_params,
)
from arsg_optax.hyperparams.classical import from_nesterov
from arsg_optax.schedules import falling_observation, log_time_momentum

_MIXED = f"the momentum needs a weight; {SGD}"


def from_simplified_ademamix(
    learning_rate: Moving, b1: Numeric = 0.99, alpha: Moving = 0.0
) -> RSGParams:
    """RSG's arguments for Simplified AdEMAMix (Morwani et al. 2025).

    The method is m <- b1 m + g, theta <- theta - learning_rate (m + alpha g) / rms. It
    is also in Optax, as `optax.contrib.simplified_ademamix`. Here it is

    `arsg(**params._asdict(), preconditioner=scale_by_adam_rms(b2, eps))`

    with learning_rate (alpha + 1 / (1 - b1)), b1, and the observation
    alpha (1 - b1) / (1 + alpha (1 - b1)). Source: arXiv 2502.02431.

    Args:
      learning_rate: in units of parameter / gradient, >= 0, or a schedule.
      b1: decay of the sum, dimensionless, in [0, 1).
      alpha: weight of the newest gradient, dimensionless, >= 0, or a schedule.

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, *STEP)
    check_number("b1", b1, *DECAY)
    check_number("alpha", alpha, 0, "[)", INF, "0 is heavy ball")
    return RSGParams(
        moving(lambda rate, a: rate * (a + 1 / (1 - b1)), learning_rate, alpha),
        b1,
        moving(lambda a: a * (1 - b1) / (1 + a * (1 - b1)), alpha),
    )


def from_ademamix_without_fast(
    learning_rate: Moving, b3: Moving = 0.9999, alpha: Moving = 8.0
) -> RSGParams:
    """RSG's arguments for AdEMAMix without its fast average (Pagliardini et al. 2024).

    The method is m <- b3 m + (1 - b3) g, theta <- theta - learning_rate
    (g + alpha m) / rms, in Optax `optax.contrib.ademamix(..., b1=0.0)`. Here it is

    `arsg(**params._asdict(), preconditioner=scale_by_adam_rms(b2, eps))`

    with learning_rate (1 + alpha), b1 = b3, observation = 1 / (1 + alpha). With a fast
    average AdEMAMix has two momenta and is not RSG. Source: arXiv 2409.03137.

    Args:
      learning_rate: in units of parameter / gradient, >= 0, or a schedule.
      b3: decay of the slow average, dimensionless, in [0, 1), or a schedule.
      alpha: weight of the slow average, dimensionless, > 0, or a schedule.

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, *STEP)
    check_number("b3", b3, *DECAY)
    check_number("alpha", alpha, 0, "()", INF, _MIXED)
    return RSGParams(
        moving(lambda rate, a: rate * (1 + a), learning_rate, alpha),
        b3,
        moving(lambda a: 1 / (1 + a), alpha),
    )


def from_adana(
    learning_rate: Moving, delta: Numeric = 8.0, kappa: Numeric = 0.85
) -> RSGParams:
    """RSG's arguments for ADana, whose momentum grows with time (Ferbach et al. 2026).

    The method counts t from 1, decays both moments by 1 - delta / (delta + t), and with
    alpha = (1 + t)^(1 - kappa) it does theta <- theta - learning_rate (g + alpha m) /
    rms. Here it is `remote_chain(rms, **params._asdict())` with

    `rms = scale_by_adam_rms(log_time_momentum(delta), eps, debias=False)`

    and learning_rate (1 + alpha), b1 = `log_time_momentum(delta)`,
    observation = `falling_observation(1 - kappa)`. With `weight_decay=lambda count:
    omega / (count + 1) / peak * params.observation(count)` it decays as ADana does, by
    omega / t, where peak is the largest learning rate. Source: arXiv 2602.05298.

    Args:
      learning_rate: in units of the parameter, >= 0, or a schedule.
      delta: dimensionless, > 0.
      kappa: spectral dimension, dimensionless, in (0, 1].

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, *STEP)
    check_number("kappa", kappa, 0, "(]", 1, "0.85 is ADana's")
    observation = falling_observation(1 - kappa)
    return RSGParams(
        moving(lambda rate, share: rate / share, learning_rate, observation),
        log_time_momentum(delta),
        observation,
    )


def from_dana(gamma2: Moving, gamma3: Moving, delta: Numeric) -> RSGParams:
    """RSG's arguments for DANA, whose momentum s is a decaying sum (Ferbach 2025).

    The method is s <- (1 - delta / (delta + t)) s + g,
    theta <- theta - gamma2 g - gamma3 s. As in the released code, t is the number of
    updates so far. The weights of the gradients in s add up to W = 1 + t / (1 + delta).
    So the learning rate is gamma2 + gamma3 W, b1 = 1 - 1 / W = t / (t + 1 + delta),
    observation = gamma2 / (gamma2 + gamma3 W). DANA-constant has a constant gamma3,
    DANA-decaying a schedule. Source: arXiv 2505.16098.

    Args:
      gamma2: step along the gradient, in units of parameter / gradient, >= 0, or a
        schedule.
      gamma3: step along the sum, in the same units, > 0, or a schedule.
      delta: dimensionless, > 0.

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("gamma2", gamma2, *STEP)
    check_number("gamma3", gamma3, 0, "()", INF, _MIXED)
    check_number("delta", delta, 0, "()", INF, "a large one forgets soon")

    def weight(count: Any) -> jax.Array:
        return 1 + as_scalar(jnp.asarray(count)) / (1 + as_scalar(delta))

    return RSGParams(
        moving(lambda now, past, w: now + past * w, gamma2, gamma3, weight),
        lambda count: 1 - 1 / weight(count),
        moving(lambda now, past, w: now / (now + past * w), gamma2, gamma3, weight),
    )


def from_mars_approx(
    learning_rate: Moving, b1: Numeric = 0.95, gamma: Numeric = 0.025
) -> RSGParams:
    """RSG's arguments for MARS-approx without clipping (Yuan et al. 2024).

    The observation is gamma: the method corrects the gradient, c = g + gamma b1 / (1 -
    b1) (g - g_last), and steps along m <- b1 m + (1 - b1) c. As in the released code,
    g_last is 0 at first. Implementations that start with c = g have an m that is
    smaller by gamma b1^t times the first gradient after t updates, so they agree in the
    limit. MARS also clips c at norm 1, and MARS-AdamW averages the squares of c:
    neither is RSG.
    Source: arXiv 2411.10438.

    Args:
      learning_rate: in units of parameter / gradient, >= 0, or a schedule.
      b1: momentum decay, dimensionless, in [0, 1).
      gamma: weight of the correction, dimensionless, in [0, 1).

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("gamma", gamma, 0, "[)", 1, "it is the observation; 0.025 is MARS's")
    return rsg_params(learning_rate, b1, gamma)


def from_lion(b1: Numeric = 0.9, b2: Numeric = 0.99) -> RSGParams:
    """RSG's arguments for the direction whose sign Lion takes (Chen et al. 2023).

    The method steps along the sign of b1 m + (1 - b1) g and then updates
    m <- b2 m + (1 - b2) g. The conversion is learning_rate = 1, b1 = b2,
    observation = 1 - b1 / b2, and `optax.lion(learning_rate, b1, b2)` without decay is

    `optax.chain(remote_observation(params.b1, params.observation),
    optax.scale_by_sign(), optax.scale_by_learning_rate(learning_rate))`

    Source: arXiv 2302.06675.

    Args:
      b1: weight of the momentum in the step, dimensionless, in (0, b2].
      b2: momentum decay, dimensionless, in (0, 1).

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("b2", b2, 0, "()", 1, "0.99 is Lion's")
    remedy = "above b2 the observation would be negative; 0 is signSGD"
    check_number("b1", b1, 0, "(]", b2, remedy)
    # Products, so that a sweep has its axis in the first field too.
    return rsg_params(1 + 0 * b2, b2, 1 - b1 / b2)


def from_muon_momentum(momentum: Numeric = 0.95) -> RSGParams:
    """RSG's arguments for the direction that Muon orthogonalizes (Jordan 2024).

    The method updates m <- momentum m + (1 - momentum) g and orthogonalizes
    momentum m + (1 - momentum) g. The conversion is learning_rate = 1, b1 = momentum,
    observation = 1 - momentum: `optax.chain(remote_observation(params.b1,
    params.observation), orthogonalization, optax.scale_by_learning_rate(rate))`.

    `optax.contrib.muon` agrees in the limit. It corrects the bias of both parts by
    different factors, so that after t updates the ratio of their weights, g to m, is
    larger than here by (1 - momentum^(t+1)) / (1 - momentum^t): for 0.95 that is 1.95
    after one update, 1.03 after 20. Source: https://kellerjordan.github.io/posts/muon.

    Args:
      momentum: momentum decay, dimensionless, in (0, 1).

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("momentum", momentum, 0, "()", 1, "0.95 is Muon's")
    return rsg_params(1 + 0 * momentum, momentum, 1 - momentum)


def from_outer_nesterov(
    learning_rate: Numeric,
    outer_learning_rate: Numeric = 0.7,
    momentum: Numeric = 0.9,
) -> RSGParams:
    """RSG's arguments for DiLoCo's and SNOO's outer optimizer around one step of SGD.

    The outer optimizer takes the inner step s = learning_rate g as its gradient:
    buffer <- momentum buffer + s, theta <- theta - outer_learning_rate
    (momentum buffer + s). That is `from_nesterov` with the product of both rates. With
    several inner steps it is not RSG, because they take gradients at other points.
    Sources: arXiv 2311.08105 (the defaults) and 2510.15830.

    Args:
      learning_rate: of the inner step, in units of parameter / gradient, >= 0.
      outer_learning_rate: dimensionless, >= 0.
      momentum: decay of the outer buffer, dimensionless, in (0, 1).

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, *STEP)
    check_number("outer_learning_rate", outer_learning_rate, *STEP)
    return from_nesterov(learning_rate * outer_learning_rate, momentum)


def from_ema_nesterov(
    learning_rate: Numeric, beta: Numeric, gamma: Numeric = 0.99
) -> RSGParams:
    """RSG's arguments for EMA-Nesterov (Yau et al. 2026) around SGD.

    The method takes g at y = theta + beta m, steps to theta_new = y - learning_rate g,
    and averages its steps, m <- gamma m + (1 - gamma) (theta_new - theta). That is
    learning_rate / (1 - beta), b1 = gamma + (1 - gamma) beta, observation = 1 - beta.
    EMA-Nesterov evaluates at theta, beta of RSG's momentum steps behind y; RSG's
    iterate lies further back, b1 / (1 - gamma) steps. Source: arXiv 2605.25395.

    Args:
      learning_rate: of the step from y, in units of parameter / gradient, >= 0.
      beta: how far y lies ahead, in average steps, dimensionless, in (0, 1).
      gamma: decay of the average of steps, dimensionless, in [0, 1).

    Raises:
      ValueError: if a number is out of range.
    """
    remedy = f"at 1 and beyond observation = 1 - beta leaves its range; at 0 {SGD}"
    check_number("beta", beta, 0, "()", 1, remedy)
    check_number("gamma", gamma, *DECAY)
    b1 = gamma + (1 - gamma) * beta
    return rsg_params(learning_rate / (1 - beta), b1, 1 - beta)
