"""Signatures as they stand in the source, with `ArrayLike` rather than its union."""

import ast
import inspect
import textwrap
from typing import Any

from sphinx.application import Sphinx

from extensions.fields import is_named_tuple


def _as_written(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, sign: Any, returns: Any
) -> tuple[str | None, str | None] | None:
    if what == "class":
        return (_constructor(obj), None) if is_named_tuple(obj) else None
    if not inspect.isfunction(inspect.unwrap(obj)):
        return None
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(obj)))
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.FunctionDef)
    arguments = definition.args
    if what == "method":
        (arguments.posonlyargs or arguments.args).pop(0)
    written = ast.unparse(definition.returns) if definition.returns else None
    return f"({ast.unparse(arguments)})", written


def _constructor(cls: Any) -> str:
    """Names and defaults of the fields; nobody builds a state."""
    if cls.__name__.endswith("State"):
        return ""
    defaults = cls._field_defaults
    fields = (
        f"{name}={defaults[name]!r}" if name in defaults else name
        for name in cls._fields
    )
    return f"({', '.join(fields)})"


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    app.connect("autodoc-process-signature", _as_written)
    return {"parallel_read_safe": True}
