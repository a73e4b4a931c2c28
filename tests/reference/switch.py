"""SWNTS, NAMSG paper section 5."""

import numpy as np


def swnts(gradient, x, alpha, beta1, beta2, eta, eps, steps, switch_at):
    """Yields x_{t+1}, û_t and α̂_t m̂_t.

    Before the switch α̂ is None. After it, a schedule α_t goes on in relation to its
    value at the switch.
    """
    m, v, v_max = np.zeros_like(x), np.zeros_like(x), np.full_like(x, eps)
    alpha_sgd, alpha_then = None, None
    for t in range(steps):
        g = gradient(t, x)
        m = beta1(t) * m + (1 - beta1(t)) * g
        mu = eta(t) * (1 - beta1(t)) / beta1(t)
        m_hat = (1 - mu) * m + mu * g
        if alpha_sgd is None:
            v = beta2 * v + (1 - beta2) * g**2
            v_max = np.maximum(v_max, v)
        u_hat = alpha(t) * m_hat / np.sqrt(v_max)
        if alpha_sgd is None and t >= switch_at and np.dot(m_hat, u_hat) > 0:
            alpha_sgd = np.dot(u_hat, u_hat) / np.dot(m_hat, u_hat)
            alpha_then = alpha(t)
        if alpha_sgd is None:
            x = x - u_hat
            yield x, u_hat, None
        else:
            step = alpha_sgd * alpha(t) / alpha_then * m_hat
            x = x - step
            yield x, u_hat, step
