"""Two processes train one run: a signal, a process that dies, and going on alone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arsg_optax.demos.commands import train as command
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.imagenet import FolderSplit, load_imagenet
from arsg_optax.demos.tasks import TASKS, configuration
from arsg_optax.demos.tasks.callbacks import read_log
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.run import evaluate, resume, run
from arsg_optax.demos.tasks.streams import StreamedImages
from arsg_optax.demos.training import processes, signals
from arsg_optax.demos.training.layout import Layout, make_layout
from arsg_optax.demos.training.signals import StopRequest
from tests.demos.photographs import write_folder
from tests.demos.quiet import quiet_checkpoints
from tests.demos.training.runs import final

pytestmark = quiet_checkpoints
# A process that is gone is missed after seconds, not after a minute.
PROGRAM = """
import sys
from arsg_optax.demos import cli
from arsg_optax.demos.training import processes
processes._HEARTBEAT_SECONDS = 5
sys.exit(cli.main())
"""
EPOCHS = 40
Start = Callable[[], tuple[list[subprocess.Popen[bytes]], Path]]


@pytest.fixture(autouse=True)
def digits(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks as the processes know them."""
    monkeypatch.setattr(configuration, "find_task", TASKS.__getitem__)


def free_port() -> int:
    """Of this machine, at which the processes meet."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def two_devices() -> dict[str, str]:
    """The environment of a process."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=2")
    return {**os.environ, "XLA_FLAGS": flags}


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Start]:
    """Starts two processes of two devices each; returns once they have trained."""
    port = free_port()
    started: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[list[subprocess.Popen[bytes]], Path]:
        out = tmp_path / "run"
        options = f"train --task digits-mlp --epochs {EPOCHS} --save-seconds 0.5"
        for number in range(2):
            joining = f"--distributed --coordinator localhost:{port} --num-processes 2"
            words = f"{options} {joining} --process-id {number} --out".split()
            with (tmp_path / f"{number}.txt").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, *words, str(out)],
                    stdout=log,
                    stderr=log,
                    env=two_devices(),
                )
            started.append(process)
        ends = time.monotonic() + 240
        while not list(out.glob("checkpoints/[0-9]*[0-9]")):
            assert time.monotonic() < ends, (tmp_path / "0.txt").read_text()[-2000:]
            assert all(each.poll() is None for each in started)
            time.sleep(0.1)
        return started, out

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_signal_to_one_ends_all_and_one_process_goes_on(begun: Start):
    (first, second), out = begun()
    second.send_signal(signal.SIGTERM)
    assert (first.wait(120), second.wait(120)) == (143, 143)
    lines = read_log(out / "metrics.jsonl")
    epochs = [line["epoch"] for line in lines if line["event"] == "epoch"]
    # The first process alone writes.
    assert epochs == list(range(1, len(epochs) + 1)) and len(epochs) < EPOCHS
    found = resume(out, mesh="data=8")
    alone = run(RunConfig(task="digits-mlp", epochs=EPOCHS))
    for a, b in zip(final(found), final(alone), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
    assert [e.step for e in found.epochs] == [e.step for e in alone.epochs]
    losses = [[e.test_loss_x for e in record.epochs] for record in (found, alone)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize("gone", [0, 1])
def test_the_survivor_ends_and_says_why(gone: int, begun: Start, tmp_path: Path):
    processes, out = begun()
    processes[gone].kill()
    survivor = processes[1 - gone]
    assert survivor.wait(120) not in (0, None)
    # JAX ends it, or an exchange that was under way fails.
    words = (tmp_path / f"{1 - gone}.txt").read_text()
    assert "another task died" in words or "another process has gone" in words
    assert np.isfinite(evaluate(out, mesh="data=8").test_loss_x)


def streamed(root: Path, layout: Layout | None) -> tuple[list[Any], int]:
    """Batches of a folder, to train and to evaluate, and how many images were read."""
    count, image = 0, FolderSplit.image

    def counted(self: FolderSplit, index: int) -> Any:
        nonlocal count
        count += 1
        return image(self, index)

    data = load_imagenet(root)
    task = replace(TASKS["imagenet-resnet50"], batch_size=8)
    sources = StreamedImages(size=16, workers=1).setup(task, data, 0, "float32").sources
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FolderSplit, "image", counted)
        test = sources.test if layout is None else sources.test.on(layout)
        batches = [*sources.train.batches(1, 0, layout), *test.batches]  # type: ignore
    return [array for batch in batches for array in batch], count


def keep_own_rows(root: Path, port: int, number: int) -> None:
    """What one of two processes reads; it runs in a process of its own."""
    processes.join(f"localhost:{port}", 2, number)
    arrays, count = streamed(root, make_layout({"data": 4, "fsdp": 1}))
    shards = [
        sorted(array.addressable_shards, key=lambda each: each.index[0].start)
        for array in arrays
    ]
    rows = [np.r_[tuple(each.index[0] for each in found)] for found in shards]
    parts = [np.concatenate([each.data for each in found]) for found in shards]
    np.savez(root / f"{number}.npz", *rows, *parts, count=count)


def test_each_process_reads_the_rows_of_its_devices(tmp_path: Path):
    write_folder(tmp_path)
    whole, count = streamed(tmp_path, None)
    port, name = free_port(), keep_own_rows.__name__
    started = []
    for number in range(2):
        call = f"each.{name}(each.Path({str(tmp_path)!r}), {port}, {number})"
        program = f"import {__name__} as each; {call}"
        command = [sys.executable, "-c", program]
        started.append(subprocess.Popen(command, env=two_devices()))
    assert [process.wait(240) for process in started] == [0, 0]
    read = [np.load(tmp_path / f"{number}.npz") for number in range(2)]
    # Two training and two validation batches; of two and three arrays.
    assert len(whole) == 10
    for index, expected in enumerate(whole):
        rows = [found[f"arr_{index}"] for found in read]
        assert sorted(np.concatenate(rows)) == list(range(8))
        for own, found in zip(rows, read, strict=True):
            np.testing.assert_array_equal(found[f"arr_{10 + index}"], expected[own])
    assert [found["count"] for found in read] == [count / 2, count / 2] == [16, 16]


def test_a_signal_asks_nothing_of_jax(monkeypatch: pytest.MonkeyPatch):
    """It may come while JAX holds a lock that its answer would wait for."""
    with StopRequest() as stop:
        with monkeypatch.context() as patched:
            patched.setattr(signals, "is_alone", lambda: pytest.fail("it was asked"))
            signal.raise_signal(signal.SIGTERM)
        assert stop and stop.signal == signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--distributed"], "--distributed needs --out"),
        (["--process-id", "1"], "--process-id needs --distributed, got 1"),
        (
            ["--distributed", "--out", "runs/x", "--num-processes", "2"],
            "the processes cannot be joined: .* --coordinator HOST:PORT",
        ),
    ],
)
def test_what_is_refused(arguments: list[str], message: str):
    with pytest.raises(UsageError, match=message):
        command.run(arguments)
