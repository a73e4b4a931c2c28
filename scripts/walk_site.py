"""Opens every page of the built documentation in a browser and lists what is broken.

python -m scripts.walk_site docs/_build/html --screenshots DIR
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlparse
from urllib.request import url2pathname

from playwright.sync_api import Page, sync_playwright

from scripts.browser import NONE, find_browser

WIDTHS = {"desk": 1400, "phone": 390}

_TYPESET = "() => window.MathJax?.startup?.promise"
_LOOK = """() => ({
  links: [...document.querySelectorAll('a[href]')].map((a) => a.href),
  ids: [...document.querySelectorAll('[id]')].map((e) => e.id),
  missing: [...document.images].filter((i) => !(i.complete && i.naturalWidth))
    .map((i) => i.src),
  cut: [...document.querySelectorAll('div.highlight pre')]
    .filter((e) => !e.closest('.cell_output') && e.scrollWidth > e.clientWidth)
    .map((e) => e.textContent.split('\\n')[0]),
  formulas: document.querySelectorAll('mjx-container').length,
  misprints: [...document.querySelectorAll('[data-mjx-error]')]
    .map((e) => e.getAttribute('data-mjx-error')),
  undefined: [...document.querySelectorAll('mjx-container [fill="red"]')]
    .map((e) => e.textContent),
  raw: [...document.querySelectorAll('.math')]
    .map((e) => e.textContent).filter((text) => /\\\\[(\\[]/.test(text)),
})"""
_EAGER = """() => {
  for (const image of document.images) image.loading = 'eager';
  return Promise.all([...document.images].map((i) => i.decode().catch(() => null)));
}"""
# Scripts lay a page out anew some time after its width changed.
_WIDER = """async () => {
  const wider = () => document.documentElement.scrollWidth - window.innerWidth;
  for (let tries = 0; wider() > 0 && tries < 50; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return wider();
}"""


@dataclass
class Walk:
    """What was found: pages with their links and anchors, and what is broken."""

    pages: dict[Path, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def formulas(self) -> int:
        """Formulas that were typeset, over all pages."""
        return sum(page["formulas"] for page in self.pages.values())


def walk(site: Path, browser: str, screenshots: Path | None = None) -> Walk:
    """Opens all pages without a net, at both widths.

    Args:
      site: folder of the built pages.
      browser: path of a Chromium.
      screenshots: folder for a picture of each page at each width, or None.
    """
    found = Walk()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        context = opened.new_context(offline=True)
        page = context.new_page()
        _listen(page, found.problems)
        for path in sorted(site.resolve().rglob("*.html")):
            if "_static" not in path.parts:
                _visit(page, path, site.resolve(), found, screenshots)
        opened.close()
    found.problems += _broken_links(found.pages, site.resolve())
    return found


def _listen(page: Page, problems: list[str]) -> None:
    """Whatever the browser itself complains of."""

    def complain(kind: str, text: str) -> None:
        problems.append(f"{page.url}: {kind}: {text}")

    page.on("pageerror", lambda error: complain("script", str(error)))
    page.on("requestfailed", lambda request: complain("not loaded", request.url))
    page.on(
        "console",
        lambda said: complain("console", said.text) if said.type == "error" else None,
    )


def _visit(
    page: Page, path: Path, site: Path, found: Walk, screenshots: Path | None
) -> None:
    name = path.relative_to(site)
    page.set_viewport_size({"width": WIDTHS["desk"], "height": 900})
    page.goto(path.as_uri())
    page.evaluate(_TYPESET)
    page.evaluate(_EAGER)
    look = page.evaluate(_LOOK)
    found.pages[path] = look
    found.problems += [f"{name}: image missing: {source}" for source in look["missing"]]
    found.problems += [f"{name}: code is cut: {text}" for text in look["cut"]]
    for kind in ("misprints", "undefined", "raw"):
        found.problems += [f"{name}: formula, {kind}: {text}" for text in look[kind]]
    for label, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        wider = page.evaluate(_WIDER)
        if wider > 0:
            found.problems.append(f"{name}: {wider} px too wide for a {label}")
        if screenshots is not None:
            target = screenshots / label / name.with_suffix(".png")
            page.screenshot(path=target, full_page=True)


def _broken_links(pages: dict[Path, dict[str, Any]], site: Path) -> Iterator[str]:
    """Links to files that are not there, or to anchors that their pages lack."""
    for page, look in pages.items():
        name = page.relative_to(site)
        for link in sorted(set(look["links"])):
            try:
                address, anchor = urldefrag(link)
                parsed = urlparse(address)
            except ValueError as error:
                yield f"{name}: no address: {link} ({error})"
                continue
            if parsed.scheme != "file":
                continue
            target = Path(url2pathname(parsed.path))
            ids = pages[target]["ids"] if target in pages else None
            if not target.is_file():
                yield f"{name}: no such file: {link}"
            elif anchor and ids is not None and unquote(anchor) not in ids:
                yield f"{name}: no such anchor: {link}"


def main() -> None:
    """Walks the site and ends with 1 if anything is broken."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("site", type=Path, help="folder of the built pages")
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of pages")
    arguments = parser.parse_args()
    browser = find_browser()
    if browser is None:
        parser.error(NONE)
    if not (arguments.site / "index.html").is_file():
        parser.error(f"{arguments.site} holds no index.html; build the site first")
    found = walk(arguments.site, browser, arguments.screenshots)
    print(f"{len(found.pages)} pages, {found.formulas} formulas")
    for problem in found.problems:
        print(problem)
    raise SystemExit(bool(found.problems))


if __name__ == "__main__":
    main()
