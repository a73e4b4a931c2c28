"""AdaRem, Algorithm 1 and eq. 1."""

import numpy as np


def adarem(gradient, theta, alpha, beta, resilience, eps, steps, decay=0.0):
    """Yields theta_{t+1} and the factor a_t. max|m| is over the whole vector."""
    m = np.zeros_like(theta)
    for t in range(steps):
        g = gradient(t, theta)
        b = g * m / (np.abs(g) * np.max(np.abs(m)) + eps)
        a = 1 + resilience(t) * b
        theta = theta - alpha(t) * a * g - alpha(t) * decay * theta
        m = beta(t) * m + (1 - beta(t)) * g
        yield theta, a
