"""The tiny task for whole runs."""

import pytest

from arsg_optax.demos.tasks import TASKS, Task, configuration


@pytest.fixture(autouse=True)
def tiny(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny task beside the others."""
    known = {**TASKS, "tiny": task}
    monkeypatch.setattr(configuration, "find_task", known.__getitem__)
