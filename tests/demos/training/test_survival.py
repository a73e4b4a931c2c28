"""Runs that are stopped, killed, or meet damaged checkpoints and a full disk."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import arsg_optax
from arsg_optax.demos.errors import CheckpointError, UsageError
from arsg_optax.demos.tasks.callbacks import Log
from arsg_optax.demos.tasks.records import Outcome, read
from arsg_optax.demos.tasks.run import resume
from arsg_optax.demos.training.checkpoints import FORMAT, Checkpoints
from tests.demos.quiet import quiet_checkpoints
from tests.demos.training.runs import (
    Recorder,
    assert_same,
    train,
    whole,
)
from tests.demos.waiting import wait_until

pytestmark = quiet_checkpoints


@pytest.mark.parametrize(
    ("optimizer", "at"),
    [("arsg", 1), ("arsg", 12), ("ranger", 8), ("schedule_free_adamw", 8)],
)
def test_sigterm_and_resume_change_no_bit(optimizer: str, at: int, tmp_path: Path):
    observer = Recorder(at, lambda: signal.raise_signal(signal.SIGTERM))
    part = train(
        "tiny",
        optimizer,
        out=tmp_path / "part",
        callbacks=(observer,),
        checkpoint_every=2,
    )
    assert (part.outcome, part.signal) == (Outcome.INTERRUPTED, signal.SIGTERM)
    assert at <= part.trainer.total_steps < at + 6
    assert_same(resume(tmp_path / "part"), whole(optimizer))
    assert len(read(tmp_path / "part" / "record.json").epochs) == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(
    damage: str, stopped: tuple[Path, int]
):
    run, step = stopped
    newest = run / "checkpoints" / str(step)
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
    assert_same(resume(run, observer), whole())
    # Renamed, not deleted: a passing error may have been all that was wrong.
    aside = run / "damaged"
    assert [path.name for path in aside.iterdir()] == [f"{newest.name}-0"]
    assert f"the checkpoint of step {step} is damaged" in observer.notes[0]
    assert "falling back to the one before" in observer.notes[0]
    assert f"continuing after step {step - 2}" in observer.notes[1]


def test_where_a_checkpoint_stands_is_under_its_checksum(stopped: tuple[Path, int]):
    run, newest = stopped
    names = ("step", "epoch", "epochs", "seconds")
    steps = range(newest, newest - 2 * len(names), -2)
    for name, step in zip(names, steps, strict=True):
        path = run / "checkpoints" / str(step) / "position" / "metadata"
        held = json.loads(path.read_text())
        path.write_text(json.dumps({**held, name: held[name] + 1}))
    observer = Recorder()
    resume(run, observer)
    for note, step in zip(observer.notes, steps, strict=False):
        assert f"the checkpoint of step {step} is damaged" in note
    assert f"continuing after step {newest - 8}" in observer.notes[4]


@pytest.mark.parametrize("name", ["format", "state_format"])
def test_a_checkpoint_of_another_format_is_refused(
    name: str, stopped: tuple[Path, int]
):
    run, newest = stopped
    for path in (run / "checkpoints").glob("*/position/metadata"):
        held = json.loads(path.read_text())
        path.write_text(json.dumps({**held, "arsg_optax": "9.8.7", name: 99}))
    numbers = {"format": FORMAT, "state_format": arsg_optax.STATE_FORMAT}
    others = {**numbers, name: 99}
    with pytest.raises(CheckpointError) as refused:
        resume(run)
    message = str(refused.value)
    words = "format {format} and states of format {state_format}"
    assert (
        f"the checkpoint of step {newest} was written by arsg_optax 9.8.7 with "
        f"{words.format(**others)}, and arsg_optax {arsg_optax.__version__} reads "
        f"{words.format(**numbers)}: go on with the version that wrote it" in message
    )
    assert "start the run anew in another directory" in message
    # Another version may go on from them.
    assert not (run / "damaged").exists()


def test_a_checkpoint_of_the_second_format_is_refused(stopped: tuple[Path, int]):
    """As the versions wrote it that had no number of the states."""
    run, _ = stopped
    for path in (run / "checkpoints").glob("*/position/metadata"):
        held = json.loads(path.read_text())
        del held["state_format"], held["arsg_optax"]
        path.write_text(json.dumps({**held, "format": 2}))
    with pytest.raises(CheckpointError, match="by arsg_optax of unknown version"):
        resume(run)


@pytest.mark.parametrize("text", ["3", '{"metrics": "x"}', "[" * 100_000, '{"a'])
def test_what_a_checkpoint_says_of_itself_costs_no_other(
    text: str, stopped: tuple[Path, int]
):
    run, newest = stopped
    (run / "checkpoints" / str(newest) / "_CHECKPOINT_METADATA").write_text(text)
    observer = Recorder()
    assert_same(resume(run, observer), whole())
    assert f"continuing after step {newest}" in observer.notes[-1] or (
        f"the checkpoint of step {newest} is damaged" in observer.notes[0]
    )


def test_no_whole_checkpoint_is_an_error(stopped: tuple[Path, int]):
    run, _ = stopped
    for file in (run / "checkpoints").glob("*/state/**/d/*"):
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"):
        resume(run)
    # None was removed: they are the only ones there are.
    assert len(list((run / "checkpoints").glob("*/state"))) == 5


_SCRIPT = """
import sys
from arsg_optax.demos.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("at", [3, 18])
def test_a_deleted_directory_is_reported_and_its_last_state_kept(at, tmp_path: Path):
    """In an epoch, where the log finds out, and after the last step."""
    out = tmp_path / "run"
    delete = Recorder(at, lambda: shutil.rmtree(out))
    with pytest.raises(CheckpointError, match=f"{out} was deleted .* --resume {out}"):
        train(out=out, callbacks=(delete, Log(out)) if at < 18 else (delete,))
    assert_same(resume(out), train(out=tmp_path / "whole"))


def test_one_process_at_a_time(tmp_path: Path):
    out, found = tmp_path / "run", []

    def second() -> None:
        with pytest.raises(UsageError) as refused:
            resume(out)
        found.append(str(refused.value))

    train(out=out, callbacks=(Recorder(3, second),))
    (message,) = found
    assert f"{out} is in use by process {os.getpid()} on" in message
    assert not (out / ".holder").exists()
    resume(out)


def test_a_run_that_cannot_be_written_to(tmp_path: Path, monkeypatch):
    train(out=tmp_path / "run", epochs=1)

    def refuse(self, timeout):
        raise PermissionError("read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(UsageError, match="cannot be written to: read-only"):
        resume(tmp_path / "run")


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
    found = resume(part, observer)
    assert "continuing after step" in observer.notes[-1]
    assert_same(found, train("digits-mlp", out=tmp_path / "whole", epochs=4))


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount"
)
@pytest.mark.parametrize("leave", [2_000, 60_000])
def test_a_full_disk_keeps_the_last_checkpoint(leave: int, tmp_path: Path, caplog):
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
        assert not any(record.exc_info for record in caplog.records)
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
        train("tiny", out=run, callbacks=(observer,), epochs=9, checkpoint_every=6)
    message = str(caught.value)
    for part in ("could not be written to", "Make room", f"--resume {run}"):
        assert part in message
    (disk / "ballast").unlink()
    notes = Recorder()
    result = resume(run, notes)
    assert "continuing after step" in notes.notes[-1]
    assert len(result.epochs) == 9


def test_tracebacks_of_a_failed_write_are_not_printed_beside_its_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    Checkpoints(tmp_path / "checkpoints").close()

    async def fail(text: str) -> None:
        raise RuntimeError(text)

    async def forgotten() -> None:
        for text in ("Event loop is closed", "a file of OCDBT", "of the user's own"):
            task = asyncio.ensure_future(fail(text))
            await asyncio.sleep(0.01)
            del task

    with caplog.at_level(logging.ERROR, "asyncio"):
        asyncio.run(forgotten())
    told = [str(r.exc_info[1]) for r in caplog.records if r.exc_info]
    assert told == ["of the user's own"]
