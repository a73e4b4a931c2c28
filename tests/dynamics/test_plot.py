"""The pictures: what is in them, and that it is the theory's."""

import builtins
import io
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from arsg_optax import dynamics
from arsg_optax.dynamics import plot
from arsg_optax.dynamics.plot._style import family
from arsg_optax.dynamics.plot.parameter_map import grid
from arsg_optax.schedules import falling_observation, log_time_momentum
from tests.dynamics import reference

_OBSERVATIONS = (0, 0.001, 0.05, 0.1, 0.2, 0.4)
_DISTANCES = (0, 0.9, 2, 3, 5, 10)


@pytest.fixture(scope="module")
def arsg() -> Figure:
    return plot.arsg_figure_1()


@pytest.fixture(scope="module")
def namsg() -> Figure:
    return plot.namsg_figure_1()


@pytest.fixture(scope="module")
def parameter_map() -> Figure:
    return plot.gain_and_noise_map(0.99, observation=0.1, tau_range=(0.01, 3.0))


def _curves(axes: Axes, first: str) -> list[Line2D]:
    return [
        line for line in axes.get_lines() if str(line.get_label()).startswith(first)
    ]


def _data(line: Line2D) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def _texts(legend: Legend | None) -> list[str]:
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def _mesh(axes: Axes) -> np.ma.MaskedArray:
    (mesh,) = [item for item in axes.collections if isinstance(item, QuadMesh)]
    values = mesh.get_array()
    assert values is not None
    return np.ma.masked_invalid(values)


def test_axes_are_labelled(arsg, namsg, parameter_map):
    assert [len(figure.axes) for figure in (arsg, parameter_map)] == [4, 4]
    panels = [*arsg.axes, *namsg.axes[:5], *parameter_map.axes[:2]]
    for axes in panels:
        assert axes.get_title()
        for label in (axes.get_xlabel(), axes.get_ylabel()):
            assert "dimensionless" in label or "nats" in label
    assert not namsg.axes[5].axison
    assert all("dimensionless" in bar.get_ylabel() for bar in parameter_map.axes[2:])


def test_arsg_panels(arsg):
    for index, (low, high) in enumerate([(-0.003, 0.01), (-1, 20)]):
        gains, noises = arsg.axes[2 * index : 2 * index + 2]
        assert gains.get_xlim() == noises.get_xlim() == (low, high)
        for kind, axes in (("gain", gains), ("noise", noises)):
            lines = _curves(axes, "μ")
            assert len(lines) == len(_OBSERVATIONS)
            for mu, line in zip(_OBSERVATIONS, lines, strict=True):
                assert f"μ = {mu:g}" in str(line.get_label())
                tau, drawn = _data(line)
                picked = slice(3, None, 97)
                tau, drawn = tau[picked], drawn[picked]
                if kind == "gain":
                    expected = reference.radius(tau, 0.999, mu)
                    np.testing.assert_allclose(drawn, expected, rtol=1e-7)
                    continue
                bound = 2 * 1.999 / (0.001 + 2 * 0.999 * mu)
                inside = (tau > 0) & (tau < bound)
                assert inside.any() and np.isnan(drawn[(tau < 0) | (tau > bound)]).all()
                expected = [reference.exact_variance(t, 0.999, mu) for t in tau[inside]]
                np.testing.assert_allclose(drawn[inside], expected, rtol=1e-9)


def test_arsg_kinks_are_drawn(arsg):
    """The smallest gain lies in a kink that an even grid misses."""
    for mu, line in zip(_OBSERVATIONS, _curves(arsg.axes[2], "μ"), strict=True):
        fastest = 0.001 / (1 - np.sqrt(0.999 * (1 - mu))) ** 2
        if fastest < 20:
            tau, gain = _data(line)
            assert abs(tau[np.argmin(gain)] / fastest - 1) < 1e-9


def test_namsg_panels(namsg):
    # The quadrature of 13 by brute force, on a grid fine enough for four digits.
    delta = np.linspace(-9, 9, 40001)
    density = np.exp(-(delta**2) / 2) / np.sqrt(2 * np.pi) * (delta[1] - delta[0])
    for axes, alpha in zip(namsg.axes, (0.4, 0.001, -2e-4, -5e-4, None), strict=False):
        lines = _curves(axes, "η")
        assert len(lines) == len(_DISTANCES)
        for eta, line in zip(_DISTANCES, lines, strict=True):
            across, drawn = _data(line)
            index = len(across) // 3
            tau, noise = (alpha, across[index]) if alpha else (across[index], 1.0)
            trace = 1 + 0.9 - (1 + eta) * tau
            root = np.sqrt(trace**2 - 4 * (0.9 + tau * (noise * delta - eta)) + 0j)
            larger = np.maximum(abs(trace + root), abs(trace - root)) / 2
            expected = np.sum(density * np.log(larger))
            assert drawn[index] == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_map_is_the_theory(parameter_map):
    gains, noises = parameter_map.axes[:2]
    tau, mu = grid(0.99)
    shrinks, noise = (
        _mesh(axes).reshape(len(mu), len(tau)) for axes in (gains, noises)
    )
    expected = 1 - reference.radius(tau[None, ::37], 0.99, mu[::29, None])
    drawn = shrinks[::29, ::37]
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), expected <= 0)
    np.testing.assert_allclose(drawn.compressed(), expected[expected > 0], rtol=1e-6)
    exact = reference.exact_variance(tau[100], 0.99, mu[50])
    assert noise[50, 100] == pytest.approx(exact, rel=1e-9)
    for axes in (gains, noises):
        bound, left, right, given = axes.get_lines()[:4]
        x, y = _data(bound)
        np.testing.assert_allclose(x, 2 * 1.99 / (0.01 + 2 * 0.99 * y), rtol=1e-12)
        x, y = _data(left)
        np.testing.assert_allclose(x, 0.01 / (1 + np.sqrt(0.99 * (1 - y))) ** 2)
        x, y = _data(right)
        np.testing.assert_allclose(x, 0.01 / (1 - np.sqrt(0.99 * (1 - y))) ** 2)
        np.testing.assert_array_equal(_data(given), [[0.01, 3], [0.1, 0.1]])


def test_legends_name_every_curve_outside_of_the_panels(arsg, namsg, parameter_map):
    for mu, text in zip(_OBSERVATIONS, _texts(arsg.legends[0]), strict=True):
        assert f"μ = {mu:g}" in text
    assert len(_texts(namsg.axes[5].get_legend())) == len(_DISTANCES)
    assert len(_texts(parameter_map.legends[0])) == 4
    for figure in (arsg, parameter_map):
        assert all(axes.get_legend() is None for axes in figure.axes)
        figure.canvas.draw()
        legend = figure.legends[0].get_window_extent()
        assert not any(
            axes.get_window_extent().overlaps(legend) for axes in figure.axes
        )


@pytest.mark.parametrize(("name", "symbol"), [("arsg", "μ"), ("namsg", "η")])
def test_curves_differ_without_colour(name, symbol, request):
    lines = _curves(request.getfixturevalue(name).axes[0], symbol)
    colors = [to_rgb(line.get_color()) for line in lines]
    grey = np.dot(colors, [0.299, 0.587, 0.114])
    assert np.diff(grey).min() > 0.04
    assert grey[-1] < 0.75  # still readable on white
    assert len({str(style["linestyle"]) for style in family(len(lines))}) == len(lines)


@pytest.mark.parametrize("b1", [0.0, 0.5, 0.999999])
def test_map_of_any_decay(b1):
    figure = plot.gain_and_noise_map(b1, observation=0.0, tau_range=(-1.0, 1.0))
    figure.savefig(io.BytesIO(), format="svg")
    for axes in figure.axes[:2]:
        values = _mesh(axes).compressed()
        assert values.size and (values > 0).all()


def test_range_outside_of_the_map():
    """Heavy ball is marked at the map's edge, curvatures below 0 are not marked."""
    edge = plot.gain_and_noise_map(0.9, observation=0.0, tau_range=(-1.0, 1.0))
    tau, mu = grid(0.9)
    np.testing.assert_array_equal(
        _data(edge.axes[0].get_lines()[3]), [[tau[0], 1], [mu[0]] * 2]
    )
    assert "beyond this edge" in _texts(edge.legends[0])[3]
    edge.canvas.draw()
    legend = edge.legends[0].get_window_extent()
    assert edge.bbox.x0 < legend.x0 and legend.x1 < edge.bbox.x1
    negative = plot.gain_and_noise_map(0.9, observation=0.1, tau_range=(-2.0, -1.0))
    assert len(_texts(negative.legends[0])) == 3


_METHODS: dict[str, dict[str, Any]] = {
    "constant": {"learning_rate": 0.5, "b1": 0.9, "observation": 0.1},
    "moving": {
        "learning_rate": falling_observation(),
        "b1": log_time_momentum(2.0),
        "distance": 2.0,
        "exact": True,
    },
    "diverging": {"learning_rate": 1e3, "b1": 0.9, "observation": 0.1},
}


@pytest.mark.parametrize("iterate", [False, True])
def test_along_time_is_the_recursion(iterate):
    ends = (1e-3, 1.0)
    figure = plot.gain_and_noise_along_time(_METHODS, ends, steps=300, iterate=iterate)
    for axes in figure.axes:
        assert axes.get_title() and axes.get_xlabel()
        assert "dimensionless" in axes.get_ylabel()
        assert [line.get_label() for line in axes.get_lines()] == list(_METHODS)
    assert _texts(figure.legends[0]) == list(_METHODS)
    for index, name in enumerate(("constant", "moving")):
        lines = [_data(axes.get_lines()[index]) for axes in figure.axes]
        for column, kind in enumerate(("gain", "noise")):
            field = f"iterate_{kind}" if iterate else kind
            for (across, drawn), of_curvature in zip(
                (lines[column], lines[2 + column]), (True, False), strict=True
            ):
                counts = np.array([300]) if of_curvature else across.astype(int)
                curvature = across if of_curvature else np.sqrt(ends[0] * ends[1])
                found = plot.evaluate(
                    lambda each, name=name, counts=counts: dynamics.gain_and_noise(
                        each, **_METHODS[name], counts=counts
                    ),
                    curvature,
                )
                expected = np.abs(getattr(found, field))
                expected = expected[0] if of_curvature else expected
                np.testing.assert_allclose(drawn, expected, 1e-6, 1e-12)
    figure.savefig(io.BytesIO(), format="svg")
    assert figure.axes[0].get_ylim()[1] <= 10


@pytest.mark.parametrize(
    ("methods", "ends", "steps", "message"),
    [
        ({}, (0.1, 1.0), 10, "methods must have 1 to 6 entries, got 0"),
        ({str(n): {} for n in range(7)}, (0.1, 1.0), 10, "got 7"),
        (_METHODS, (0.0, 1.0), 10, "curvature_range must be"),
        (_METHODS, (1.0, 0.1), 10, "curvature_range must be .* swap"),
        (_METHODS, (0.1, 1.0), 0, "steps must be"),
    ],
)
def test_along_time_refuses(methods, ends, steps, message):
    with pytest.raises(ValueError, match=message):
        plot.gain_and_noise_along_time(methods, ends, steps=steps)


def test_map_refuses_numbers_out_of_range():
    with pytest.raises(ValueError, match="b1 must be"):
        plot.gain_and_noise_map(1.0)
    with pytest.raises(ValueError, match="observation must be"):
        plot.gain_and_noise_map(0.9, observation=1.5)
    with pytest.raises(ValueError, match="tau_range"):
        plot.gain_and_noise_map(0.9, observation=0.1, tau_range=(2.0, 1.0))


def test_float64_ends_with_the_call():
    value = plot.evaluate(dynamics.gain_factor, 1e-9, 0.999, [0.0, 0.1])
    assert value.dtype == np.float64 and value.shape == (2,)
    np.testing.assert_allclose(1 - value, 1e-9, rtol=1e-4)
    assert jax.numpy.ones(1).dtype == np.float32
    assert not jax.config.jax_enable_x64


def test_missing_matplotlib_is_explained(monkeypatch):
    found = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)

    def along_time():
        plot.gain_and_noise_along_time(_METHODS, (0.1, 1.0), steps=2)

    draws = (plot.arsg_figure_1, plot.namsg_figure_1, plot.gain_and_noise_map)
    for draw in (*draws, along_time):
        with pytest.raises(ImportError, match=r'pip install "arsg_optax\[demos\]"'):
            draw()


def test_matplotlib_is_imported_only_to_draw():
    """In a fresh process, because this one has imported it."""
    check = (
        "import sys; import arsg_optax.dynamics.plot; "
        "sys.exit('matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
