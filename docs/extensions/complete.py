"""Every public symbol stands in the reference, or the build fails."""

import importlib
import inspect
from collections.abc import Collection, Iterator

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

LISTED = (
    "arsg_optax",
    "arsg_optax.dynamics",
    "arsg_optax.dynamics.plot",
    "arsg_optax.hyperparams",
    "arsg_optax.tuning",
)
# Modules without `__all__`: what they define under a public name.
DEFINED = ("arsg_optax.flax",)


def public_symbols() -> Iterator[str]:
    """Full names, modules included, as the reference must call them."""
    for module in LISTED:
        for name in importlib.import_module(module).__all__:
            yield f"{module}.{name}"
    for path in DEFINED:
        module = importlib.import_module(path)
        for name, value in vars(module).items():
            defined = inspect.isfunction(value) or inspect.isclass(value)
            if defined and not name.startswith("_") and value.__module__ == path:
                yield f"{path}.{name}"


def check(described: Collection[str]) -> None:
    """Raises `ExtensionError` if a public symbol is not among those described."""
    missing = [name for name in public_symbols() if name not in described]
    if missing:
        raise ExtensionError(f"not in the reference: {', '.join(missing)}")


def _check(app: Sphinx, env: BuildEnvironment) -> None:
    check(env.domains.python_domain.objects)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    # Not "env-check-consistency", which a build that finds no page changed leaves out.
    app.connect("env-updated", _check)
    return {"parallel_read_safe": True}
