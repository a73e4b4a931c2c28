"""The Python blocks of Markdown pages, as tests run them."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
_LOCAL_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)\s]*)?(?:\s+\"[^\"]*\")?\)")


def python_blocks(text: str) -> list[str]:
    """The blocks in order, each at its own lines, so that errors name the page's."""
    return [
        "\n" * text.count("\n", 0, match.start(1)) + match[1]
        for match in _BLOCK.finditer(text)
    ]


def local_links(text: str) -> list[str]:
    """What a page links to, but for addresses on the web."""
    return _LOCAL_LINK.findall(text)


def run_in_order(page: Path) -> None:
    """Runs a page's blocks one after the other, in one namespace."""
    namespace = {}
    for block in python_blocks(page.read_text()):
        exec(compile(block, str(page), "exec"), namespace)
