"""A page with sliders over RSG's gain and noise against curvature: one file, offline.

The browser computes the curves, by `formulas.js`, also when the page opens.
"""

import html
import json
import math
from importlib import resources

from arsg_optax.demos.dynamics_summary import Setting
from arsg_optax.dynamics import convergence_bound
from arsg_optax.dynamics.plot import evaluate

_SCRIPTS = ("formulas.js", "curves.js", "chart.js", "page.js")
# Decades, unless the bound is further away.
_WIDEST = 20.0


def render_page(
    setting: Setting, home: str | None = None, *, delta: float = 8.0
) -> str:
    """The page as text, with the setting as the sliders' first values.

    Args:
        setting: its curvatures give the horizontal range, which is widened to hold
            the convergence bound.
        home: address that a link at the top leads to, None for no link.
        delta: δ of the log-time momentum, for which the page says when it reaches the
            chosen β; dimensionless, positive.
    """
    link = ""
    if home is not None:
        link = f'<a href="{html.escape(home)}">← Documentation of arsg_optax</a>'
    page = read("page.html").replace("<!--home-->", link)
    page = page.replace("/*scripts*/", "\n".join(map(read, _SCRIPTS)))
    return page.replace("/*setting*/", json.dumps({**_start(setting), "delta": delta}))


def read(name: str) -> str:
    """One of the page's sources."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _start(setting: Setting) -> dict[str, object]:
    """Sliders, logarithmic in α and in 1 - β, whose orders matter; and the range."""
    alpha = math.log10(setting.learning_rate)
    decay = -math.log10(1 - setting.b1)
    low, high = _decades(setting)
    shade = None
    if setting.lambda_max > 0:
        shade = (max(setting.lambda_min, 10.0**low), setting.lambda_max)
    return {
        "alpha": _slider(math.floor(alpha) - 2, math.ceil(alpha) + 2, alpha),
        "decay": _slider(0, max(5, math.ceil(decay)), decay),
        "observation": _slider(0, max(0.5, setting.observation), setting.observation),
        "low": low,
        "high": high,
        "shade": shade,
    }


def _slider(start: float, end: float, value: float) -> dict[str, float]:
    return {"min": start, "max": end, "value": value}


def _decades(setting: Setting) -> tuple[int, int]:
    """Whole decades around the given curvatures and the convergence bound."""
    bound = evaluate(convergence_bound, setting.b1, setting.observation)
    edge = math.log10(float(bound) / setting.learning_rate)
    low, high = edge - 6, edge + math.log10(2)
    if setting.lambda_max > 0:
        high = max(high, math.log10(setting.lambda_max))
    if setting.lambda_min > 0:
        low = min(low, max(math.log10(setting.lambda_min), high - _WIDEST))
    return math.floor(low), math.ceil(high)
