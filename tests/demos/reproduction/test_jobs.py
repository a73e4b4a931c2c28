"""Trials as jobs of a scheduler; one that fails is noted and stops no other."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.configuration import RunConfig
from scripts.reproduction import commands
from scripts.reproduction.experiments import EXPERIMENTS
from scripts.reproduction.experiments.entrants import PUBLISHED, Entrant, Settings
from scripts.reproduction.runs import cluster
from scripts.reproduction.runs.cluster import run_as_jobs, run_part
from scripts.reproduction.runs.runner import Observer, run_all
from scripts.reproduction.store import Store
from tests.demos.quiet import quiet_checkpoints
from tests.demos.reproduction.synthetic import experiment

pytestmark = quiet_checkpoints
TRIAL = RunConfig(
    task="digits-mlp",
    preset="none",
    learning_rate=0.01,
    epochs=1,
    batch_size=32,
    examples=64,
)
# More than there are; nothing tells before the data are there.
FAILING = replace(TRIAL, batch_size=65)
LOADER = partial(commands._loader, None)


class Failures(Observer):
    def __init__(self) -> None:
        self.failed_ones: list[str] = []

    def failed(self, trial: RunConfig, error: Exception) -> None:
        self.failed_ones.append(f"{error}")


def test_a_trial_that_fails_is_noted_and_stops_no_other(tmp_path: Path):
    store, observer = Store(tmp_path), Failures()
    trials = [FAILING, TRIAL]
    assert run_all(trials, store, LOADER(), observer) == [FAILING]
    assert store.find(TRIAL) is not None and store.find(FAILING) is None
    (told,) = observer.failed_ones
    assert told.startswith("batch_size must be at most the 64 training examples")
    noted = (tmp_path / ".failed" / f"{FAILING.key()}.txt").read_text()
    assert noted.startswith("Traceback") and told in noted
    # It is run again next time, and the other is not.
    assert run_all(trials, store, LOADER(), observer) == [FAILING]
    assert len(observer.failed_ones) == 2


def test_jobs_of_this_machine_share_the_trials(tmp_path: Path):
    trials = [replace(TRIAL, seed=seed) for seed in range(3)]
    trials.insert(1, FAILING)
    failed = run_as_jobs(trials, tmp_path, LOADER, "local", 2)
    assert [each.key() for each in failed] == [FAILING.key()]
    store = Store(tmp_path)
    assert len(store.records()) == 3
    logs = list((tmp_path / ".jobs").glob("*_log.out"))
    assert len(logs) == 2
    # Nothing is left to submit.
    assert run_as_jobs(trials[2:], tmp_path, LOADER, "local", 2) == []


def test_visible_gpus_are_dealt_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    devices = [cluster._device(number, "local") for number in range(3)]
    assert devices == ["4", "5", "4"]
    assert cluster._device(0, "slurm") is None
    assert run_part([], tmp_path, LOADER, "5") == []
    assert cluster.os.environ["CUDA_VISIBLE_DEVICES"] == "5"


@pytest.mark.parametrize(
    ("executor", "parameter", "message"),
    [
        ("local", "partition", "must be NAME=VALUE, got 'partition'"),
        ("local", "colour=red", "--job colour=red is refused by submitit: .*colour"),
        ("slurm", "mem_gb=2", "--executor slurm .* is refused by submitit: .*srun"),
    ],
)
def test_what_is_refused(executor: str, parameter: str, message: str, tmp_path: Path):
    if executor == "slurm" and shutil.which("srun"):
        pytest.skip("there is a Slurm here")
    with pytest.raises(UsageError, match=message):
        run_as_jobs([TRIAL], tmp_path, LOADER, executor, 1, [parameter])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An experiment of two runs, one of which fails; options of the command."""
    found = experiment("small")
    entrants = (
        Entrant("ARSG", "arsg", {PUBLISHED: Settings(0.01)}),
        Entrant("RSG", "rsg", {PUBLISHED: Settings(0.01, {"eps": 1})}),
    )
    size = found.size("small")._replace(epochs=1, examples=64, batch_size=32)
    known = found._replace(entrants=entrants, sizes={"small": size})
    monkeypatch.setattr(commands, "find_experiment", {"small": known}.__getitem__)
    assert "small" not in EXPERIMENTS
    return ["small"]


def test_the_command(
    small: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)

    def listed() -> list[str]:
        assert commands.reproduce([*small, "--list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if "digits-mlp" in line]

    first, second = listed()
    assert "arsg 0.01 seed 0 1 epochs" in first
    assert commands.reproduce([*small, "--trial", first.split()[0]]) == 0
    capsys.readouterr()
    assert listed() == [second]
    assert commands.reproduce(small) == 1
    told = capsys.readouterr().err
    assert f"{second.split()[0]} failed; why stands in results/runs/.failed/" in told
    assert list(tmp_path.glob("results/*-small-small/table.md"))
    with pytest.raises(UsageError, match=r"--trial must be one of the keys .*'0'"):
        commands.reproduce([*small, "--trial", "0"])
    with pytest.raises(UsageError, match="must be one of here, local, slurm, got 'k8'"):
        commands.reproduce([*small, "--executor", "k8"])
    with pytest.raises(UsageError, match="--jobs must be at least 1, got 0"):
        commands.reproduce([*small, "--jobs", "0"])
