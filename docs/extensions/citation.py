"""A box that says how to cite, from `CITATION.cff`.

A page writes a block `{citation}` that holds the path of this file.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def bibtex(cited: dict[str, Any], version: str) -> str:
    """An entry for a bibliography.

    Args:
      cited: what the file holds: `title`, `authors` and `repository-code`.
      version: of the package.
    """
    # A body's name in braces of its own is not taken apart into given and family names.
    authors = " and ".join(f"{{{each['name']}}}" for each in cited["authors"])
    key = re.match(r"\w+", cited["title"])
    assert key is not None
    fields = {
        "title": cited["title"],
        "author": authors,
        "version": version,
        "url": cited["repository-code"],
    }
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@software{{{key[0]},\n{lines}}}"


class Citation(SphinxDirective):
    """The file's message and the entry, ready to be copied."""

    has_content = True

    def run(self) -> list[Any]:
        """A paragraph and a block of code."""
        _, path = self.env.relfn2path(self.content[0])
        self.env.note_dependency(path)
        cited = yaml.safe_load(Path(path).read_text("utf-8"))
        entry = bibtex(cited, self.config.version)
        text = f"{cited['message']}\n\n```bibtex\n{entry}\n```\n"
        return self.parse_text_to_nodes(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    app.add_directive("citation", Citation)
    return {"parallel_read_safe": True}
