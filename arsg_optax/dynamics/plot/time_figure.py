"""Gain and noise of several methods, against curvature and along time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from arsg_optax._validation import check_number
from arsg_optax.dynamics.evolution import gain_and_noise
from arsg_optax.dynamics.plot._style import (
    family,
    label_axes,
    legend_below,
    new_figure,
)
from arsg_optax.dynamics.plot.sampling import evaluate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CURVATURES, _COUNTS = 301, 200
_MOST = 6  # Line styles that differ without colour.
_FLOOR, _CEILING, _BEYOND = 1e-5, 10.0, 1e6


def gain_and_noise_along_time(
    methods: Mapping[str, Mapping[str, Any]],
    curvature_range: tuple[float, float],
    *,
    steps: int = 1000,
    iterate: bool = True,
) -> Figure:
    """What a run leaves of the start and of noise, for methods with moving values.

    Panels (a) and (b) show all curvatures after the last update, (c) and (d) the
    geometric mean of the range along time. Both axes are logarithmic.

    Args:
      methods: up to six names, with the arguments of
        :func:`arsg_optax.dynamics.gain_and_noise` between curvature and counts: numbers
        or schedules. `params._asdict()` of a conversion in `arsg_optax.hyperparams`
        has them.
      curvature_range: smallest and largest λ in loss per parameter², > 0.
      steps: number of updates, >= 1.
      iterate: show the iterate, which `arsg_optax.eval_params` returns; False shows the
        held parameters.

    Returns:
      A figure with four axes, one line per method in each, in the order given.

    Raises:
      ValueError: if there are no methods or more than six, or if a number is out of
        range.
    """
    if not 0 < len(methods) <= _MOST:
        raise ValueError(
            f"methods must have 1 to {_MOST} entries, got {len(methods)}; draw more "
            "of them in several figures."
        )
    low, high = curvature_range
    check_number("curvature_range", low, 0, "()", np.inf, "the axis is logarithmic")
    check_number("curvature_range", high, low, "()", np.inf, "swap its ends")
    check_number("steps", steps, 1, "[)", np.inf, "count the updates")
    curvature = np.geomspace(low, high, _CURVATURES)
    counts = np.unique(np.geomspace(1, steps, _COUNTS).round().astype(int))
    figure = new_figure(11, 8)
    panels: Any = figure.subplots(2, 2, sharex="row", sharey="col")
    for (name, method), style in zip(
        methods.items(), family(len(methods)), strict=True
    ):
        found = evaluate(
            lambda each, method=method: gain_and_noise(each, **method, counts=counts),
            curvature,
        )
        pair = (found.iterate_gain, found.iterate_noise) if iterate else found[:2]
        for column, values in enumerate(pair):
            # What diverges leaves the frame, and its axis must not overflow.
            values = np.minimum(np.abs(values), _BEYOND)
            panels[0, column].plot(curvature, values[-1], label=name, **style)
            middle = values[:, _CURVATURES // 2]
            panels[1, column].plot(counts, middle, label=name, **style)
    _label(panels, steps, float(curvature[_CURVATURES // 2]))
    where = "iterate" if iterate else "held parameters"
    figure.suptitle(
        f"What is left of the start and of noise at the {where}", fontsize=11
    )
    legend_below(figure, panels[0, 0].get_lines(), min(len(methods), 3))
    return figure


def _label(panels: Any, steps: int, middle: float) -> None:
    columns = (
        ("Error that is left", "|error| / |error at the start| (dimensionless)"),
        ("Noise that is left", "Var(error) / Var(noise) (dimensionless)"),
    )
    rows = (
        (f"after {steps} updates", "curvature λ (loss / parameter²)"),
        (f"at λ = {middle:.3g}", "number of updates (dimensionless)"),
    )
    for row, (when, across) in enumerate(rows):
        for column, (what, up) in enumerate(columns):
            axes: Axes = panels[row, column]
            letter = "abcd"[2 * row + column]
            axes.set_xscale("log")
            axes.set_yscale("log")
            label_axes(axes, f"({letter}) {what} {when}", across, up)
    for axes in panels[0]:
        # Oscillations cross 0, and what diverges has no end.
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, _FLOOR * min(top, 1)), min(top, _CEILING))
