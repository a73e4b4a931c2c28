"""RSG's arguments for the classical methods that it generalizes."""

from arsg_optax._validation import check_number, is_number
from arsg_optax.hyperparams._params import (
    DECAY,
    INF,
    ROUNDING,
    SGD,
    STEP,
    Numeric,
    QHMParams,
    RSGParams,
    rsg_params,
)

# Drift per step that coefficients in float32 can bring into a two-state optimizer.
_DRIFT = 2e-7


def observation_from_distance(distance: Numeric, b1: Numeric) -> Numeric:
    """The observation factor of a distance, distance (1 - b1) / b1 (ARSG, after eq. 3).

    Args:
      distance: momentum steps from the iterate to the observation point,
        dimensionless, in [0, b1 / (1 - b1)); above, the factor would reach 1.
      b1: momentum decay, dimensionless, in (0, 1); at 0 the factor is undefined.

    Returns:
      The factor, dimensionless, of the arguments' broadcast shape.

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("b1", b1, 0, "()", 1, "without momentum pass observation")
    remedy = "beyond, the observation factor is not below 1; raise b1"
    check_number("distance", distance, 0, "[)", b1 / (1 - b1), remedy)
    return distance * (1 - b1) / b1


def distance_from_observation(observation: Numeric, b1: Numeric) -> Numeric:
    """The distance of an observation factor, factor b1 / (1 - b1) (ARSG, after eq. 3).

    Args:
      observation: observation factor, dimensionless, in [0, 1).
      b1: momentum decay, dimensionless, in [0, 1); at 0 nothing lies ahead.

    Returns:
      The distance in momentum steps, of the arguments' broadcast shape.

    Raises:
      ValueError: if a number is out of range.
    """
    rsg_params(0.0, b1, observation)
    return observation * b1 / (1 - b1)


def from_heavy_ball(learning_rate: Numeric, momentum: Numeric) -> RSGParams:
    """RSG's arguments for `optax.sgd(learning_rate, momentum)` (Polyak 1964).

    learning_rate / (1 - momentum), b1 = momentum, observation = 0.

    Args:
      learning_rate: step size in units of parameter / gradient, >= 0.
      momentum: decay of the accumulated gradients, dimensionless, in [0, 1).

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, *STEP)
    check_number("momentum", momentum, *DECAY)
    # A product, so that a sweep over momentum has its axis in this field too.
    return rsg_params(learning_rate / (1 - momentum), momentum, 0.0 * momentum)


def from_nesterov(learning_rate: Numeric, momentum: Numeric) -> RSGParams:
    """RSG's arguments for `optax.sgd(learning_rate, momentum, nesterov=True)`.

    learning_rate / (1 - momentum), b1 = momentum, observation = 1 - momentum
    (Sutskever et al. 2013).

    Args:
      learning_rate: step size in units of parameter / gradient, >= 0.
      momentum: decay, dimensionless, in (0, 1); 0 would give observation = 1.

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, *STEP)
    check_number("momentum", momentum, 0, "()", 1, "at 0 use from_heavy_ball")
    return rsg_params(learning_rate / (1 - momentum), momentum, 1 - momentum)


def from_qhm(learning_rate: Numeric, nu: Numeric, b1: Numeric) -> RSGParams:
    """RSG's arguments for QHM, quasi-hyperbolic momentum: observation = 1 - nu.

    Source: Ma & Yarats 2019.

    Args:
      learning_rate: step size in units of parameter / gradient, >= 0.
      nu: weight of the momentum in the step, dimensionless, in (0, 1]. QHM also
        runs at 0 (plain SGD) and outside [0, 1], where it is not RSG.
      b1: momentum decay, dimensionless, in [0, 1).

    Raises:
      ValueError: if a number is out of range.
    """
    remedy = f"observation = 1 - nu must be in [0, 1); {SGD}"
    check_number("nu", nu, 0, "(]", 1, remedy)
    return rsg_params(learning_rate, b1, 1 - nu)


def to_qhm(params: RSGParams) -> QHMParams:
    """QHM's arguments for RSG: nu = 1 - observation.

    `from_qhm` inverts it up to rounding.

    Args:
      params: arguments of `rsg`, in the units and ranges of `RSGParams`.

    Raises:
      ValueError: if a number is out of range.
    """
    learning_rate, b1, observation, distance, _ = params
    if any(map(callable, params)):
        raise ValueError(
            "params must hold numbers, got a schedule; QHM's values are constants."
        )
    if distance is not None:
        observation = observation_from_distance(distance, b1)
    if observation is None:
        raise ValueError(
            "params must have an observation or a distance, got None for both; give "
            "one of them."
        )
    rsg_params(learning_rate, b1, observation)
    return QHMParams(learning_rate, 1 - observation, b1)


def from_asgd(delta: Numeric, kappa: Numeric, xi: Numeric) -> RSGParams:
    """RSG's arguments for ASGD (Jain et al. 2018), with Kidambi et al.'s parameters.

    0.7 delta (1 + xi) / 1.7, b1 = (kappa - 0.49 xi) / (kappa + 0.7 xi),
    observation = 1.7 / (0.7 (1 + xi)); 0.7 is the constant of their algorithm.

    Args:
      delta: short step in units of parameter / gradient, >= 0.
      kappa: long-step parameter, dimensionless, >= 0.49 xi for b1 >= 0.
      xi: statistical advantage, dimensionless, > 10/7 for observation < 1.

    Raises:
      ValueError: if a number is out of range. Theory's xi <= sqrt(kappa) is free.
    """
    check_number("delta", delta, *STEP)
    remedy = "ASGD with less advantage is no RSG: its observation is not below 1"
    check_number("xi", xi, 10 / 7, "()", INF, remedy)
    remedy = "b1 would be negative; raise kappa or lower xi"
    check_number("kappa", kappa, 0.49 * xi, "[)", INF, remedy)
    b1 = (kappa - 0.49 * xi) / (kappa + 0.7 * xi)
    return rsg_params(0.7 * delta * (1 + xi) / 1.7, b1, 1.7 / (0.7 * (1 + xi)))


def from_mass(eta1: Numeric, eta2: Numeric, gamma: Numeric) -> RSGParams:
    """RSG's arguments for MaSS (Liu & Belkin 2020), Nesterov with a compensation.

    The method takes g at u: w_new = u - eta1 g, u_new = w_new + gamma (w_new - w) +
    eta2 g. That is (eta1 - eta2) / (1 - gamma), b1 = gamma,
    observation = eta1 (1 - gamma) / (eta1 - eta2). Its w is RSG's iterate where
    eta2 = 0. Source: arXiv 1810.13395.

    Args:
      eta1: step size, in units of parameter / gradient, > 0.
      eta2: compensation, in the same units, in [0, gamma eta1).
      gamma: momentum decay, dimensionless, in (0, 1).

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("eta1", eta1, 0, "()", INF, "it is a step size")
    check_number("gamma", gamma, 0, "()", 1, SGD)
    remedy = f"observation = eta1 (1 - gamma) / (eta1 - eta2) must be below 1; {SGD}"
    check_number("eta2", eta2, 0, "[)", gamma * eta1, remedy)
    observation = eta1 * (1 - gamma) / (eta1 - eta2)
    return rsg_params((eta1 - eta2) / (1 - gamma), gamma, observation)


def from_synthesized_nesterov(
    learning_rate: Numeric, b1: Numeric, b2: Numeric
) -> RSGParams:
    """RSG's arguments for the three-parameter method of Lessard et al. 2016.

    x' = x + b1 (x - x_old) - learning_rate g, gradients at x + b2 (x - x_old), is
    learning_rate / (1 - b1), b1, observation = (1 - b1) b2 / b1.

    Args:
      learning_rate: step size in units of parameter / gradient, >= 0.
      b1: momentum decay, dimensionless, in (0, 1). At 0 it is no RSG but for b2 = 0.
      b2: extrapolation, dimensionless, in [0, b1 / (1 - b1)) for observation < 1.

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, *STEP)
    remedy = f"RSG cannot extrapolate without momentum; {SGD}"
    check_number("b1", b1, 0, "()", 1, remedy)
    remedy = f"observation = (1 - b1) b2 / b1 must be in [0, 1); {SGD}"
    check_number("b2", b2, 0, "[)", b1 / (1 - b1), remedy)
    return rsg_params(learning_rate / (1 - b1), b1, (1 - b1) * b2 / b1)


def from_robust_momentum(
    smoothness: Numeric, kappa: Numeric, rho: Numeric | None = None
) -> RSGParams:
    """RSG's arguments for robust momentum (Cyrus et al. 2018), with triple as default.

    `from_synthesized_nesterov(kappa (1 - rho)^2 (1 + rho) / smoothness,
    kappa rho^3 / (kappa - 1), rho^3 / ((kappa - 1) (1 - rho)^2 (1 + rho)))`

    Args:
      smoothness: largest curvature in units of gradient / parameter, > 0.
      kappa: condition number, dimensionless, > 1.
      rho: convergence rate, dimensionless, in [1 - 1/sqrt(kappa), 1 - 1/kappa). None is
        the lower end, which is triple momentum; the upper end is gradient descent with
        the step size 1 / smoothness.

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("smoothness", smoothness, 0, "()", INF, "it is a curvature")
    remedy = "with equal curvatures use plain SGD with step 1 / smoothness"
    check_number("kappa", kappa, 1, "()", INF, remedy)
    fastest = 1 - kappa**-0.5
    rate = fastest if rho is None else rho
    remedy = f"small is fast, large is robust, and 1 - 1 / kappa is SGD; {SGD}"
    slowest = 1 - 1 / kappa - ROUNDING
    check_number("rho", rate, fastest - ROUNDING, "[)", slowest, remedy)
    gap = (1 - rate) * (1 - rate) * (1 + rate)
    b1 = kappa * rate**3 / (kappa - 1)
    return from_synthesized_nesterov(kappa * gap / smoothness, b1, b1 / (kappa * gap))


def from_pid(k_p: Numeric, k_i: Numeric, k_d: Numeric) -> RSGParams:
    """RSG's arguments for a PID controller (Recht 2018; Ma & Yarats 2019, section 4).

    With e = -g, w' = w + e and v' = b1 v + (1 - b1) (e - e_old), the parameters
    theta_0 + k_p e + k_i w' + k_d v' are those of the RSG k_i, b1 = k_d / (k_d - k_p),
    observation = 1 - k_p^2 / (k_i k_d). The gains leave the filter's b1 no choice.

    Args (all in units of parameter / gradient):
      k_p: proportional gain, in [-sqrt(k_i k_d), 0) for 0 < b1 < 1, observation >= 0.
      k_i: integral gain, > 0.
      k_d: derivative gain, > 0; without it b1 is undefined.

    Raises:
      ValueError: if a number is out of range.
    """
    check_number("k_i", k_i, 0, "()", INF, "it is RSG's learning rate")
    remedy = f"RSG's momentum needs a derivative term; {SGD}"
    check_number("k_d", k_d, 0, "()", INF, remedy)
    remedy = "k_p = 0 or above gives no b1 < 1, below the range observation < 0"
    low = -((k_i * k_d) ** 0.5) * (1 + ROUNDING)
    check_number("k_p", k_p, low, "[)", 0, remedy)
    return rsg_params(k_i, k_d / (k_d - k_p), 1 - k_p * k_p / (k_i * k_d))


def from_two_state(
    h: Numeric,
    k: Numeric,
    l: Numeric,  # noqa: E741
    m: Numeric,
    q: Numeric,
    z: Numeric,
) -> RSGParams:
    """RSG's arguments for a' = h a + k theta + l g, theta' = m a + q theta + z g.

    b1 = h + q - 1, learning_rate = -(z (1 - h) + m l) / (1 - b1),
    observation = (m l - h z) / (learning_rate b1), from rest: a = (1 - q) theta / m.
    Ma & Yarats 2019, section 4, the case that rests where the gradient is zero.

    Args:
      h, k, m, q: with k m = (1 - h) (1 - q), m != 0 and 1 < h + q < 2. h and q are
        dimensionless, k is in units of a / theta, m of theta / a.
      l, z: weights of the gradient, in units of a and theta over the gradient.

    Raises:
      ValueError: if a number is out of range, learning_rate and observation included.
    """
    if is_number(m) and m == 0:
        raise ValueError(f"m must not be 0, got {m}; without a in theta it is SGD")
    remedy = "b1 = h + q - 1 must be in (0, 1)"
    check_number("h + q", h + q, 1, "()", 2, remedy)
    at_rest, slack = (1 - h) * (1 - q), _DRIFT * (2 - h - q)
    remedy = "only k = (1 - h) (1 - q) / m rests where the gradient is 0"
    check_number("k * m", k * m, at_rest - slack, "[]", at_rest + slack, remedy)
    b1 = h + q - 1
    learning_rate = -(z * (1 - h) + m * l) / (1 - b1)
    remedy = "it is -(z (1 - h) + m l) / (2 - h - q); reverse the signs of l and z"
    check_number("learning_rate", learning_rate, 0, "()", INF, remedy)
    return rsg_params(learning_rate, b1, (m * l - h * z) / (learning_rate * b1))
