"""The documentation builds without a warning, and a browser finds every page whole."""

import json
import os
import pydoc
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("sphinx", reason="needs the extra docs")
pytest.importorskip("playwright", reason="needs the extra docs")

from playwright.sync_api import sync_playwright
from sphinx.errors import ExtensionError

from arsg_optax import tuning
from scripts.browser import NONE, find_browser
from scripts.notebook_header import repository
from scripts.publish_site import publish
from scripts.walk_site import Walk, walk

DOCS = Path(__file__).parents[1] / "docs"
sys.path.append(str(DOCS))

from extensions.citation import bibtex
from extensions.complete import check, public_symbols
from extensions.fields import described_fields, is_named_tuple
from extensions.links import outside_links
from extensions.mathjax import fetch
from extensions.names import linked_names


@pytest.fixture(scope="module")
def mathematics() -> Path:
    """MathJax, which npm brings; without a net there is no site to test."""
    try:
        return fetch(DOCS / "_build" / "mathjax")
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def browser() -> str:
    """A Chromium, without which pages are not looked at."""
    found = find_browser()
    if found is None and os.environ.get("CI"):
        raise RuntimeError("no Chromium")
    return found or pytest.skip(NONE)


# One test, as the site is built once: another worker would build its own.
@pytest.mark.slow
@pytest.mark.pages
def test_the_site_builds_and_every_page_is_whole(mathematics, browser, tmp_path):
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
    found = walk(site, browser)
    assert found.problems == []
    assert len(found.pages) > 30 and found.formulas > 300
    anchors = set().union(*(page["ids"] for page in found.pages.values()))
    reference = {anchor.removeprefix("module-") for anchor in anchors}
    assert set(public_symbols()) <= reference
    assert files_in_the_repository(found) > 20
    back = 'href="reproductions.html">←'
    assert back in (site / "report.html").read_text()
    cited = "{arsg_optax: remote-observation momentum for JAX}"
    assert cited in (site / "index.html").read_text()
    leaking = [p for p in site.rglob("*.html") if "jaxlib._jax" in p.read_text()]
    assert leaking == []
    switched(site, tmp_path / "versions", browser)


def files_in_the_repository(found: Walk) -> int:
    """How many links lead into the repository, all to files that are there."""
    links = set().union(*(page["links"] for page in found.pages.values()))
    inside = re.compile(re.escape(repository()) + "/(?:blob|edit|tree)/main/([^?#]+)")
    paths = [match[1] for link in links if (match := inside.match(link))]
    assert [path for path in paths if not (DOCS.parent / path).exists()] == []
    return len(paths)


@pytest.mark.pages
def test_a_broken_page_is_found(mathematics, browser, tmp_path):
    shutil.copy(mathematics / "tex-svg-full.js", tmp_path)
    (tmp_path / "index.html").write_text(
        '<title>page</title><a href="gone.html">a</a><a href="#no">b</a>'
        '<a href="http://[bad">c</a><script src="tex-svg-full.js"></script>'
        '<p class="math">\\(x^a^b\\)</p><p class="math">\\(\\nothing\\)</p>'
        '<p class="math">\\(\\frac{a\\)</p>'
        '<img src="gone.png"><div style="width: 500px">wide</div>'
        '<div class="highlight" style="width: 99px"><pre style="overflow: auto">'
        "a_name = a_long_line_of_code</pre></div>"
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
        "no address",
        "code is cut: a_name = a_long_line_of_code",
        "formula, misprints: Double exponent",
        "formula, undefined",
        "formula, raw",
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
        "arsg_optax.flax.at_iterate",
    } <= symbols
    assert not {name for name in symbols if name.rpartition(".")[2].startswith("_")}
    check(symbols)
    with pytest.raises(ExtensionError, match=r"arsg_optax\.arsg$"):
        check(symbols - {"arsg_optax.arsg"})


NAMED_TUPLES = [
    value for name in public_symbols() if is_named_tuple(value := pydoc.locate(name))
]


@pytest.mark.parametrize("cls", NAMED_TUPLES, ids=lambda cls: cls.__name__)
def test_each_field_is_described(cls):
    assert tuple(described_fields(cls)) == cls._fields


def test_comments_stand_with_their_fields():
    fields = described_fields(tuning.Curvature)
    assert fields["weights"].startswith("(k,) squared components of the start: from")
    assert fields["errors"].endswith("up to rounding.")
    assert fields["batches"] == ""


def test_names_lead_to_the_reference():
    text = "`arsg_optax.arsg` `arsg_optax.no` `optax.adam`\n```\n`arsg_optax.arsg`\n```"
    assert linked_names(text) == text.replace(
        "`arsg_optax.arsg`", "{py:obj}`arsg_optax.arsg`", 1
    )


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


def test_a_citation_is_made_of_the_file():
    cited = {
        "title": "name: what it is",
        "authors": [{"name": "The authors"}, {"name": "B"}],
        "repository-code": "https://host/name",
    }
    assert bibtex(cited, "1.2") == (
        "@software{name,\n  title = {name: what it is},\n"
        "  author = {{The authors} and {B}},\n  version = {1.2},\n"
        "  url = {https://host/name},\n}"
    )


def test_versions_are_published_side_by_side(tmp_path):
    site, target = tmp_path / "html", tmp_path / "all"
    site.mkdir()
    (site / "index.html").write_text("a page")
    (target / "not-a-version").mkdir(parents=True)
    (target / "not-a-version" / "index.html").write_text("another")
    assert publish(site, target, "0.9.0") == ["0.9.0"]
    assert publish(site, target, "0.10.0") == ["0.10.0", "0.9.0"]
    (site / "index.html").write_text("a page, mended")
    assert publish(site, target, "0.9.0") == ["0.10.0", "0.9.0"]
    assert (target / "0.9.0" / "index.html").read_text() == "a page, mended"
    assert json.loads((target / "versions.json").read_text()) == ["0.10.0", "0.9.0"]
    assert "url=0.10.0/index.html" in (target / "index.html").read_text()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of static files, while it runs."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def switched(site: Path, folder: Path, browser: str) -> None:
    """The switcher lists the versions, and keeps the page where another has it."""
    publish(site, folder, "0.1.0")
    older = folder / "0.0.9"
    (older / "guides").mkdir(parents=True)
    (older / "index.html").write_text("<h1>home</h1>")
    (older / "guides" / "faq.html").write_text("<h1>questions</h1>")
    publish(site, folder, "0.1.0")
    with served(folder) as address, sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        page = opened.new_page(viewport={"width": 1400, "height": 900})
        for name, found in (
            ("guides/faq.html#memory", "guides/faq.html#memory"),
            ("guides/lora.html", "index.html"),
            ("", ""),
        ):
            page.goto(f"{address}/0.1.0/{name}")
            options = page.locator("#versions option")
            options.nth(1).wait_for(state="attached")
            assert options.all_inner_texts() == ["0.1.0", "0.0.9"]
            assert page.input_value("#versions") == "0.1.0"
            page.select_option("#versions", "0.0.9")
            page.wait_for_url(f"{address}/0.0.9/{found}")
        page.goto(address)
        page.wait_for_url(f"{address}/0.1.0/index.html")
        opened.close()
