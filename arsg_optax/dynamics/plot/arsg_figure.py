"""Figure 1 of the ARSG paper: gain and noise of RSG against tau."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from arsg_optax.dynamics.linear import gain_factor
from arsg_optax.dynamics.noise import variance_limit
from arsg_optax.dynamics.plot._style import (
    family,
    label_axes,
    legend_below,
    new_figure,
    signed,
)
from arsg_optax.dynamics.plot.sampling import evaluate
from arsg_optax.dynamics.regions import complex_region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_B1 = 0.999
_OBSERVATIONS = (0.0, 0.001, 0.05, 0.1, 0.2, 0.4)
_NAMES = {0.0: " (heavy ball)", 0.001: " (Nesterov)", 0.1: " (default)"}
_RANGES = ((-0.003, 0.01), (-1.0, 20.0))
_POINTS = 1500


def arsg_figure_1() -> Figure:
    """Gain factor and variance limit for b1 = 0.999 and six observation factors.

    Panels (a), (b): tau from -0.003 to 0.01; (c), (d): from -1 to 20. Where a
    variance is infinite, below 0 and from the convergence bound on, is no curve.

    Returns:
      A figure with four axes, one line an observation factor in each, in that order.

    Source: ARSG figure 1. **Choices**: the vertical ranges, logarithmic in (d).
    """
    figure = new_figure(11, 8)
    panels = figure.subplots(2, 2)
    for (gains, noises), (low, high), (first, second) in zip(
        panels, _RANGES, ("ab", "cd"), strict=True
    ):
        _draw(gains, noises, low, high)
        across = "τ = αλ, learning rate × curvature (dimensionless)"
        span = f"τ from {signed(low)} to {signed(high)}"
        label_axes(
            gains,
            f"({first}) Gain factor, {span}",
            across,
            "gain factor $r_g$ per step (dimensionless)",
        )
        label_axes(
            noises,
            f"({second}) Noise that stays, {span}",
            across,
            "Var(error) / Var(noise), $l_{Var}$ (dimensionless)",
        )
        _frame(gains, noises, low, wide=high > 1)
    figure.suptitle(
        f"RSG along one eigenvector, β = {_B1}: below gain 1 the error shrinks\n"
        "(after figure 1 of the ARSG paper)",
        fontsize=11,
    )
    legend_below(figure, panels[0, 0].get_lines()[: len(_OBSERVATIONS)], 6)
    return figure


def _draw(gains: Axes, noises: Axes, low: float, high: float) -> None:
    for observation, style in zip(
        _OBSERVATIONS, family(len(_OBSERVATIONS)), strict=True
    ):
        tau = _samples(low, high, observation)
        label = f"μ = {observation:g}{_NAMES.get(observation, '')}"
        gain = evaluate(gain_factor, tau, _B1, observation)
        gains.plot(tau, gain, label=label, **style)
        noise = evaluate(variance_limit, tau, _B1, observation)
        noise[~np.isfinite(noise)] = np.nan
        noises.plot(tau, noise, label=label, **style)
    for axes in (gains, noises):
        axes.set_xlim(low, high)


def _frame(gains: Axes, noises: Axes, low: float, wide: bool) -> None:
    """Limits to what converges; the large range has curves that leave it."""
    gains.axhline(1, color="0.35", linewidth=0.8, zorder=1)
    noises.axvspan(low, 0, color="0.92", zorder=0)
    noises.text(
        low / 2,
        0.5,
        "infinite",
        transform=noises.get_xaxis_transform(),
        rotation=90,
        ha="center",
        va="center",
        color="0.35",
        fontsize=9,
    )
    if wide:
        gains.set_ylim(0.955, 1.045)
        noises.set_yscale("log")
        noises.set_ylim(1e-2, 1e2)
    else:
        noises.set_ylim(bottom=0)


def _samples(low: float, high: float, observation: float) -> np.ndarray:
    """An even grid, denser beside 0, with the kinks of the gain factor in it."""
    kinks = np.asarray(evaluate(complex_region, _B1, observation))
    near = np.geomspace(high * 1e-5, high * 1e-2, 60)
    grid = np.concatenate([np.linspace(low, high, _POINTS), [0.0], near, kinks])
    return np.unique(grid[(grid >= low) & (grid <= high)])
