"""Links of pages to files outside of the site lead to the repository.

On the repository's own pages `../results` and `../../README.md` work as they are; so do
`../../notebooks/name.ipynb`, which the site has as pages of its own.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_UPWARD = re.compile(r"\]\((?P<path>(?:\.\./)+[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def outside_links(text: str, page: Path, site: Path, address: str) -> str:
    """The text of a page, with its links out of the site replaced.

    Args:
      text: Markdown.
      page: where the text lies.
      site: folder of the sources; links into it stay.
      address: of the repository, which holds `site` at its top.
    """

    def replaced(found: re.Match[str]) -> str:
        target = (page.parent / found["path"]).resolve()
        if target.is_relative_to(site):
            return found[0]
        if not target.exists():
            raise ValueError(f"{page}: {found[0]} leads to no file of the repository")
        inside = target.relative_to(site.parent)
        if inside.match("notebooks/*.ipynb"):
            return f"](/{inside}{found['anchor'] or ''})"
        kind = "tree" if target.is_dir() else "blob"
        return f"]({address}/{kind}/main/{inside}{found['anchor'] or ''})"

    return _UPWARD.sub(replaced, text)


def _lead_to_the_repository(app: Sphinx, name: str, source: list[str]) -> None:
    if not name.startswith("notebooks/"):
        site, address = Path(app.srcdir), app.config.repository
        source[0] = outside_links(source[0], site / name, site, address)


def _edit_notebooks_where_they_are(
    app: Sphinx, name: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """The theme's buttons lead to the repository's folder, not to the copy."""
    if name.startswith("notebooks/"):
        context["theme_source_directory"] = ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    app.connect("html-page-context", _edit_notebooks_where_they_are)
    app.add_config_value("repository", "", "env", str)
    app.connect("source-read", _lead_to_the_repository)
    return {"parallel_read_safe": True}
