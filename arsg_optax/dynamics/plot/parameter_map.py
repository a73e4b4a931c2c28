"""A map of gain and noise over tau and the observation factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from arsg_optax._validation import check_number
from arsg_optax.dynamics._arguments import check_b1, check_observation
from arsg_optax.dynamics.linear import gain_factor
from arsg_optax.dynamics.noise import variance_limit
from arsg_optax.dynamics.plot._style import label_axes, legend_below, new_figure
from arsg_optax.dynamics.plot.sampling import evaluate
from arsg_optax.dynamics.regions import complex_region, convergence_bound

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS, _ROWS = 480, 240
_DIVERGES = "0.82"


def gain_and_noise_map(
    b1: float = 0.999,
    *,
    observation: float | None = None,
    tau_range: tuple[float, float] | None = None,
) -> Figure:
    """Contraction per step, and noise that stays, over (tau, observation).

    Both axes are logarithmic, from a tenth of what matters at this b1: Nesterov's
    observation 1 - b1, and the left end of the complex region.

    Args:
      b1: momentum decay, dimensionless, in [0, 1).
      observation: with tau_range, an observation factor in [0, 1) to mark.
      tau_range: learning rate times smallest and largest curvature, dimensionless, to
        mark; what lies outside of the map is cut off.

    Returns:
      A figure with two maps and their colour bars. Grey is divergence.

    Raises:
      ValueError: if a number is out of range.
    """
    check_b1(b1)
    if observation is not None:
        check_observation(observation)
    if tau_range is not None:
        check_number("tau_range", tau_range[1], tau_range[0], "[)", np.inf, "swap it")
    tau, mu = grid(b1)
    gain = evaluate(gain_factor, tau, b1, mu[:, None])
    noise = evaluate(variance_limit, tau, b1, mu[:, None])
    figure = new_figure(13, 6)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    values = (
        (1 - gain, "1 − gain factor (dimensionless)", "(a) Error removed per step"),
        (noise, "Var(error) / Var(noise) (dimensionless)", "(b) Noise that stays"),
    )
    for axes, (value, unit, title) in zip(panels, values, strict=True):
        _draw_map(figure, axes, tau, mu, np.where(gain < 1, value, np.nan), unit)
        handles = _mark_regions(axes, mu, b1)
        if observation is not None and tau_range is not None:
            handles += _mark_range(axes, tau, mu, observation, tau_range)
        axes.set_xlim(tau[0], tau[-1])
        axes.set_ylim(mu[0], mu[-1])
        across = "τ = αλ, learning rate × curvature (dimensionless)"
        label_axes(axes, title, across, "observation factor μ (dimensionless)")
        axes.grid(False)
    figure.suptitle(f"RSG along one eigenvector, β = {b1:g}", fontsize=11)
    legend_below(figure, handles, len(handles))
    return figure


def grid(b1: float) -> tuple[np.ndarray, np.ndarray]:
    """The map's tau and observation factors, dimensionless."""
    least = float(np.clip((1 - b1) / 10, 1e-6, 1e-2))
    left = float(evaluate(complex_region, b1, 0.0).lower) / 10
    right = 2 * float(evaluate(convergence_bound, b1, least))
    return np.geomspace(left, right, _COLUMNS), np.geomspace(least, 0.999, _ROWS)


def _draw_map(
    figure: Figure,
    axes: Axes,
    tau: np.ndarray,
    mu: np.ndarray,
    value: np.ndarray,
    unit: str,
) -> None:
    from matplotlib import patheffects
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import NullFormatter

    # Towards the bound the noise is infinite and the contraction 0; the few points
    # there must not take the colours from the others.
    low, high = np.nanpercentile(value, [0.5, 99.5])
    bottom, top = np.floor(np.log10(low)), np.ceil(np.log10(high))
    norm = LogNorm(10**bottom, 10**top, clip=True)
    axes.set_facecolor(_DIVERGES)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        # Below two decades Matplotlib labels more than there is room for.
        axis.set_minor_formatter(NullFormatter())
    mesh = axes.pcolormesh(
        tau, mu, value, norm=norm, cmap="viridis", shading="nearest", rasterized=True
    )
    figure.colorbar(mesh, ax=axes, label=unit, pad=0.01)
    contours = axes.contour(
        tau,
        mu,
        value,
        levels=10.0 ** np.arange(bottom, top + 1),
        colors="black",
        linewidths=0.7,
    )
    # Above 1 the contours of the noise crowd at the bound.
    labelled = [level for level in contours.levels if level <= 1]
    for text in axes.clabel(contours, labelled, fmt=_power_of_ten, fontsize=8):
        text.set_path_effects([patheffects.withStroke(linewidth=2, foreground="white")])


def _power_of_ten(level: float) -> str:
    return f"$10^{{{round(np.log10(level))}}}$"


def _mark_regions(axes: Axes, mu: np.ndarray, b1: float) -> list[Any]:
    region = evaluate(complex_region, b1, mu)
    bound = evaluate(convergence_bound, b1, mu)
    lines = axes.plot(bound, mu, color="black", linewidth=2.5)
    lines += axes.plot(region.lower, mu, **_outlined(":"))
    lines += axes.plot(region.upper, mu, **_outlined("--"))
    names = (
        "convergence bound (grey: diverges)",
        "left end of the complex region",
        "right end: fastest τ of each μ",
    )
    for line, name in zip(lines, names, strict=True):
        line.set_label(name)
    return lines


def _mark_range(
    axes: Axes, tau: np.ndarray, mu: np.ndarray, observation: float, ends: Any
) -> list[Any]:
    low, high = np.clip(ends, tau[0], tau[-1])
    if low == high:
        return []
    label = f"given λ at μ = {observation:g}"
    # Heavy ball has no place on a logarithmic axis.
    row = float(np.clip(observation, mu[0], mu[-1]))
    if row != observation:
        label += " (beyond this edge)"
    return axes.plot(
        (low, high),
        (row, row),
        marker="|",
        markersize=12,
        label=label,
        clip_on=False,
        zorder=4,
        **_outlined("-"),
    )


def _outlined(linestyle: str) -> dict[str, Any]:
    """A white line with black borders: visible on every colour of the map."""
    from matplotlib import patheffects

    border = patheffects.withStroke(linewidth=4, foreground="black")
    return {
        "color": "white",
        "linestyle": linestyle,
        "linewidth": 2,
        "path_effects": [border],
    }
