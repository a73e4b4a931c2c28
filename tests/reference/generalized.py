"""Generalized ARSG, ARSG eq. 7, with the second moments of Adam, RAdam and SAdam."""

import numpy as np


def adam(gradient, y, alpha, beta1, beta2, mu, eps, steps, decay=0.0):
    """ARSG with Adam's second moment as the authors released it; yields y_{t+1}."""
    m, v, b1_power, b2_power = np.zeros_like(y), np.zeros_like(y), 1.0, 1.0
    for t in range(steps):
        g = gradient(t, y)
        m = beta1(t) * m + (1 - beta1(t)) * g
        v = beta2 * v + (1 - beta2) * g**2
        b1_power, b2_power = beta1(t) * b1_power, beta2 * b2_power
        # Only the momentum's part is corrected.
        d = (1 - mu(t)) * m / (1 - b1_power) + mu(t) * g
        step = d / (np.sqrt(v / (1 - b2_power)) + eps)
        y = y - alpha(t) * step - alpha(t) * decay * y
        yield (y,)


def rectified(
    gradient, y, alpha, beta1, beta2, mu, threshold, steps, eps=1e-8, decay=0.0
):
    """RAdam's second moment, Liu et al. 2020, Algorithm 2, with its released threshold.

    The direction is corrected as with Adam's. Yields y_{t+1} and what d was divided by.
    """
    m, v, b1_power = np.zeros_like(y), np.zeros_like(y), 1.0
    rho_inf = 2 / (1 - beta2) - 1
    for step in range(steps):
        t = step + 1
        g = gradient(step, y)
        m = beta1(step) * m + (1 - beta1(step)) * g
        v = beta2 * v + (1 - beta2) * g**2
        b1_power = beta1(step) * b1_power
        d = (1 - mu(step)) * m / (1 - b1_power) + mu(step) * g
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        if rho >= threshold and rho > 4:
            r = np.sqrt(
                (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
            )
            divisor = (np.sqrt(v / (1 - beta2**t)) + eps) / r
        else:
            divisor = np.ones_like(y)
        y = y - alpha(step) * d / divisor - alpha(step) * decay * y
        yield y, divisor


def softplus(gradient, y, alpha, beta1, beta2, mu, sharpness, steps, decay=0.0):
    """SAdam's second moment, Tong et al. 2019; yields y_{t+1}. Nothing is corrected."""
    m, v = np.zeros_like(y), np.zeros_like(y)
    for t in range(steps):
        g = gradient(t, y)
        m = beta1(t) * m + (1 - beta1(t)) * g
        v = beta2 * v + (1 - beta2) * g**2
        d = (1 - mu(t)) * m + mu(t) * g
        divisor = np.logaddexp(0, sharpness * np.sqrt(v)) / sharpness
        y = y - alpha(t) * d / divisor - alpha(t) * decay * y
        yield (y,)
