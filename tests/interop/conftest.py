"""Fixtures of the interoperability tests."""

import pytest

from tests.interop.nestings import NESTINGS, Nesting


@pytest.fixture(params=NESTINGS, ids=lambda nesting: nesting.name)
def nesting(request: pytest.FixtureRequest) -> Nesting:
    """Each way to wrap an optimizer, under the promotion that its wrapper needs."""
    if request.param.mixes_dtypes:
        request.getfixturevalue("relaxed_promotion")
    return request.param
