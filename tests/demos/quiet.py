"""Marks for warnings of other libraries that nobody here can mend."""

import pytest

# The library leaves its parquet reader open, and forks for nothing here.
quiet_datasets = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning"
)

# Orbax leaves event loops and files to the garbage collector; after a failed read,
# threads of its still call a loop that is closed. The writer of event files has a
# thread that a full disk ends.
quiet_checkpoints = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)
