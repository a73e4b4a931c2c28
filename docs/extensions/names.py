"""Public names in the text of pages lead to the reference.

A page writes `arsg_optax.arsg`, which reads well in the repository too.
"""

import re
from functools import cache

from sphinx.application import Sphinx

from extensions.complete import public_symbols

_FENCED = re.compile(r"(^```.*?^```)", re.M | re.S)
_NAME = re.compile(r"(?<!`)`(arsg_optax(?:\.\w+)+)`(?!`)")
_MODULES = ("arsg_optax.dynamics", "arsg_optax.hyperparams", "arsg_optax.tuning")


@cache
def _known() -> frozenset[str]:
    return frozenset(public_symbols())


def linked_names(text: str) -> str:
    """The text of a page, with public names as roles, but for its code."""

    def role(found: re.Match[str]) -> str:
        name = found[1]
        if name in _MODULES:
            return f"{{py:mod}}`{name}`"
        return f"{{py:obj}}`{name}`" if name in _known() else found[0]

    parts = _FENCED.split(text)
    return "".join(
        part if part.startswith("```") else _NAME.sub(role, part) for part in parts
    )


def _link_names(app: Sphinx, name: str, source: list[str]) -> None:
    if app.env.doc2path(name).suffix == ".md":
        source[0] = linked_names(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    app.connect("source-read", _link_names)
    return {"parallel_read_safe": True}
