"""Two processes train one run: a signal, a process that dies, and going on alone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from arsg_optax.demos.commands import train as command
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import TASKS, configuration
from arsg_optax.demos.tasks.callbacks import read_log
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.run import evaluate, resume, run
from arsg_optax.demos.training import signals
from arsg_optax.demos.training.signals import StopRequest
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


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Start]:
    """Starts two processes of two devices each; returns once they have trained."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[list[subprocess.Popen[bytes]], Path]:
        out = tmp_path / "run"
        flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=2")
        options = f"train --task digits-mlp --epochs {EPOCHS} --save-seconds 0.5"
        for number in range(2):
            joining = f"--distributed --coordinator localhost:{port} --num-processes 2"
            words = f"{options} {joining} --process-id {number} --out".split()
            with (tmp_path / f"{number}.txt").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, *words, str(out)],
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "XLA_FLAGS": flags},
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
