"""A mark for warnings of another library that nobody here can mend."""

import pytest

# Orbax leaves event loops and files to the garbage collector; after a failed read,
# threads of its still call a loop that is closed. The writer of event files has a
# thread that a full disk ends.
quiet_checkpoints = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)
