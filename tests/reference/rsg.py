"""RSG, ARSG paper section 2."""

import numpy as np


def concise(gradient, y, alpha, beta, mu, steps, decay=0.0):
    """Eq. 3; yields y_{t+1} and m_t. `decay` is decoupled."""
    m = np.zeros_like(y)
    for t in range(steps):
        g = gradient(t, y)
        m = beta(t) * m + (1 - beta(t)) * g
        y = y - alpha(t) * ((1 - mu(t)) * m + mu(t) * g) - alpha(t) * decay * y
        yield y, m


def two_point(gradient, x, alpha, beta, eta, steps):
    """Eq. 2; yields the observation point and the iterate."""
    m = np.zeros_like(x)
    observed = x
    for t in range(steps):
        m = beta(t) * m + (1 - beta(t)) * gradient(t, observed)
        observed = x - (1 + eta(t)) * alpha(t) * m
        x = x - alpha(t) * m
        yield observed, x


def debiased(gradient, y, alpha, beta, mu, steps):
    """Eq. 3 with the released code's correction of the momentum's part only."""
    m = np.zeros_like(y)
    for t in range(steps):
        g = gradient(t, y)
        m = beta * m + (1 - beta) * g
        y = y - alpha * ((1 - mu) * m / (1 - beta ** (t + 1)) + mu * g)
        yield y, m
