"""What numbers may depend on beside a run's configuration."""

import os
import platform
from importlib import metadata
from typing import Any

import jax


def machine() -> dict[str, Any]:
    """The processor and the versions of the packages that numbers depend on."""
    return {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on."""
    found = {}
    for package in ("arsg_optax", "jax", "jaxlib", "optax", "flax", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
