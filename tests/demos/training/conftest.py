"""The tiny task for whole runs, and one that was stopped."""

import shutil
from pathlib import Path

import pytest

from arsg_optax.demos.tasks import TASKS, Task, configuration
from tests.demos.training.runs import interrupted


@pytest.fixture(autouse=True)
def tiny(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny task beside the others."""
    known = {**TASKS, "tiny": task}
    monkeypatch.setattr(configuration, "find_task", known.__getitem__)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for what several tests copy."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def stopped(shelf: Path, tmp_path: Path) -> tuple[Path, int]:
    """A copy of a run with five checkpoints, and the step of the newest."""
    if not (shelf / "run").exists():
        interrupted(shelf / "run", 12, keep=5)
    run = Path(shutil.copytree(shelf / "run", tmp_path / "run"))
    return run, max(int(path.name) for path in (run / "checkpoints").iterdir())
