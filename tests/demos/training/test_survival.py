"""Runs that are stopped, killed, or meet damaged checkpoints and a full disk."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arsg_optax.demos.errors import CheckpointError
from arsg_optax.demos.tasks.results import Outcome
from arsg_optax.demos.tasks.run import resume, train
from arsg_optax.demos.training.logs import read_metrics
from tests.demos.quiet import quiet_checkpoints
from tests.demos.training.runs import Recorder, assert_same, interrupted
from tests.demos.waiting import wait_until

pytestmark = quiet_checkpoints


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


_SCRIPT = """
import sys
from arsg_optax.demos.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_sigkill_in_the_middle_of_an_epoch(tmp_path: Path):
    """The command itself, killed as soon as it has a checkpoint inside an epoch."""
    part = tmp_path / "part"
    options = ["--epochs", "4", "--checkpoint-every", "3", "--out", str(part)]
    command = [sys.executable, "-c", _SCRIPT, "train", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not _inside_an_epoch(part):
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    observer = Recorder()
    found = resume(part, observer=observer)
    assert "continuing after step" in observer.notes[-1]
    whole = train(out=tmp_path / "whole", epochs=4)
    assert_same(found, whole)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount"
)
@pytest.mark.parametrize("leave", [2_000, 60_000])
def test_a_full_disk_keeps_the_last_checkpoint(leave: int, tmp_path: Path):
    """On a small disk of its own, filled up in the seventh epoch.

    The state takes about 5 kB and orbax writes 110 kB: the smaller rest is noticed
    before writing, the larger one by the writing threads.
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
        # Not while the writing threads are at it: the checkpoint that the last one
        # replaces would leave its room to the next, and so on to the end of the run.
        kept = run / "checkpoints"
        wait_until(lambda: sorted(os.listdir(kept)) == ["24", "30", "36"])
        with contextlib.suppress(OSError), (disk / "ballast").open("wb") as file:
            while shutil.disk_usage(disk).free > leave:
                file.write(bytes(4096))
                file.flush()

    observer = Recorder(40, fill)
    with pytest.raises(CheckpointError) as caught:
        train("tiny", out=run, observer=observer, epochs=9)
    message = str(caught.value)
    for part in ("could not be written to", "Make room", f"--resume {run}"):
        assert part in message
    (disk / "ballast").unlink()
    notes = Recorder()
    result = resume(run, observer=notes)
    assert "continuing after step" in notes.notes[-1]
    assert len(result.run.rows) == 9
