"""`arsg dynamics`: the theory as pictures, a table and an interactive page."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.table import Table

from arsg_optax.demos.commands.shared import (
    make_console,
    make_directory,
    option,
    read_options,
)
from arsg_optax.demos.dynamics_summary import Setting, summarize
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.files import write_atomically
from arsg_optax.dynamics import convergence_bound
from arsg_optax.schedules import falling_observation, log_time_momentum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Products of a learning rate and a curvature stay finite.
_LARGEST = 1e100


@dataclass(frozen=True)
class Dynamics:
    """Draw the theory of RSG: which curvatures converge, how fast, how noisily.

    Writes the first figures of the ARSG and NAMSG papers, a map for this β, and what a
    run leaves of the start and of noise, with this β and with log-time momentum, as PNG
    and SVG. Prints what holds for this setting.
    """

    learning_rate: Annotated[
        float,
        option("Step size α, in parameter² per loss (so that αλ has no unit).", "α"),
    ] = 0.1
    b1: Annotated[
        float, option("Momentum decay β per step, dimensionless, in [0, 1).", "β")
    ] = 0.999
    observation: Annotated[
        float,
        option(
            "Observation factor μ, dimensionless, in [0, 1): 0 is heavy ball, 1 - β "
            "is Nesterov.",
            "μ",
        ),
    ] = 0.1
    lambda_min: Annotated[
        float,
        option(
            "Smallest curvature λ of the problem (eigenvalue of the Hessian), in loss "
            "per parameter²; may be negative.",
            "λ",
        ),
    ] = 0.01
    lambda_max: Annotated[
        float, option("Largest curvature λ, in loss per parameter².", "λ")
    ] = 100.0
    delta: Annotated[
        float,
        option(
            "δ of the log-time momentum β = (t + 1) / (t + 1 + δ), which the figure "
            "along time shows beside the constant β, dimensionless, positive.",
            "δ",
        ),
    ] = 8.0
    steps: Annotated[
        int, option("Updates of the figure along time, from 1 to 1,000,000.", "T")
    ] = 1000
    out: Annotated[
        Path | None,
        option(
            "Directory of the files; earlier ones there are replaced (None: "
            "runs/<timestamp>-dynamics).",
            "DIR",
        ),
    ] = None
    html: Annotated[
        bool,
        option(
            "Also write dynamics.html: gain and noise against curvature, with sliders "
            "for α, β and μ; works without a network.",
            "",
        ),
    ] = False


def run(arguments: Sequence[str]) -> int:
    """Runs `arsg dynamics`.

    Args:
        arguments: what follows the command's name.

    Returns:
        The exit code: 0, or 2 for options that cannot be read.

    Raises:
        UsageError: for a request that cannot be run.
    """
    options = read_options(Dynamics, "arsg dynamics", arguments)
    if isinstance(options, int):
        return options
    setting = check_setting(options)
    console = make_console()
    directory = make_directory(options.out, "dynamics")
    with console.status("Drawing"):
        files = _write_figures(directory, setting, options)
        if options.html:
            files.append(_write_page(directory, setting, options.delta))
    _print_table(console, setting)
    for file in files:
        console.print(str(file), highlight=False, soft_wrap=True)
    return 0


def check_setting(options: Dynamics) -> Setting:
    """The setting that the options describe.

    Raises:
        UsageError: if a number is out of range.
    """
    alpha, low, high = options.learning_rate, options.lambda_min, options.lambda_max
    inside = 1 / _LARGEST <= alpha <= _LARGEST
    _require(inside, "--learning-rate", alpha, "positive, from 1e-100 to 1e100")
    _require(0 <= options.b1 < 1, "--b1", options.b1, "in [0, 1)")
    mu = options.observation
    _require(0 <= mu < 1, "--observation", mu, "in [0, 1)")
    _require(abs(low) <= _LARGEST, "--lambda-min", low, "from -1e100 to 1e100")
    _require(abs(high) <= _LARGEST, "--lambda-max", high, "from -1e100 to 1e100")
    _require(low < high, "--lambda-max", high, f"above --lambda-min, {low:g}")
    delta, steps = options.delta, options.steps
    _require(1e-6 <= delta <= 1e6, "--delta", delta, "from 1e-6 to 1e6")
    _require(1 <= steps <= 1_000_000, "--steps", steps, "from 1 to 1,000,000")
    return Setting(alpha, options.b1, mu, low, high)


def _require(holds: bool, name: str, value: float, rule: str) -> None:
    if not holds:
        raise UsageError(f"{name} must be {rule}, got {value:g}")


def _write_figures(directory: Path, setting: Setting, options: Dynamics) -> list[Path]:
    # Matplotlib takes a second to import, which a wrong option should not wait for.
    from arsg_optax.dynamics import plot

    figures = {
        "arsg-figure-1": plot.arsg_figure_1(),
        "namsg-figure-1": plot.namsg_figure_1(),
        "gain-and-noise": plot.gain_and_noise_map(
            setting.b1,
            observation=setting.observation,
            tau_range=setting.tau_range(),
        ),
        "along-time": _draw_along_time(setting, options.delta, options.steps),
    }
    return [
        write_atomically(directory / f"{name}.{kind}", _image(figure, kind))
        for name, figure in figures.items()
        for kind in ("png", "svg")
    ]


def _draw_along_time(setting: Setting, delta: float, steps: int) -> "Figure":
    """The setting beside two that replace its β, then its μ too, by schedules."""
    from arsg_optax.dynamics import plot

    rate, b1, mu = setting[:3]
    grows, falls = log_time_momentum(delta), falling_observation()
    grown = f"log-time momentum, δ = {delta:g}"
    methods: dict[str, dict[str, Any]] = {
        f"β = {b1:.6g}, μ = {mu:g}": {"b1": b1, "observation": mu},
        f"{grown}, μ = {mu:g}": {"b1": grows, "observation": mu},
        f"{grown}, falling μ": {"b1": grows, "observation": falls},
    }
    for method in methods.values():
        method["learning_rate"] = rate
    high = setting.lambda_max
    if high <= 0:  # Only positive curvatures have a place on the axis.
        high = float(convergence_bound(b1, mu)) / rate
    low = setting.lambda_min
    if not 0 < low < high:
        low = high / 1e6
    return plot.gain_and_noise_along_time(methods, (low, high), steps=steps)


def _image(figure: "Figure", kind: str) -> bytes:
    content = io.BytesIO()
    # Without a date the same request gives the same file.
    nothing = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(content, format=kind, metadata=nothing)
    return content.getvalue()


def _write_page(directory: Path, setting: Setting, delta: float) -> Path:
    from arsg_optax.demos.dynamics_page import render_page

    page = render_page(setting, delta=delta)
    return write_atomically(directory / "dynamics.html", page.encode())


def _print_table(console: Console, setting: Setting) -> None:
    table = Table(
        title=f"RSG with α = {setting.learning_rate:g}, β = {setting.b1:.10g}, "
        f"μ = {setting.observation:g}; curvatures λ in loss per parameter²",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("quantity", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("meaning")
    for line in summarize(setting):
        table.add_row(*line)
    console.print(table)
