"""ARSG (Algorithm 1) and NAMSG (Algorithm 1 of its paper)."""

import numpy as np


def arsg(gradient, y, alpha, beta1, beta2, mu, eps, steps, decay=0.0):
    """Yields y_{t+1}, m_t and v̂_t. `decay` is decoupled."""
    # Line 1: set m_0 = 0, v_0 = 0, v̂_0 = eps.
    m, v, v_max = np.zeros_like(y), np.zeros_like(y), np.full_like(y, eps)
    for t in range(steps):
        g = gradient(t, y)  # 3
        m = beta1(t) * m + (1 - beta1(t)) * g  # 4
        v = beta2 * v + (1 - beta2) * g**2  # 5
        v_max = np.maximum(v_max, v)  # 6
        step = ((1 - mu(t)) * m + mu(t) * g) / np.sqrt(v_max)  # 7
        y = y - alpha(t) * step - alpha(t) * decay * y
        yield y, m, v_max


def namsg(gradient, x, alpha, beta1, beta2, eta, eps, steps):
    """Yields x_{t+1}, m_t and v̂_t."""
    m, v, v_max = np.zeros_like(x), np.zeros_like(x), np.full_like(x, eps)
    for t in range(steps):
        g = gradient(t, x)  # 3
        m = beta1(t) * m + (1 - beta1(t)) * g  # 4
        v = beta2 * v + (1 - beta2) * g**2  # 5
        v_max = np.maximum(v_max, v)  # 6
        mu = eta(t) * (1 - beta1(t)) / beta1(t)
        m_hat = (1 - mu) * m + mu * g  # 7
        x = x - alpha(t) * m_hat / np.sqrt(v_max)  # 8
        yield x, m, v_max
