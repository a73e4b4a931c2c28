"""What the pictures share: the figure, and lines that differ without colours, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 144
# A family of curves goes from dark to light, so that grey keeps its order, and each
# has dashes of its own.
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (9, 2)),
    (0, (3.5, 1.2)),
    (0, (5, 1.2, 1, 1.2)),
    (0, (1.8, 0.9)),
    (0, (1, 1)),
)
_LIGHTEST = 0.8


def new_figure(width: float, height: float) -> Figure:
    """A figure without a window, in inches.

    Raises:
      ImportError: if Matplotlib is missing; it says how to install it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'the pictures need matplotlib: pip install "arsg_optax[demos]"'
        ) from error
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def family(count: int) -> list[dict[str, Any]]:
    """Line styles of up to six curves that belong together, darkest first."""
    from matplotlib import colormaps

    shades = colormaps["plasma"]
    return [
        {
            "color": shades(_LIGHTEST * index / max(1, count - 1)),
            "linestyle": _DASHES[index],
            "linewidth": 1.8,
        }
        for index in range(count)
    ]


def label_axes(axes: Axes, title: str, across: str, up: str) -> None:
    """Titles, and a light grid behind the curves."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(True, which="major", linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def signed(number: float) -> str:
    """A number with a true minus sign."""
    return f"{number:g}".replace("-", "−")


def legend_below(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """One legend outside of all panels, where it covers no curve."""
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=3.6,
    )
