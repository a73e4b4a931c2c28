"""These read the final program, so XLA optimizes it as it does for a user."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def _optimized() -> Iterator[None]:
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
