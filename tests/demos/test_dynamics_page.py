"""The interactive page: one file, the same formulas, curves that follow a slider."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from arsg_optax import dynamics
from arsg_optax.demos.dynamics_page import render_page, script
from arsg_optax.demos.dynamics_summary import Setting
from arsg_optax.dynamics.plot import evaluate
from scripts.browser import NONE, find_browser

_SETTING = Setting(0.1, 0.999, 0.1, 0.01, 100.0)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=20000",
    "--dump-dom",
)

# Presses an arrow key on each slider's handle, as a user would, then resets the plot,
# and writes what the curves held in between into the page.
_HOOK = """<script>
function handles(root) {
  return [...root.querySelectorAll("*")].flatMap((element) => [
    ...(element.classList.contains("noUi-handle") ? [element] : []),
    ...(element.shadowRoot ? handles(element.shadowRoot) : []),
  ]);
}
function model(name) { return Bokeh.documents[0].get_model_by_name(name); }
function look() {
  const state = { readout: model("readout").text };
  for (const name of ["alpha", "decay", "observation"]) {
    state[name] = model(name).value;
  }
  for (const name of ["curves", "bound", "fastest"]) {
    state[name] = Object.fromEntries(
      Object.entries(model(name).data).map(([key, values]) => [key, [...values]]));
  }
  const range = model("gains").y_range;
  state.range = [range.start, range.end];
  return state;
}
async function watch() {
  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
  while (!window.Bokeh?.documents[0] || !model("curves").data.gain.length
    || handles(document).length < 3) {
    await pause(50);
  }
  const states = [look()];
  for (const handle of handles(document)) {
    for (const key of ["ArrowRight", "ArrowRight"]) {
      handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    }
    await pause(200);
    states.push(look());
  }
  model("gains").y_range.reset();
  states.push(look());
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify({ states, loaded });
  document.body.append(result);
}
watch();
</script>
</body>"""


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(_SETTING)


@pytest.fixture(scope="module")
def opened(page: str, tmp_path_factory) -> dict[str, Any]:
    """What the page held when opened, and after a move of each slider."""
    browser = find_browser()
    if browser is None:
        pytest.skip(NONE)
    directory = tmp_path_factory.mktemp("page")
    end = page.rindex("</body>")
    file = directory / "page.html"
    file.write_text(page[:end] + _HOOK + page[end + len("</body>") :], encoding="utf-8")
    profile = f"--user-data-dir={directory / 'profile'}"
    run = subprocess.run(
        [browser, *_FLAGS, profile, file.as_uri()],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    found = re.search(r'<pre id="result">(.*?)</pre>', run.stdout, re.S)
    assert found, run.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


class _References(HTMLParser):
    """Collects what a browser would load: all but text inside of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        loading = ("src", "href", "srcset", "data", "action", "poster")
        self.found += [(tag, name, value) for name, value in attrs if name in loading]


def test_page_is_one_file(page: str):
    references = _References()
    references.feed(page)
    assert references.found == []
    assert "<title>How RSG treats each curvature</title>" in page
    styles = "".join(re.findall(r"<style.*?</style>", page, re.S))
    assert "@import" not in styles and "url(http" not in styles


def test_page_loads_nothing(opened: dict[str, Any]):
    assert not [name for name in opened["loaded"] if not name.startswith("data:")]


def _agrees(state: dict[str, Any]) -> None:
    """The curves in the browser are those of the Python functions."""
    b1, mu = 1 - 10.0 ** -state["decay"], state["observation"]
    alpha = 10.0 ** state["alpha"]
    curves = state["curves"]
    curvature = np.array(curves["curvature"])
    assert len(curvature) > 500 and (np.diff(curvature) >= 0).all()
    tau = alpha * curvature
    gain = evaluate(dynamics.gain_factor, tau, b1, mu)
    # Beside its kinks the gain is as a square root: there an error grows.
    np.testing.assert_allclose(curves["gain"], gain, rtol=1e-7)
    noise = evaluate(dynamics.variance_limit, tau, b1, mu)
    drawn = np.array(curves["noise"], float)
    np.testing.assert_allclose(drawn, np.where(np.isinf(noise), np.nan, noise), 1e-9)
    for name, function in (
        ("bound", dynamics.convergence_bound),
        ("fastest", dynamics.fastest_tau),
    ):
        expected = float(evaluate(function, b1, mu)) / alpha
        np.testing.assert_allclose(state[name]["x"], [expected] * 2, rtol=1e-9)


def test_page_opens_with_the_setting(opened: dict[str, Any]):
    state = opened["states"][0]
    _agrees(state)
    assert state["alpha"] == pytest.approx(-1)
    assert state["decay"] == pytest.approx(3)
    assert state["observation"] == 0.1
    assert "199.1" in state["readout"] and "3.728" in state["readout"]
    gain = state["curves"]["gain"]
    assert state["range"][0] < min(gain) < 1 < state["range"][1] < max(gain)


def test_curves_follow_each_slider(opened: dict[str, Any]):
    states = opened["states"]
    assert len(states) == 5
    names = ("alpha", "decay", "observation")
    for name, before, after in zip(names, states, states[1:], strict=False):
        assert after[name] > before[name]
        unmoved = set(names) - {name}
        assert all(after[other] == before[other] for other in unmoved)
        for column in ("gain", "noise"):
            assert after["curves"][column] != before["curves"][column]
        assert after["bound"] != before["bound"]
        assert after["readout"] != before["readout"]
        _agrees(after)


def test_reset_keeps_the_curve_in_view(opened: dict[str, Any]):
    assert opened["states"][4]["range"] == opened["states"][3]["range"]


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
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, which is not installed")
    points = _points()
    program = f"""{script("formulas.js")}
    const text = (key, value) => value === Infinity ? "inf" : value;
    console.log(JSON.stringify({json.dumps(points)}.map(([tau, b1, mu]) => [
      gainFactor(tau, b1, mu), varianceLimit(tau, b1, mu), convergenceBound(b1, mu),
      complexRegion(b1, mu).lower, fastestTau(b1, mu)]), text));"""
    run = subprocess.run(
        [node], input=program, capture_output=True, text=True, check=True, timeout=60
    )
    found = np.array(json.loads(run.stdout), float)
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


@pytest.mark.parametrize(
    "setting",
    [
        Setting(1.0, 0.0, 0.0, -5.0, -1.0),
        Setting(1e-100, 0.9999999, 0.999, 0.0, 1e100),
        Setting(1e100, 0.5, 0.5, 1e-300, 1.0),
    ],
)
def test_any_setting_gives_a_page(setting: Setting):
    page = render_page(setting)
    grid = json.loads(re.search(r'\["grid",(\[[^\]]*\])\]', page)[1])  # type: ignore[index]
    assert np.isfinite(grid).all() and np.min(grid) > 0
    assert (np.diff(grid) > 0).all()
