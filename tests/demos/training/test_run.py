"""Whole runs: files, resuming, interruption, divergence, wrong requests."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from arsg_optax.demos.data import Dataset
from arsg_optax.demos.errors import CheckpointError, UsageError
from arsg_optax.demos.results import Outcome
from arsg_optax.demos.tasks import TASKS, Task
from arsg_optax.demos.training import configuration
from arsg_optax.demos.training.logs import read_metrics
from arsg_optax.demos.training.run import Result, Silent, resume, train

# Orbax leaves event loops and files to the garbage collector; after a failed read,
# threads of its still call a loop that is closed.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)


@pytest.fixture(autouse=True)
def tiny(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny task under the name `digits-mlp`."""
    known = {**TASKS, "tiny": task}
    monkeypatch.setattr(configuration, "find_task", known.__getitem__)


class Recorder(Silent):
    """Keeps messages, and calls a function after some steps of the run."""

    def __init__(self, at: int = -1, then=lambda: None):
        self.notes: list[str] = []
        self._at, self._then = at, then

    def note(self, text: str) -> None:
        self.notes.append(text)

    def steps_done(self, trainer, loss: float, rate: float) -> None:
        if trainer.total_steps >= self._at >= 0:
            self._at = -1
            self._then()


def final(result: Result) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result.trainer.state)]


def assert_same(one: Result, other: Result) -> None:
    for a, b in zip(final(one), final(other), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [[row._replace(seconds=0.0) for row in r.run.rows] for r in (one, other)]
    assert rows[0] == rows[1]


def interrupted(out: Path, at: int, **options) -> Result:
    observer = Recorder(at, lambda: signal.raise_signal(signal.SIGTERM))
    return train("tiny", out=out, observer=observer, checkpoint_every=2, **options)


def test_files(tmp_path: Path):
    result = train("tiny", "rsg", out=tmp_path / "run", learning_rate=0.5, keep=2)
    assert result.run.outcome is Outcome.FINISHED
    assert [row.step for row in result.run.rows] == [6, 12, 18]
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [1, 2, 3]
    assert epochs[2]["test_loss_x"] == result.run.rows[2].test_loss_x
    steps = [line for line in lines if line["event"] == "steps"]
    assert [line["total_step"] for line in steps][-1] == 18
    assert all(line["steps_per_second"] > 0 for line in steps)
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))
    held = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (held["optimizer"], held["learning_rate"]) == ("rsg", 0.5)
    kept = {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {"12", "18"}


def test_the_mean_of_the_minibatch_losses(tmp_path: Path):
    result = train("tiny", "sgd", out=tmp_path, epochs=1, checkpoint_every=1)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    losses = [line["loss"] for line in lines if line["event"] == "steps"]
    assert len(losses) == 6
    assert result.run.rows[0].train_loss == pytest.approx(np.mean(losses), rel=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "at"),
    [("arsg", 1), ("arsg", 12), ("ranger", 8), ("schedule_free_adamw", 8)],
)
def test_sigterm_and_resume_change_no_bit(optimizer: str, at: int, tmp_path: Path):
    whole = train("tiny", optimizer, out=tmp_path / "whole")
    observer = Recorder(at, lambda: signal.raise_signal(signal.SIGTERM))
    part = train(
        "tiny", optimizer, out=tmp_path / "part", observer=observer, checkpoint_every=2
    )
    assert (part.run.outcome, part.signal) == (Outcome.INTERRUPTED, signal.SIGTERM)
    assert at <= part.trainer.total_steps < at + 6
    assert_same(resume(tmp_path / "part"), whole)
    lines = read_metrics(tmp_path / "part" / "metrics.jsonl")
    epochs = [line["epoch"] for line in lines if line["event"] == "epoch"]
    assert epochs == [1, 2, 3]


def test_a_finished_run_is_left_alone(tmp_path: Path):
    whole = train("tiny", out=tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert_same(resume(tmp_path), whole)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_without_a_checkpoint_it_starts_anew(tmp_path: Path):
    whole = train("tiny", out=tmp_path / "whole", epochs=1)
    (tmp_path / "new").mkdir()
    config = (tmp_path / "whole" / "config.json").read_text()
    (tmp_path / "new" / "config.json").write_text(config)
    observer = Recorder()
    assert_same(resume(tmp_path / "new", observer=observer), whole)
    assert "starting from the beginning" in observer.notes[0]


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(damage: str, tmp_path: Path):
    whole = train("tiny", out=tmp_path / "whole")
    part = interrupted(tmp_path / "part", 8)
    newest = tmp_path / "part" / "checkpoints" / str(part.trainer.total_steps)
    files = [f for f in newest.glob("state/**/d/*") if f.is_file()]
    for file in files:
        if damage == "missing":
            file.unlink()
            continue
        content = bytearray(file.read_bytes())
        if damage == "cut":
            content = content[: len(content) // 2]
        else:
            content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    observer = Recorder()
    assert_same(resume(tmp_path / "part", observer=observer), whole)
    step = part.trainer.total_steps
    assert f"the checkpoint of step {step} is damaged" in observer.notes[0]
    assert "falling back to the one before" in observer.notes[0]
    assert f"continuing after step {step - 2}" in observer.notes[1]


def test_no_whole_checkpoint_is_an_error(tmp_path: Path):
    interrupted(tmp_path, 8, epochs=2)
    for file in (tmp_path / "checkpoints").glob("*/state/**/d/*"):
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"):
        resume(tmp_path)
    # None was removed: they are the only ones there are.
    assert len(list((tmp_path / "checkpoints").glob("*/state"))) == 3


def test_a_limit_of_steps_ends_with_an_evaluation(tmp_path: Path):
    result = train("tiny", out=tmp_path, steps=8)
    assert [row.step for row in result.run.rows] == [6, 8]
    assert result.run.outcome is Outcome.FINISHED
    assert_same(resume(tmp_path), result)


def test_divergence_ends_the_run(tmp_path: Path):
    result = train("tiny", "sgd", out=tmp_path, learning_rate=1e30)
    assert result.run.outcome is Outcome.DIVERGED
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines[-1].get("loss", lines[-1].get("train_loss")) is None


def test_the_result_can_be_used(task: Task, dataset: Dataset, tmp_path: Path):
    result = train("tiny", out=tmp_path, epochs=2)
    trainer = result.trainer
    params, model_state = trainer.evaluator.own_point(trainer.state)
    scores = task.setup(dataset).problem.forward(
        params, model_state, dataset.test.images
    )
    right = np.mean(np.argmax(scores, -1) == dataset.test.labels)
    assert right == pytest.approx(result.run.rows[-1].test_accuracy_x, abs=1e-6)


def test_examples_and_preset(tmp_path: Path):
    result = train("tiny", out=tmp_path, examples=96, epochs=1)
    assert result.run.rows[0].step == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task": "tiny", "optimizer": "adma"},
            "unknown optimizer 'adma'; known",
        ),
        (
            {"task": "tiny", "preset": "fine"},
            "preset must be one of .*: fast; got",
        ),
        (
            {"task": "tiny", "dtype": "float16"},
            "one of float32, bfloat16, got 'flo",
        ),
        ({"task": "tiny", "epochs": 0}, "epochs must be at least 1, got 0"),
        ({"task": "tiny", "steps": 0}, "steps must be at least 1, got 0"),
        ({"task": "tiny", "keep": 0}, "keep must be at least 1, got 0"),
        ({"task": "tiny", "workers": -1}, "workers must be at least 0, got -1"),
        ({"task": "tiny", "seed": -1}, "seed must be at least 0.*got -1"),
        ({"task": "tiny", "learning_rate": 0.0}, "must be positive and finite, got 0"),
        ({"task": "tiny", "batch_size": 201}, "at most the 200 training examples"),
        ({"task": "tiny", "examples": 31}, "at most the 31 training examples"),
        (
            {"task": "tiny", "optimizer": "adarem_s"},
            "no step size for 'adarem_s': giv",
        ),
    ],
)
def test_wrong_requests(options: dict, message: str, tmp_path: Path):
    with pytest.raises(UsageError, match=message):
        train(**options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_directory_with_a_run_is_not_overwritten(tmp_path: Path):
    train("tiny", out=tmp_path, epochs=1)
    with pytest.raises(UsageError, match="out must be a new directory"):
        train("tiny", out=tmp_path, epochs=1)


def test_resume_needs_a_run(tmp_path: Path):
    with pytest.raises(UsageError, match=r"resume must name .* with config\.json"):
        resume(tmp_path)


def test_bfloat16_computes_in_it_and_stores_float32(tmp_path: Path):
    result = train("tiny", out=tmp_path, dtype="bfloat16", epochs=2)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(result.trainer.state.held)}
    assert dtypes == {np.dtype(np.float32)}
    assert result.run.rows[1].train_loss < result.run.rows[0].train_loss


def test_times_of_the_protocol_shrink(task: Task, dataset: Dataset):
    short = replace(task, epochs=30).resized(3, None)
    boost = short.settings["arsgb"].keywords(short.clock(6))["boost_at"]
    assert boost == round(7 / 30 * 18)


_SCRIPT = """
import sys
from arsg_optax.demos.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_sigkill_in_the_middle_of_an_epoch(tmp_path: Path):
    """The command itself, killed as soon as it has a checkpoint inside an epoch."""
    part = tmp_path / "part"
    options = ["--epochs", "12", "--checkpoint-every", "3", "--out", str(part)]
    command = [sys.executable, "-c", _SCRIPT, "train", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not _inside_an_epoch(part):
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    observer = Recorder()
    found = resume(part, observer=observer)
    assert "continuing after step" in observer.notes[-1]
    whole = train(out=tmp_path / "whole", epochs=12, checkpoint_every=3)
    assert_same(found, whole)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount"
)
@pytest.mark.parametrize("leave", [2_000, 60_000])
def test_a_full_disk_keeps_the_last_checkpoint(leave: int, tmp_path: Path):
    """On a small disk of its own, filled up after the first epoch.

    The state takes about 5 kB and orbax writes several times as much: the smaller
    rest is noticed before writing, the larger one by the writing threads.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        _fill_and_train(disk, leave)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _inside_an_epoch(run: Path) -> bool:
    names = [p.name for p in run.glob("checkpoints/*") if p.name.isdigit()]
    return any(int(name) % 22 for name in names)


def _fill_and_train(disk: Path, leave: int) -> None:
    run = disk / "run"

    def fill() -> None:
        # In small pieces: a checkpoint that is being written takes from the same rest.
        with contextlib.suppress(OSError), (disk / "ballast").open("wb") as file:
            while shutil.disk_usage(disk).free > leave:
                file.write(bytes(4096))
                file.flush()

    observer = Recorder(40, fill)
    with pytest.raises(CheckpointError) as caught:
        train("tiny", out=run, observer=observer, epochs=60)
    message = str(caught.value)
    for part in ("could not be written to", "Make room", f"--resume {run}"):
        assert part in message
    (disk / "ballast").unlink()
    notes = Recorder()
    result = resume(run, observer=notes)
    assert "continuing after step" in notes.notes[-1]
    assert len(result.run.rows) == 60
