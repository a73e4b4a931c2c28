"""Waiting for what another thread does."""

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object]) -> None:
    """Returns once it holds; fails if it does not within a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)
