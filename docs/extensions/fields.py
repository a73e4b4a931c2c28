"""Fields of named tuples, with the comments that stand above or beside them."""

import ast
import inspect
import re
import textwrap
from typing import Any

import jax
from sphinx.application import Sphinx

_MARKUP = re.compile(r"([*|`_\\])")


def described_fields(cls: type) -> dict[str, str]:
    """Names of the fields and their comments, "" where there is none."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            beside = lines[(node.end_lineno or 0) - 1][node.end_col_offset :]
            comments = [*_above(lines, node.lineno - 1), beside]
            found[node.target.id] = " ".join(
                text for each in comments if (text := each.strip().lstrip("# "))
            )
    return found


def _above(lines: list[str], number: int) -> list[str]:
    """The block of comment lines that ends before a line."""
    first = number
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return lines[first:number]


def is_named_tuple(obj: Any) -> bool:
    """Whether it is a class of named tuples."""
    return isinstance(obj, type) and hasattr(obj, "_fields")


def _add_fields(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    described = any(line.startswith(":ivar") for line in lines)  # by Attributes:
    if what != "class" or not is_named_tuple(obj) or described:
        return
    while lines and not lines[-1].strip():
        lines.pop()
    lines.append("")
    for field, text in described_fields(obj).items():
        lines.append(f":ivar {field}: " + _MARKUP.sub(r"\\\1", text))
    lines.append("")


def _name_arrays(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Arrays go by the name that people import, not by that of JAX's own module."""
    inner = f"{jax.Array.__module__}.{jax.Array.__qualname__}"
    lines[:] = [line.replace(inner, "jax.Array") for line in lines]


def _skip_fields(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """A field stands among its class's fields; as a member it would have no text."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    app.connect("autodoc-process-docstring", _add_fields)
    # Napoleon adds the types, and comes before.
    app.connect("autodoc-process-docstring", _name_arrays, priority=900)
    app.connect("autodoc-skip-member", _skip_fields)
    return {"parallel_read_safe": True}
