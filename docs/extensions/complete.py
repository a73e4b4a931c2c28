"""Every public symbol stands in the reference, or the build fails."""

import importlib
import inspect
from collections.abc import Iterator

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

LISTED = (
    "arsg_optax",
    "arsg_optax.dynamics",
    "arsg_optax.dynamics.plot",
    "arsg_optax.tuning",
)
# Modules without `__all__`: what they define under a public name.
DEFINED = ("arsg_optax.hyperparams", "arsg_optax.demos.iterate")


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


def _check(app: Sphinx, env: BuildEnvironment) -> None:
    described = set(env.domains.python_domain.objects)
    missing = sorted(set(public_symbols()) - described)
    if missing:
        raise ExtensionError(f"not in the reference: {', '.join(missing)}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True}
