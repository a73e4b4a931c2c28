"""The versions that numbers depend on."""

from importlib import metadata


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on."""
    found = {}
    for package in ("arsg_optax", "jax", "jaxlib", "optax", "flax", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
