"""Figure 1 of the NAMSG paper: expected logarithmic gain under gradient noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from arsg_optax.dynamics.plot._style import family, label_axes, new_figure, signed
from arsg_optax.dynamics.plot.sampling import evaluate
from arsg_optax.dynamics.remote_gain import max_gain_expectation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_B1 = 0.9
_DISTANCES = (0.0, 0.9, 2.0, 3.0, 5.0, 10.0)
_NAMES = {0.0: " (heavy ball)", 0.9: " (Nesterov, NAMSG's start)"}
# αλ of each panel and the largest noise level drawn: up to where noise dominates.
_PANELS = ((0.4, 4.0), (0.001, 20.0), (-0.0002, 40.0), (-0.0005, 20.0))
_OVERVIEW_NOISE = 1.0
_OVERVIEW_ENDS = (-1.0, 4.0)
_LINEAR_BELOW = 1e-2
_POINTS = 400


def namsg_figure_1() -> Figure:
    """Max gain expectation for b1 = 0.9 and six observation distances.

    Panels (a) to (d) against the noise level, at αλ = 0.4, 0.001, -0.0002 and -0.0005;
    (e) against αλ at noise level 1. The paper's α is the step along its momentum, so
    αλ is the tau of :func:`~arsg_optax.dynamics.max_gain_expectation`.

    Returns:
      A figure with five axes, one line a distance in each, in that order, and a legend.

    Source: NAMSG figure 1. **Choice**: its axes, which the text does not tell.
    """
    figure = new_figure(13.5, 8)
    panels = figure.subplots(2, 3).ravel()
    for axes, letter, (tau, largest) in zip(panels, "abcd", _PANELS, strict=False):
        noise = np.linspace(0, largest, _POINTS)
        _draw(axes, noise, np.full_like(noise, tau), noise)
        axes.set_xlim(0, largest)
        label_axes(
            axes,
            f"({letter}) αλ = {signed(tau)}",
            "noise level r = σ / |λ| (dimensionless)",
            "Ψ, mean log gain per step (nats)",
        )
    # With the largest distance this curvature diverges at once: its curve would press
    # the others together.
    panels[0].set_ylim(-0.8, 0.7)
    panels[0].annotate(
        f"η = {_DISTANCES[-1]:g}: Ψ ≈ 1.2",
        (0.98, 0.95),
        xycoords="axes fraction",
        ha="right",
        fontsize=9,
    )
    _draw_overview(panels[4])
    panels[5].set_axis_off()
    panels[5].legend(
        handles=panels[0].get_lines()[: len(_DISTANCES)],
        title="observation distance",
        loc="center",
        frameon=False,
        handlelength=4.5,
        fontsize=11,
    )
    figure.suptitle(
        f"Momentum with remote observation under noise, β = {_B1}: below 0 the error "
        "shrinks in expectation\n(after figure 1 of the NAMSG paper)",
        fontsize=11,
    )
    return figure


def _draw_overview(axes: Axes) -> None:
    low, high = _OVERVIEW_ENDS
    small = np.linspace(-_LINEAR_BELOW, _LINEAR_BELOW, 51)
    tau = np.concatenate(
        [
            -np.geomspace(-low, _LINEAR_BELOW, _POINTS)[:-1],
            small,
            np.geomspace(_LINEAR_BELOW, high, 2 * _POINTS)[1:],
        ]
    )
    _draw(axes, tau, tau, np.full_like(tau, _OVERVIEW_NOISE))
    axes.set_xscale("symlog", linthresh=_LINEAR_BELOW)
    ticks = (-1, -0.1, 0, 0.1, 1)
    axes.set_xticks(ticks, [signed(tick) for tick in ticks])
    axes.set_xlim(low, high)
    axes.set_ylim(-0.6, 1.2)
    label_axes(
        axes,
        f"(e) Overview at noise level r = {_OVERVIEW_NOISE:g}",
        f"αλ (dimensionless; linear between ±{_LINEAR_BELOW:g})",
        "Ψ, mean log gain per step (nats)",
    )


def _draw(axes: Axes, across: np.ndarray, tau: np.ndarray, noise: np.ndarray) -> None:
    for distance, style in zip(_DISTANCES, family(len(_DISTANCES)), strict=True):
        gain = evaluate(max_gain_expectation, tau, _B1, distance, noise)
        label = f"η = {distance:g}{_NAMES.get(distance, '')}"
        axes.plot(across, gain, label=label, **style)
    axes.axhline(0, color="0.35", linewidth=0.8, zorder=1)
