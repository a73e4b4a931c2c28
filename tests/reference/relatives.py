"""The optimizers that RSG generalizes, as their papers print them, and RSG (eq. 3).

Each is a generator: it yields the point where it wants a gradient and is sent one.
"""

from collections.abc import Generator
from typing import Any

import numpy as np

Points = Generator[np.ndarray, np.ndarray, None]


def rsg(theta: np.ndarray, learning_rate: Any, b1: Any, observation: Any) -> Points:
    """ARSG eq. 3."""
    m = np.zeros_like(theta)
    while True:
        g = yield theta
        m = b1 * m + (1 - b1) * g
        theta = theta - learning_rate * ((1 - observation) * m + observation * g)


def qhm(theta: np.ndarray, alpha: float, nu: float, beta: float) -> Points:
    """Ma & Yarats 2019, section 3."""
    buffer = np.zeros_like(theta)
    while True:
        g = yield theta
        buffer = beta * buffer + (1 - beta) * g
        theta = theta - alpha * ((1 - nu) * g + nu * buffer)


def asgd(w: np.ndarray, delta: float, kappa: float, xi: float) -> Points:
    """Kidambi et al. 2018: short steps w, a running average of long steps."""
    average, alpha = w, 1 - 0.7**2 * xi / kappa
    while True:
        g = yield w
        average = alpha * average + (1 - alpha) * (w - kappa * delta / 0.7 * g)
        share = 0.7 / (0.7 + (1 - alpha))
        w = share * (w - delta * g) + (1 - share) * average


def asgd_of_jain(v: np.ndarray, delta: float, kappa: float, xi: float) -> Points:
    """Jain et al. 2018: sequences x, y, z, v and constants alpha, beta, gamma, delta.

    Kidambi et al. choose beta = 0.7^2 xi / kappa, gamma = 0.7 xi delta and
    alpha = 0.7 / (0.7 + beta).
    """
    beta = 0.49 * xi / kappa
    alpha, gamma = 0.7 / (0.7 + beta), 0.7 * xi * delta
    x = v
    while True:
        y = alpha * x + (1 - alpha) * v
        g = yield y
        x = y - delta * g
        z = beta * y + (1 - beta) * v
        v = z - gamma * g


def synthesized_nesterov(
    xi: np.ndarray, alpha: float, beta1: float, beta2: float
) -> Points:
    """Lessard, Recht & Packard 2016, with gradients at the extrapolated point."""
    previous = xi
    while True:
        g = yield (1 + beta2) * xi - beta2 * previous
        xi, previous = (1 + beta1) * xi - beta1 * previous - alpha * g, xi


def robust_momentum(
    x: np.ndarray, smoothness: float, kappa: float, rho: float | None = None
) -> Points:
    """Cyrus, Hu, Van Scoy & Lessard 2018, with gradients at y."""
    rate = 1 - 1 / np.sqrt(kappa) if rho is None else rho
    alpha = kappa * (1 - rate) ** 2 * (1 + rate) / smoothness
    beta = kappa * rate**3 / (kappa - 1)
    gamma = rate**3 / ((kappa - 1) * (1 - rate) ** 2 * (1 + rate))
    previous = x
    while True:
        y = x + gamma * (x - previous)
        g = yield y
        x, previous = x + beta * (x - previous) - alpha * g, x


def pid(theta: np.ndarray, k_p: float, k_i: float, k_d: float, beta: float) -> Points:
    """Recht 2018, in the indices of Ma & Yarats 2019."""
    start, w, v, e = theta, np.zeros_like(theta), np.zeros_like(theta), 0.0
    while True:
        e_old, e = e, -(yield theta)
        v = beta * v + (1 - beta) * (e - e_old)
        w = w + e
        theta = start + k_p * e + k_i * w + k_d * v


def two_state(theta: np.ndarray, *coefficients: float) -> Points:
    """Ma & Yarats 2019, section 4, started at rest."""
    h, k, l, m, q, z = coefficients  # noqa: E741
    a = (1 - q) * theta / m
    while True:
        g = yield theta
        a, theta = h * a + k * theta + l * g, m * a + q * theta + z * g
