"""Fields of named tuples, with the comments that stand beside them."""

import inspect
import re
from typing import Any

from sphinx.application import Sphinx

_FIELD = re.compile(r"^    (?P<name>[a-z]\w*): [^#]+?  # (?P<text>.*)$")
_MORE = re.compile(r"^    # (?P<text>.*)$")
_MARKUP = re.compile(r"([*|`_\\])")


def described_fields(cls: type) -> list[tuple[str, str]]:
    """Names of fields and the comments in their lines."""
    fields: list[tuple[str, str]] = []
    for line in inspect.getsource(cls).splitlines():
        if found := _FIELD.match(line):
            fields.append((found["name"], found["text"]))
        elif (found := _MORE.match(line)) and fields:
            name, text = fields[-1]
            fields[-1] = name, f"{text} {found['text']}"
    return fields


def _add_fields(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    if what != "class" or not (isinstance(obj, type) and hasattr(obj, "_fields")):
        return
    if any(line.startswith(":ivar") for line in lines):  # an Attributes section
        return
    while lines and not lines[-1].strip():
        lines.pop()
    lines.append("")
    for field, text in described_fields(obj):
        lines.append(f":ivar {field}: " + _MARKUP.sub(r"\\\1", text))
    lines.append("")


def _skip_fields(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """A field stands among its class's fields; as a member it would have no text."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    app.connect("autodoc-process-docstring", _add_fields)
    app.connect("autodoc-skip-member", _skip_fields)
    return {"parallel_read_safe": True}
