"""Libraries that are handed an optimizer, as their users install them."""

import importlib
import os
import warnings
from typing import Any

import pytest


def client(name: str) -> Any:
    """A module of a library of the extra `clients`; without it the test is skipped.

    Where ARSG_CLIENTS is set, as .ci/run does, a missing library is an error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Theirs, such as that JAXopt is retired.
            return importlib.import_module(name)
    except ImportError:
        if os.environ.get("ARSG_CLIENTS"):
            raise
        library = name.partition(".")[0]
        pytest.skip(f'needs {library}: pip install -e ".[clients]"')
