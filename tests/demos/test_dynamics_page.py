"""The interactive page: one file, the same formulas, curves that follow a slider."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright", reason="needs the extra docs")

from playwright.sync_api import sync_playwright

from arsg_optax import dynamics
from arsg_optax.demos.dynamics_page import read, render_page
from arsg_optax.demos.dynamics_summary import Setting
from arsg_optax.dynamics.plot import evaluate
from arsg_optax.schedules import log_time_momentum
from scripts.browser import NONE, find_browser

_SETTING = Setting(0.1, 0.999, 0.1, 0.01, 100.0)
_NAMES = ("alpha", "decay", "observation")


def _run(program: str) -> Any:
    """What a program prints that has the page's functions, with node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, which is not installed")
    print_ = """const print = (value) => console.log(JSON.stringify(
      value, (key, one) => one === Infinity ? "inf" : one));"""
    program = "\n".join([read("formulas.js"), read("curves.js"), print_, program])
    run = subprocess.run(
        [node], input=program, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(run.stdout)


def _points() -> list[tuple[float, float, float]]:
    """Degenerate settings, both sides of 0 and of the bound, and others at random."""
    random = np.random.default_rng(3)
    points = [
        (0.5, 0.0, 0.3),
        (1.0, 0.0, 0.0),
        (0.0, 0.999, 0.1),
        (-0.002, 0.999, 0.1),
        (25.0, 0.999, 0.1),
        (0.01, 0.999, 0.0),
        (10.0, 0.999, 0.001),
        (1e-4, 0.9, 0.1),
    ]
    while len(points) < 20:
        b1 = 1 - 10 ** random.uniform(-4, 0)
        points.append((10 ** random.uniform(-5, 1.5), b1, random.uniform(0, 0.9)))
    return points


def test_formulas_agree_with_python():
    points = _points()
    program = f"""
    print({json.dumps(points)}.map(([tau, b1, mu]) => [
      gainFactor(tau, b1, mu), varianceLimit(tau, b1, mu), convergenceBound(b1, mu),
      complexRegion(b1, mu).lower, fastestTau(b1, mu)]));"""
    found = np.array(_run(program), float)
    tau, b1, mu = np.array(points).T
    region = evaluate(dynamics.complex_region, b1, mu)
    expected = [
        evaluate(dynamics.gain_factor, tau, b1, mu),
        evaluate(dynamics.variance_limit, tau, b1, mu),
        evaluate(dynamics.convergence_bound, b1, mu),
        region.lower,
        evaluate(dynamics.fastest_tau, b1, mu),
    ]
    assert np.isinf(found[:, 1]).any() and np.isfinite(found[:, 1]).sum() > 10
    np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-12)


def _agrees(curves: dict[str, Any], alpha: float, b1: float, mu: float) -> None:
    """The curves are those of the Python functions."""
    curvature = np.array(curves["curvature"])
    assert len(curvature) > 500 and (np.diff(curvature) >= 0).all()
    gain = evaluate(dynamics.gain_factor, alpha * curvature, b1, mu)
    # Beside its kinks the gain is as a square root: there an error grows.
    np.testing.assert_allclose(curves["gain"], gain, rtol=1e-7)
    noise = evaluate(dynamics.variance_limit, alpha * curvature, b1, mu)
    np.testing.assert_allclose(np.array(curves["noise"], float), noise, 1e-9)
    for name, function in (
        ("bound", dynamics.convergence_bound),
        ("best", dynamics.fastest_tau),
    ):
        expected = float(evaluate(function, b1, mu)) / alpha
        np.testing.assert_allclose(curves[name], expected, rtol=1e-9)
    best = evaluate(dynamics.gain_factor, alpha * curves["best"], b1, mu)
    np.testing.assert_allclose(curves["bestGain"], best, rtol=1e-6)


@pytest.mark.parametrize("setting", [(0.1, 0.999, 0.1), (2.0, 0.0, 0.0)])
def test_curves_agree_with_python(setting: tuple[float, float, float]):
    alpha, b1, mu = setting
    numbers = {"learningRate": alpha, "b1": b1, "mu": mu, "low": -4, "high": 4}
    curves = _run(f"print(computeCurves({json.dumps(numbers)}))")
    _agrees(curves, alpha, b1, mu)
    low, high = curves["gainRange"]
    assert low <= min(curves["gain"]) < 1 < high < max(curves["gain"])
    # The lowest point is a kink, which even places would miss.
    assert min(curves["gain"]) == pytest.approx(curves["bestGain"], rel=1e-6)


@pytest.mark.parametrize(
    "setting",
    [
        Setting(1.0, 0.0, 0.0, -5.0, -1.0),
        Setting(1e-100, 0.9999999, 0.999, 0.0, 1e100),
        Setting(1e100, 0.5, 0.5, 1e-300, 1.0),
    ],
)
def test_any_setting_gives_a_page(setting: Setting):
    """With sliders at the setting, and finite ranges that hold the bound."""
    page = render_page(setting)
    found = re.search(r'<script id="setting"[^>]*>(.*?)</script>', page)
    start = json.loads(found[1])  # type: ignore[index]
    for name in _NAMES:
        slider = start[name]
        assert slider["min"] <= slider["value"] <= slider["max"]
    assert 10 ** start["alpha"]["value"] == pytest.approx(setting.learning_rate)
    assert 1 - 10 ** -start["decay"]["value"] == pytest.approx(setting.b1)
    assert (start["shade"] is None) == (setting.lambda_max <= 0)
    numbers = json.dumps(
        {
            **{name: start[name] for name in ("low", "high")},
            **{"learningRate": setting.learning_rate},
            **{"b1": setting.b1, "mu": setting.observation},
        }
    )
    curves = _run(f"print(computeCurves({numbers}))")
    for name in ("gainRange", "noiseRange"):
        low, high = curves[name]
        assert 0 <= low < high < np.inf
    assert 10.0 ** start["low"] < curves["bound"] < 10.0 ** start["high"]


def test_page_is_one_file_with_a_way_back():
    page = render_page(_SETTING)
    loads = r"\b(?:src|href|srcset|data|action|poster)\s*=|@import|url\((?!#)"
    assert not re.findall(loads, page)
    assert "<!--" not in page and "/*s" not in page
    linked = render_page(_SETTING, home='index.html?"')
    assert '<a href="index.html?&quot;">' in linked


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[Any]:
    """The page in a browser, and what the browser complained of."""
    browser = find_browser()
    if browser is None:
        pytest.skip(NONE)
    file: Path = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(render_page(_SETTING), encoding="utf-8")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        page = chromium.new_context(offline=True).new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text))
        page.goto(file.as_uri())
        page.wait_for_function("shown !== null")
        yield page
        chromium.close()
    assert complaints == []


def _line(page: Any) -> str:
    return page.locator("#gain .curve").get_attribute("points")


def test_page_opens_with_the_setting(opened: Any):
    shown = opened.evaluate("shown")
    _agrees(shown, 0.1, 0.999, 0.1)
    text = opened.inner_text("#readout")
    assert "199.1" in text and "3.728" in text
    assert [opened.inner_text(f"#{name}-value") for name in _NAMES] == [
        *("0.1", "0.999", "0.100")
    ]
    assert "δ = 8 gets here after 7,992 updates" in opened.inner_text("form")
    assert log_time_momentum(8.0)(7_992 - 1) == pytest.approx(0.999)
    assert len(_line(opened).split()) == len(shown["curvature"])
    assert "NaN" not in opened.content()


def test_curves_follow_each_slider(opened: Any):
    for name in _NAMES:
        before, line = opened.evaluate("shown"), _line(opened)
        opened.press(f"#{name}", "ArrowRight")
        after = opened.evaluate("shown")
        moved = {
            key for key in ("learningRate", "b1", "mu") if after[key] > before[key]
        }
        assert len(moved) == 1
        assert after["bound"] != before["bound"] and _line(opened) != line
        _agrees(after, after["learningRate"], after["b1"], after["mu"])


def test_pointer_reads_the_values(opened: Any):
    opened.hover("#noise", position={"x": 300, "y": 100})
    words = opened.inner_text("#probe")
    curvature, tau, gain, noise = map(float, re.findall(r"\d[\de.+-]*\d", words))
    shown = opened.evaluate("shown")
    alpha, b1, mu = (shown[name] for name in ("learningRate", "b1", "mu"))
    assert tau == pytest.approx(alpha * curvature, rel=0.02)
    found = evaluate(dynamics.gain_factor, tau, b1, mu)
    assert gain == pytest.approx(float(found), rel=1e-3)
    found = evaluate(dynamics.variance_limit, tau, b1, mu)
    assert noise == pytest.approx(float(found), rel=0.02)
    assert opened.locator(".dot").count() == 2


def test_charts_fit_a_phone(opened: Any):
    opened.set_viewport_size({"width": 360, "height": 700})
    opened.wait_for_function(
        "find('gain').querySelector('.frame').width.baseVal.value < 300"
    )
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
