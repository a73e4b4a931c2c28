"""Muon as its authors released it, and ORSG, of one matrix."""

import numpy as np

MUON = (3.4445, -4.7750, 2.0315)


def newton_schulz(d, rounds=(MUON,) * 5, eps=1e-8):
    """Five iterations of Jordan et al's quintic, on the matrix itself."""
    x = d / (np.linalg.norm(d) + eps)
    for a, b, c in rounds:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def muon(gradient, w, lr, beta, steps, decay=0.0):
    """Jordan et al, 2024, the released loop, its `weight` of shape (out, in).

    Yields the kernel, (in, out), after each step.
    """
    weight, buffer = w.T, np.zeros_like(w.T)
    for t in range(steps):
        grad = gradient(t, weight.T).T
        buffer = buffer + (1 - beta) * (grad - buffer)  # momentum.lerp_(grad, 1 - beta)
        update = grad + beta * (buffer - grad)  # grad.lerp_(momentum, beta)
        update = newton_schulz(update)
        update = update * max(1, weight.shape[0] / weight.shape[1]) ** 0.5
        weight = weight * (1 - lr(t) * decay) - lr(t) * update
        yield weight.T


def orsg(gradient, w, alpha, beta, mu, steps, decay=0.0, scale="width"):
    """ORSG of a kernel (in, out), the concise form; yields y_{t+1}."""
    m, (fan_in, fan_out) = np.zeros_like(w), w.shape
    for t in range(steps):
        g = gradient(t, w)
        m = beta(t) * m + (1 - beta(t)) * g
        d = (1 - mu(t)) * m + mu(t) * g
        o = newton_schulz(d) * _factor(scale, fan_in, fan_out)
        w = w - alpha(t) * (o + decay * w)
        yield w


def orsg_exact(gradient, x, alpha, beta, mu, steps, decay=0.0):
    """Its two-point form; yields y_{t+1} and x_{t+1}. The decay acts at y."""
    m, y, (fan_in, fan_out) = np.zeros_like(x), x, x.shape
    for t in range(steps):
        m = beta(t) * m + (1 - beta(t)) * gradient(t, y)
        u = newton_schulz(m) * _factor("width", fan_in, fan_out)
        eta = mu(t) * beta(t) / (1 - beta(t))
        x = x - alpha(t) * (u + decay * y)
        y = x - eta * alpha(t) * u
        yield y, x


def _factor(scale, fan_in, fan_out):
    if scale == "rms":  # Liu et al, 2025, eq. 4.
        return 0.2 * np.sqrt(max(fan_in, fan_out))
    return np.sqrt(max(1, fan_out / fan_in))
