"""The page of `arsg dynamics --html`, with the command's default values."""

from pathlib import Path

from arsg_optax.demos.commands.dynamics import Dynamics
from arsg_optax.demos.dynamics_page import render_page
from arsg_optax.demos.dynamics_summary import Setting


def write(directory: Path) -> Path:
    """The directory, with `sliders.html` in it."""
    default = Dynamics()
    setting = Setting(
        default.learning_rate,
        default.b1,
        default.observation,
        default.lambda_min,
        default.lambda_max,
    )
    directory.mkdir(parents=True, exist_ok=True)
    page = render_page(setting, home="index.html")
    (directory / "sliders.html").write_text(page, encoding="utf-8")
    return directory
