"""The examples in the docstrings print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import arsg_optax


def _modules():
    """Every module of the core; the demos have none and need an extra."""
    walk = pkgutil.walk_packages(arsg_optax.__path__, "arsg_optax.")
    names = (module.name for module in walk)
    skipped = ("arsg_optax.demos", "arsg_optax.dynamics.plot")
    return [name for name in names if not name.startswith(skipped)]


EXAMPLES = [
    pytest.param(test, id=test.name)
    for name in _modules()
    for test in doctest.DocTestFinder().find(importlib.import_module(name))
    if test.examples
]


def test_there_are_examples():
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example):
    result = doctest.DocTestRunner().run(example)
    assert result.failed == 0
