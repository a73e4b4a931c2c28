"""OBSB on ARSG: ARSG paper section 3 and Algorithm 1."""

import numpy as np


def fastest(beta, mu):
    """argmin over τ of r_g, by bisection for the end of the complex region.

    Eq. 11: the eigenvalues are complex where ρ² < 4β(1-μτ), ρ = 1+β-τ(1-β(1-μ)).
    """

    def discriminant(tau):
        rho = 1 + beta - tau * (1 - beta * (1 - mu))
        return rho**2 - 4 * beta * (1 - mu * tau)

    inside = (1 + beta) / (1 - beta * (1 - mu))  # ρ = 0
    if discriminant(inside) > 0:  # Then 1 < μτ: the region ends before.
        inside = (1 - beta) / (1 - beta * (1 - mu)) ** 2  # A tau between its ends.
    outside = 4 * (1 + beta) / (1 - beta * (1 - mu)) ** 2
    for _ in range(200):
        middle = (inside + outside) / 2
        inside, outside = (
            (middle, outside) if discriminant(middle) < 0 else (inside, middle)
        )
    return inside


def arsgb(gradient, y, alpha, beta1, beta2, mu, eps, steps, boost_at, decay=0.0):
    """Yields y_{t+1}. The first `boost_at` steps use α, μ, then α τ*(2μ)/τ*(μ), 2μ."""
    m, v, v_max = np.zeros_like(y), np.zeros_like(y), np.full_like(y, eps)
    for t in range(steps):
        a, b, o = alpha(t), beta1(t), mu(t)
        if t >= boost_at:
            a, o = a * fastest(b, 2 * o) / fastest(b, o), 2 * o
        g = gradient(t, y)
        m = b * m + (1 - b) * g
        v = beta2 * v + (1 - beta2) * g**2
        v_max = np.maximum(v_max, v)
        y = y - a * ((1 - o) * m + o * g) / np.sqrt(v_max) - a * decay * y
        yield y, m, v_max
