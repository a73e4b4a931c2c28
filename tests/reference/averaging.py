"""Primal averaging as its sources write it: GPA, and schedule-free learning."""

import numpy as np


def gpa(gradient, x, gamma, mu_x, mu_y, steps):
    """Defazio et al, 2025 (arXiv 2512.17131), with SGD; yields y, and x after it."""
    z = x
    for t in range(steps):
        y = mu_y * x + (1 - mu_y) * z
        z = z - gamma(t) * gradient(t, y)
        x = mu_x(t) * x + (1 - mu_x(t)) * z
        yield mu_y * x + (1 - mu_y) * z, x


def adam_averaged(gradient, x, gamma, delta, mu, steps, b2=0.99, eps=1e-8, decay=0.0):
    """Log-time averaging of Adam without a first moment, decayed at z."""
    z, y, v = x, x, np.zeros_like(x)
    for t in range(steps):
        g = gradient(t, y)
        v = b2 * v + (1 - b2) * g**2
        step = g / (np.sqrt(v / (1 - b2 ** (t + 1))) + eps)
        z = z - gamma * (step + decay * z)
        b = (t + 1) / (t + 1 + delta)
        x = b * x + (1 - b) * z
        y = (1 - mu) * x + mu * z
        yield y, x
