"""`python -m scripts.reproduction`: plan, runs, interruption, files, errors."""

import os
import signal
import subprocess
import sys

import pytest

from arsg_optax.demos.tasks.settings import Settings
from scripts.reproduction import experiments
from scripts.reproduction.__main__ import main
from scripts.reproduction.experiments.entrants import (
    GRID,
    PUBLISHED,
    Entrant,
    Experiment,
    Size,
)
from scripts.reproduction.store import Store

_SMALL, _LARGE = Settings(0.001), Settings(0.005)
TINY = Experiment(
    "tiny",
    "digits-mlp",
    "a paper, figure 1",
    (
        Entrant("Adam", "adam", {PUBLISHED: _SMALL}, {GRID: (_SMALL, _LARGE)}),
        Entrant("ARSG", "arsg", {PUBLISHED: _LARGE}, {GRID: (_SMALL, _LARGE)}),
    ),
    {"small": Size("nearly all", 2, 1, searches=True, epochs=1, examples=128)},
    "a",
    "b",
)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Makes an experiment of seconds known, and works in an own directory."""
    monkeypatch.setitem(experiments.EXPERIMENTS, "tiny", TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_runs_and_runs_nothing_again(tiny, capsys):
    assert main(["tiny", "--out", "out"]) == 0
    first = capsys.readouterr().out
    assert "tiny, small: nearly all (a paper, figure 1)" in first
    # Two grids of two and the other seed of what is published; then two seeds of each
    # choice, of which one may be published.
    assert "6 runs of fixed settings and candidates, 0 of them recorded" in first
    count = len(Store(tiny / "results/runs").records())
    assert 8 <= count <= 10 and first.count("finished, train loss") == count
    table = (tiny / "out/table.md").read_text()
    assert (
        table.count("| published |") == 2 and table.count("| grid, at the edge |") == 2
    )
    assert (tiny / "out/grid.svg").exists() and (tiny / "out/about.json").exists()

    assert main(["tiny", "--out", "out"]) == 0
    again = capsys.readouterr().out
    assert "6 of them recorded; then up to 0 of what is chosen" in again
    assert "time left: about 0.0 hours" in again and "finished" not in again
    assert len(Store(tiny / "results/runs").records()) == count

    assert main(["report", "--out", "page.html"]) == 0
    assert "experiments, rerun" in (tiny / "page.html").read_text()


def test_the_plan_runs_nothing(tiny, capsys):
    assert main(["tiny", "--plan"]) == 0
    out = capsys.readouterr().out
    assert "time left: unknown, nothing like it is recorded" in out
    assert not (tiny / "results").exists()


def test_a_report_of_nothing(tiny, capsys):
    assert main(["tiny", "--report"]) == 1
    assert "nothing is recorded; run it without --report" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "there is no directory results/runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnist"], "unknown experiment 'mnist'; known experiments: "),
        (
            ["mnist-cnn", "--size", "big"],
            "full, published, small, got 'big'",
        ),
    ],
)
def test_wrong_names(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report"])
def test_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert "--runs DIR" in capsys.readouterr().out


_TINY = """
import sys
from scripts.reproduction import experiments
from scripts.reproduction.__main__ import main
from tests.demos.reproduction.test_reproduce_command import TINY
experiments.EXPERIMENTS["tiny"] = TINY
sys.exit(main(["tiny", *sys.argv[1:]]))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_keeps_what_is_finished(tiny, tmp_path, capsys):
    command = [sys.executable, "-c", _TINY]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if ": finished, train loss" in line:
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
        assert process.wait(60) == 130
    records = Store(tmp_path / "results/runs").records()
    assert 1 <= len(records) < 8
    assert main(["tiny", "--plan"]) == 0
    assert f"{len(records)} of them recorded" in capsys.readouterr().out
