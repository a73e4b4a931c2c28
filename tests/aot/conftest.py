"""These read the final program, so XLA optimizes it as it does for a user."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _as_for_a_user(optimized: None) -> None:
    """In all files of this directory."""
