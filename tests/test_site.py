"""The documentation builds without a warning, and a browser finds every page whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="needs the extra docs")
pytest.importorskip("playwright", reason="needs the extra docs")

from scripts.walk_site import find_browser, walk

DOCS = Path(__file__).parents[1] / "docs"
sys.path.append(str(DOCS))

from extensions.complete import public_symbols
from extensions.fields import described_fields
from extensions.links import outside_links
from extensions.mathjax import fetch


@pytest.fixture(scope="module")
def mathematics() -> Path:
    """MathJax, which npm brings; without a net there is no site to test."""
    try:
        return fetch(DOCS / "_build" / "mathjax")
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


# One test, as the site is built once: another worker would build its own.
@pytest.mark.slow
def test_the_site_builds_and_every_page_is_whole(mathematics, tmp_path):
    site = tmp_path / "html"
    command = ["-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    build = subprocess.run(
        [sys.executable, "-m", "sphinx", *command, str(DOCS), str(site)],
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr
    assert (site / "_static" / "tex-svg-full.js").is_file()
    for name in ("notebooks/mesh", "guides/faq", "reference/optimizers", "changelog"):
        assert (site / f"{name}.html").is_file()
    browser = find_browser()
    if browser is None:
        pytest.skip("needs Chromium, which walks the pages")
    found = walk(site, browser)
    assert found.problems == []
    assert len(found.pages) > 30 and found.formulas > 300
    reference = set().union(*(page["ids"] for page in found.pages.values()))
    assert set(public_symbols()) <= reference


def test_a_broken_page_is_found(tmp_path):
    browser = find_browser()
    if browser is None:
        pytest.skip("needs Chromium")
    (tmp_path / "index.html").write_text(
        '<title>page</title><a href="gone.html">a</a><a href="#no">b</a>'
        '<img src="gone.png"><div style="width: 500px">wide</div>'
        "<script>throw new Error('broken')</script>"
    )
    problems = "\n".join(walk(tmp_path, browser).problems)
    for expected in (
        "no such file",
        "no such anchor",
        "image missing",
        "not loaded",
        "px too wide for a phone",
        "script: broken",
    ):
        assert expected in problems
    assert "too wide for a desk" not in problems


def test_a_missing_symbol_would_be_named():
    symbols = set(public_symbols())
    assert {
        "arsg_optax.arsg",
        "arsg_optax.dynamics.gain_factor",
        "arsg_optax.tuning.search_learning_rate",
        "arsg_optax.hyperparams.from_qhm",
        "arsg_optax.demos.iterate.at_iterate",
    } <= symbols
    assert not {name for name in symbols if name.rpartition(".")[2].startswith("_")}


def test_fields_come_with_their_comments():
    from arsg_optax import RemoteObservationState

    fields = dict(described_fields(RemoteObservationState))
    assert list(fields) == list(RemoteObservationState._fields)
    assert all(fields.values())


def test_links_out_of_the_site_lead_to_the_repository():
    text = (
        "[a](../results) [b](tuning.md) [c](../README.md#use) "
        "[d](../notebooks/mesh.ipynb)"
    )
    assert outside_links(text, DOCS / "cost", DOCS, "https://host/name") == (
        "[a](https://host/name/tree/main/results) [b](tuning.md) "
        "[c](https://host/name/blob/main/README.md#use) [d](/notebooks/mesh.ipynb)"
    )
    with pytest.raises(ValueError, match="leads to no file"):
        outside_links("[a](../nothing)", DOCS / "cost", DOCS, "https://host/name")
