"""The Python blocks of Markdown pages, as tests run them."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^```(python|diff)\n(.*?)^```", re.M | re.S)
_LOCAL_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)\s]*)?(?:\s+\"[^\"]*\")?\)")


def python_blocks(text: str) -> list[str]:
    """The blocks in order, each at its own lines, so that errors name the page's.

    A diff is two blocks: the program without the lines that it adds, then the program
    without those that it removes.
    """
    blocks = []
    for match in _BLOCK.finditer(text):
        above, block = "\n" * text.count("\n", 0, match.start(2)), match[2]
        if match[1] == "python":
            blocks.append(above + block)
        else:
            blocks += [above + _side(block, other) for other in "+-"]
    return blocks


def _side(diff: str, other: str) -> str:
    """A diff's program without the lines that begin with `other`, each in its place."""
    lines = diff.splitlines()
    return "\n".join("" if line[:1] == other else line[1:] for line in lines) + "\n"


def local_links(text: str) -> list[str]:
    """What a page links to, but for addresses on the web."""
    return _LOCAL_LINK.findall(text)


def run_in_order(page: Path) -> None:
    """Runs a page's blocks one after the other, in one namespace."""
    namespace = {}
    for block in python_blocks(page.read_text()):
        exec(compile(block, str(page), "exec"), namespace)
