"""A page with sliders over RSG's gain and noise against curvature: one file, offline.

The curves are computed in the browser, by `formulas.js`, also when the page opens.
"""

import math
from importlib import resources
from typing import Any, Literal

import numpy as np
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.models import (
    BoxAnnotation,
    ColumnDataSource,
    CustomJS,
    CustomJSTickFormatter,
    Div,
    HoverTool,
    Legend,
    LegendItem,
    Range1d,
    Slider,
    Span,
)
from bokeh.plotting import figure
from bokeh.resources import INLINE

from arsg_optax.demos.dynamics_summary import Setting
from arsg_optax.dynamics import convergence_bound
from arsg_optax.dynamics.plot import evaluate

_POINTS = 700
_WIDEST = 1e20
_BLUE, _RED, _GREY = "#0072B2", "#D55E00", "#444444"
_TITLE = "How RSG treats each curvature"
# Bokeh's page has none; without it phones lay it out for a desk.
_VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'
_INTRODUCTION = f"""<h1 style="font-size:1.5rem;margin:0.5rem 0">{_TITLE}</h1>
<p style="margin:0;max-width:60rem">Along one eigenvector of a quadratic loss, RSG
in the long run multiplies the error by the gain factor in each step, and noise in the
gradients keeps part of the error alive. Move the sliders to see which positive
curvatures converge. Shaded: those of the given problem.</p>"""


def render_page(setting: Setting) -> str:
    """The page as text, with the setting as the sliders' first values.

    Args:
        setting: its curvatures give the horizontal range, which is widened to hold
            the convergence bound.
    """
    sliders = _sliders(setting)
    low, high = _curvatures(setting)
    sources = {
        "curves": _source("curves", "curvature tau gain noise"),
        "bound": _source("bound", "x gain noise"),
        "fastest": _source("fastest", "x gain noise"),
    }
    gains, noises = panels = _panels(sources, setting, low, high)
    readout = Div(name="readout", styles={"font-size": "1rem"})
    update = CustomJS(
        args={
            **sliders,
            **sources,
            "grid": np.geomspace(low, high, _POINTS).tolist(),
            "gains": gains.y_range,
            "noises": noises.y_range,
            "readout": readout,
        },
        code=script("formulas.js") + script("update.js"),
    )
    for slider in sliders.values():
        slider.js_on_change("value", update)
    document = Document()
    document.js_on_event("document_ready", update)
    # On a phone the sliders stand below each other.
    wrap = {"flex-wrap": "wrap"}
    controls = row(*sliders.values(), sizing_mode="stretch_width", styles=wrap)
    document.add_root(
        column(
            *(Div(text=_INTRODUCTION), controls, readout, *panels),
            sizing_mode="stretch_width",
            styles={"max-width": "1200px", "margin": "0 auto"},
        )
    )
    page = file_html(document, INLINE, title=_TITLE)
    return page.replace("<title>", f"{_VIEWPORT}\n    <title>", 1)


def script(name: str) -> str:
    """One of the page's scripts."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _curvatures(setting: Setting) -> tuple[float, float]:
    """Whole decades around the given curvatures and the convergence bound."""
    bound = evaluate(convergence_bound, setting.b1, setting.observation)
    edge = float(bound) / setting.learning_rate
    high = max(setting.lambda_max, 2 * edge)
    low = setting.lambda_min if setting.lambda_min > 0 else edge
    low = max(min(low, edge / 1e6), high / _WIDEST)
    return 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))


def _sliders(setting: Setting) -> dict[str, Slider]:
    """Logarithmic in the learning rate and in 1 - b1, whose orders matter."""
    alpha = math.log10(setting.learning_rate)
    decay = -math.log10(1 - setting.b1)
    power = "return Number((10 ** tick).toPrecision(3)).toString()"
    nines = "return Number((1 - 10 ** -tick).toPrecision(6)).toString()"
    common = {
        "sizing_mode": "stretch_width",
        "min_width": 250,
        "margin": (5, 20, 5, 5),
    }
    return {
        "alpha": Slider(
            name="alpha",
            title="α, learning rate (parameter² per loss)",
            start=math.floor(alpha) - 2,
            end=math.ceil(alpha) + 2,
            step=0.01,
            value=alpha,
            format=CustomJSTickFormatter(code=power),
            bar_color=_BLUE,
            **common,
        ),
        "decay": Slider(
            name="decay",
            title="β, momentum decay",
            start=0,
            end=max(5, math.ceil(decay)),
            step=0.01,
            value=decay,
            format=CustomJSTickFormatter(code=nines),
            bar_color=_BLUE,
            **common,
        ),
        "observation": Slider(
            name="observation",
            title="μ, observation factor",
            start=0,
            end=max(0.5, setting.observation),
            step=0.001,
            value=setting.observation,
            format="0.000",
            bar_color=_BLUE,
            **common,
        ),
    }


def _source(name: str, columns: str) -> ColumnDataSource:
    return ColumnDataSource({column: [] for column in columns.split()}, name=name)


def _panels(
    sources: dict[str, ColumnDataSource], setting: Setting, low: float, high: float
) -> tuple[figure, figure]:
    """Gain above noise, with one range of curvatures."""
    across = Range1d(start=low, end=high)
    gains = _panel("gains", "gain factor per step (dimensionless)", "linear", across)
    noises = _panel("noises", "Var(error) / Var(noise) (dimensionless)", "log", across)
    one = Span(location=1, dimension="width", line_color="#888888", line_width=1)
    gains.add_layout(one)
    legend = Legend(
        items=_curves(gains, "gain", **sources),
        location="top_left",
        border_line_color=None,
    )
    # Above the panel it covers no curve.
    gains.add_layout(legend, "above")
    _curves(noises, "noise", **sources)
    if setting.lambda_max > 0:
        for panel in (gains, noises):
            _shade(panel, max(setting.lambda_min, low), setting.lambda_max)
    return gains, noises


def _panel(
    name: str, unit: str, scale: Literal["linear", "log"], across: Range1d
) -> figure:
    panel = figure(
        name=name,
        height=360,
        sizing_mode="stretch_width",
        x_axis_type="log",
        y_axis_type=scale,
        x_range=across,
        y_range=Range1d(start=0.1, end=1),
        x_axis_label="curvature λ (loss per parameter²)",
        y_axis_label=unit,
        tools="xpan,xwheel_zoom,xbox_zoom,reset,save",
    )
    panel.toolbar.logo = None
    panel.axis.axis_label_text_font_style = "normal"
    panel.grid.grid_line_alpha = 0.6
    return panel


def _curves(
    panel: figure,
    name: str,
    curves: ColumnDataSource,
    bound: ColumnDataSource,
    fastest: ColumnDataSource,
) -> list[LegendItem]:
    main: Any = panel.line("curvature", name, source=curves, line_width=3, color=_BLUE)
    marks = {"line_width": 2, "level": "underlay"}
    edge: Any = panel.line(
        "x", name, source=bound, color=_RED, line_dash="dashed", **marks
    )
    best: Any = panel.line(
        "x", name, source=fastest, color=_GREY, line_dash="dotted", **marks
    )
    panel.add_tools(
        HoverTool(
            renderers=[main],
            mode="vline",
            tooltips=[
                ("curvature λ", "@curvature{%.3g}"),
                ("τ = αλ", "@tau{%.3g}"),
                ("gain factor", "@gain{%.6g}"),
                ("noise", "@noise{%.3g}"),
            ],
            formatters={
                f"@{column}": "printf"
                for column in ("curvature", "tau", "gain", "noise")
            },
        )
    )
    return [
        LegendItem(label="gain (above) and noise (below)", renderers=[main]),
        LegendItem(label="convergence bound", renderers=[edge]),
        LegendItem(label="fastest curvature", renderers=[best]),
    ]


def _shade(panel: figure, left: float, right: float) -> None:
    panel.add_layout(
        BoxAnnotation(
            left=left,
            right=right,
            fill_color="#999999",
            fill_alpha=0.12,
            level="underlay",
        )
    )
