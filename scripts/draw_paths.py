"""Draws the paths of momentum methods on a ravine, Rosenbrock's and Beale's function.

    python -m scripts.draw_paths --output docs/images/paths.png

The animation, of the ravine, is written beside it as `paths.gif`. Learning rates and
momenta follow from curvature by one rule, which `scripts/paths.py` states; none is
tuned for a picture. Prints, for each function and method, the steps after which the
loss is below a hundredth of that at the start, and the last loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from scripts.paths import PROBLEMS, RAVINE, Path, Problem, run_all

# Okabe and Ito's colours; columns of the picture, thin lines first.
_STYLES: dict[str, dict[str, Any]] = {
    "heavy ball": {"color": "#E69F00"},
    "Nesterov": {"color": "#009E73"},
    "RSG, held y": {"color": "#56B4E9", "linewidth": 0.9},
    "RSG, iterate x": {"color": "#D55E00", "linewidth": 2.2},
    "ARSG, iterate x": {"color": "#CC79A7"},
    "AdaRem": {"color": "#000000"},
}
_COLUMNS = (
    ("heavy ball", "Nesterov"),
    ("RSG, held y", "RSG, iterate x"),
    ("ARSG, iterate x", "AdaRem"),
)
_ANIMATED = ("heavy ball", "Nesterov", "RSG, held y", "RSG, iterate x")
_RATE = 12  # Frames a second.
_HOLD = 12  # Frames at the end that stand still.
_COLOURS = 32  # Of the animation, which decide its size.

Paths = Mapping[str, Path]


@dataclass(frozen=True)
class Options:
    """Draw paths of momentum methods, and animate those on the ravine."""

    output: FilePath = FilePath("docs/images/paths.png")
    """The picture; the animation is the same name with .gif."""
    frames: int = 72
    """Frames of the animation, 12 a second; 0 writes none."""


def table(problem: Problem, paths: Paths) -> str:
    """Rows of a Markdown table."""
    rows = []
    for name, path in paths.items():
        low = np.flatnonzero(path.losses < path.losses[0] / 100)
        first = f"{low[0]:,}" if low.size else "-"
        rows.append(f"| {problem.title} | {name} | {first} | {path.losses[-1]:.2g} |")
    return "\n".join(rows)


def draw(paths_by_problem: Mapping[Problem, Paths], output: FilePath) -> None:
    """A row a function, two methods a column."""
    from matplotlib.figure import Figure

    rows = len(paths_by_problem)
    figure = Figure(figsize=(9, 2.6 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, len(_COLUMNS), squeeze=False)
    for line, (problem, paths) in zip(panels, paths_by_problem.items(), strict=True):
        for axes, names in zip(line, _COLUMNS, strict=True):
            _landscape(axes, problem)
            for name in names:
                axes.plot(*paths[name].points.T, **_STYLES[name], label=name)
            _ends(axes, problem)
        title = f"{problem.title}, {problem.steps:,} steps"
        line[0].set_title(title, loc="left", fontsize=11)
    for axes in panels[0]:
        axes.legend(fontsize=9, loc="upper right", framealpha=0.9)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)


def animate(problem: Problem, paths: Paths, frames: int, output: FilePath) -> None:
    """The paths above, the losses below, growing with time."""
    film = Film(problem, paths)
    # Slow at first, where most happens.
    shares = np.minimum(1, np.arange(1, frames + 1) / max(1, frames - _HOLD)) ** 1.7
    # Few colours, the same in all frames and not dithered: a tenth of the size that
    # Matplotlib's own writer would need.
    palette = film.picture(shares[-1]).quantize(_COLOURS)
    pictures = [
        film.picture(share).quantize(palette=palette, dither=0) for share in shares
    ]
    # The background is an average of nearly white pixels.
    colours, white = pictures[0].getpalette() or [], 3 * pictures[0].tobytes()[0]
    colours[white : white + 3] = 255, 255, 255
    for picture in pictures:
        picture.putpalette(colours)
    duration = 1000 // _RATE
    pictures[0].save(
        output, save_all=True, append_images=pictures[1:], duration=duration, loop=0
    )


class Film:
    """The figure of the animation, whose curves grow."""

    def __init__(self, problem: Problem, paths: Paths):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.6), dpi=100, layout="constrained")
        self._canvas, self._steps = FigureCanvasAgg(figure), problem.steps
        above, below = figure.subplots(2, 1, height_ratios=(3, 2))
        _landscape(above, problem)
        _ends(above, problem)
        above.set(xticks=[], yticks=[])
        losses = np.concatenate([paths[name].losses for name in _ANIMATED])
        below.set(xlabel="step", ylabel="loss", yscale="log", xlim=(0, problem.steps))
        below.set_ylim(max(losses.min(), losses.max() * 1e-5), 2 * losses.max())
        below.grid(linewidth=0.4, alpha=0.5)
        self._lines = []
        for name in _ANIMATED:
            style = _STYLES[name]
            (trail,) = above.plot([], [], label=name, **style)
            (head,) = above.plot([], [], "o", color=style["color"], markersize=5)
            (curve,) = below.plot([], [], **style)
            self._lines.append((paths[name], trail, head, curve))
        above.legend(fontsize=8, loc="upper right", ncols=2, framealpha=0.9)

    def picture(self, share: float) -> Any:
        """After a share of the steps, an RGB image of Pillow."""
        from PIL import Image

        last = 1 + round(self._steps * share)
        for path, trail, head, curve in self._lines:
            trail.set_data(*path.points[:last].T)
            head.set_data(*path.points[last - 1 : last].T)
            curve.set_data(np.arange(last), path.losses[:last])
        self._canvas.draw()
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())[..., :3].copy())


def _landscape(axes: Any, problem: Problem) -> None:
    left, right, bottom, top = problem.window
    x, y = np.linspace(left, right, 161), np.linspace(bottom, top, 161)
    points = jnp.stack(jnp.meshgrid(x, y), axis=-1).reshape(-1, 2)
    heights = np.asarray(jax.vmap(problem.loss)(points)).reshape(len(y), len(x))
    highest = float(problem.loss(jnp.array(problem.start)))
    levels = highest * 4.0 ** np.arange(-5, 3)
    axes.contour(x, y, heights, levels=levels, colors="0.82", linewidths=0.7)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.tick_params(labelsize=8)


def _ends(axes: Any, problem: Problem) -> None:
    axes.plot(*problem.start, "o", color="black", markersize=6, zorder=5)
    axes.plot(*problem.minimum, "*", color="black", markersize=11, zorder=5)


def main(options: Options) -> None:
    """Runs, prints and draws."""
    paths = {}
    print("| function | method | steps to a hundredth | last loss |\n|---|---|---|---|")
    for problem in PROBLEMS:
        paths[problem] = run_all(problem)
        print(table(problem, paths[problem]), flush=True)
    draw(paths, options.output)
    print(options.output)
    if options.frames > 0:
        film = options.output.with_suffix(".gif")
        animate(RAVINE, paths[RAVINE], options.frames, film)
        print(film)


if __name__ == "__main__":
    main(tyro.cli(Options))
