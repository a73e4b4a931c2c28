"""Other people's arithmetic is not strict: theirs runs under the defaults of JAX."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def promotion_as_by_default() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
