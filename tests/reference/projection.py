"""Projected ARSG and AdaRem: the operator Π of both papers' algorithms.

The nearest points are found by bisection on the multiplier of the constraint, whose
residual falls as it grows.
"""

import numpy as np


def in_box(y, w, lower, upper):
    """argmin over lower <= x <= upper of sum w (x - y)^2."""
    del w
    return np.minimum(np.maximum(y, lower), upper)


def in_ball(y, w, radius, center=0.0):
    """argmin over ‖x - c‖ <= R of sum w (x - y)^2: w (x - y) + λ (x - c) = 0."""

    def at(multiplier):
        return (w * y + multiplier * center) / (w + multiplier)

    def excess(multiplier):
        return np.sqrt(np.sum((at(multiplier) - center) ** 2)) - radius

    return at(_root(excess))


def in_half_space(y, w, normal, offset):
    """argmin over ⟨a, x⟩ <= b of sum w (x - y)^2: w (x - y) + λ a = 0."""

    def at(multiplier):
        return y - multiplier * normal / w

    return at(_root(lambda multiplier: np.sum(normal * at(multiplier)) - offset))


def _root(excess):
    """The smallest λ >= 0 with excess(λ) <= 0."""
    if excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while excess(high) > 0:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):  # Neighbours: halving changes nothing any more.
            break
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


def arsg(gradient, y, alpha, beta1, beta2, mu, eps, steps, nearest, decay=0.0):
    """Algorithm 1; yields y_{t+1}. `nearest` takes a point and its weights √v̂."""
    # Line 1: set m_0 = 0, v_0 = 0, v̂_0 = eps.
    m, v, v_max = np.zeros_like(y), np.zeros_like(y), np.full_like(y, eps)
    for t in range(steps):
        g = gradient(t, y)  # 3
        m = beta1(t) * m + (1 - beta1(t)) * g  # 4
        v = beta2 * v + (1 - beta2) * g**2  # 5
        v_max = np.maximum(v_max, v)  # 6
        step = ((1 - mu(t)) * m + mu(t) * g) / np.sqrt(v_max)
        free = y - alpha(t) * step - alpha(t) * decay * y
        y = nearest(free, np.sqrt(v_max))  # 7
        yield y


def adarem(gradient, theta, alpha, beta, resilience, eps, steps, nearest, decay=0.0):
    """Algorithm 1; yields θ_{t+1}. `nearest` takes a point and its weights 1/a."""
    m = np.zeros_like(theta)
    for t in range(steps):
        g = gradient(t, theta)
        b = g * m / (np.abs(g) * np.max(np.abs(m)) + eps)
        a = 1 + resilience(t) * b
        free = theta - alpha(t) * a * g - alpha(t) * decay * theta
        theta = nearest(free, 1 / a)
        m = beta(t) * m + (1 - beta(t)) * g
        yield theta
