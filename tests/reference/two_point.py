"""The two-point forms, line by line: ARSG eq. 2 and NAMSG eq. 6.

Each yields the observation point, the iterate and the momentum after every update. The
decoupled decay is taken at the observation point.
"""

import numpy as np

from tests.reference.boost import fastest


def rsg(gradient, y, alpha, beta, eta, steps, decay=0.0):
    """Eq. 2 of ARSG."""
    x, m = y, np.zeros_like(y)
    for t in range(steps):
        m = beta(t) * m + (1 - beta(t)) * gradient(t, y)
        x = x - alpha(t) * m - alpha(t) * decay * y
        y = x - eta(t) * alpha(t) * m
        yield y, x, m


def arsg(gradient, y, alpha, beta1, beta2, eta, eps, steps, decay=0.0):
    """The same with V̂: eq. 6 of NAMSG."""
    x, m, v = y, np.zeros_like(y), np.zeros_like(y)
    v_max = np.full_like(y, eps)
    for t in range(steps):
        g = gradient(t, y)
        m = beta1(t) * m + (1 - beta1(t)) * g
        v = beta2 * v + (1 - beta2) * g**2
        v_max = np.maximum(v_max, v)
        u = m / np.sqrt(v_max)
        x = x - alpha(t) * u - alpha(t) * decay * y
        y = x - eta(t) * alpha(t) * u
        yield y, x, m


def adam_rms(gradient, y, alpha, beta1, beta2, eta, eps, steps):
    """The same with Adam's second moment in the place of V̂."""
    x, m, v = y, np.zeros_like(y), np.zeros_like(y)
    for t in range(steps):
        g = gradient(t, y)
        m = beta1(t) * m + (1 - beta1(t)) * g
        v = beta2 * v + (1 - beta2) * g**2
        u = m / (np.sqrt(v / (1 - beta2 ** (t + 1))) + eps)
        x = x - alpha(t) * u
        y = x - eta(t) * alpha(t) * u
        yield y, x, m


def arsgb(gradient, y, alpha, beta1, beta2, mu, eps, steps, boost_at):
    """The two-point form of ARSG under OBSB: from `boost_at` on α τ*(2μ)/τ*(μ), 2μ."""

    def boosted(t):
        a, b, o = alpha(t), beta1(t), mu(t)
        if t < boost_at:
            return a, o * b / (1 - b)
        return a * fastest(b, 2 * o) / fastest(b, o), 2 * o * b / (1 - b)

    return arsg(
        gradient,
        y,
        lambda t: boosted(t)[0],
        beta1,
        beta2,
        lambda t: boosted(t)[1],
        eps,
        steps,
    )


def resilient(gradient, y, alpha, beta, eta, beta_r, strength, eps, steps):
    """Eq. 2 of ARSG with u = a ⊙ m, the factors of AdaRem's eq. 1."""
    x, m, r = y, np.zeros_like(y), np.zeros_like(y)
    for t in range(steps):
        g = gradient(t, y)
        m = beta(t) * m + (1 - beta(t)) * g
        a = 1 + strength * g * r / (np.abs(g) * np.max(np.abs(r)) + eps)
        r = beta_r * r + (1 - beta_r) * g
        u = a * m
        x = x - alpha(t) * u
        y = x - eta(t) * alpha(t) * u
        yield y, x, m
