"""The command line: requests, files, exit codes."""

import contextlib
import csv
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from arsg_optax.demos import cli
from arsg_optax.demos.commands import compare as command
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import TASKS, Task
from arsg_optax.demos.tasks.results import Row
from arsg_optax.demos.training.optimizers import OPTIMIZERS


@pytest.fixture
def tiny(task: Task, monkeypatch, tmp_path: Path) -> Path:
    """Makes the tiny task known, and gives a directory for the results."""
    monkeypatch.setattr(command, "find_task", lambda name: task)
    return tmp_path / "results"


@pytest.fixture(scope="module")
def results(task: Task, tmp_path_factory) -> tuple[Path, str]:
    """One comparison for several tests: its directory, and what it printed."""
    directory = tmp_path_factory.mktemp("results")
    arguments = ["--optimizers", "rsg,adam", "sgd", "--learning-rate", "sgd=1e30"]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as printed,
        jax.numpy_dtype_promotion("standard"),
    ):
        patch.setattr(command, "find_task", lambda name: task)
        assert cli.main(["compare", *arguments, "--out", str(directory)]) == 0
    return directory, printed.getvalue()


def test_files_and_table(results: tuple[Path, str]):
    directory, printed = results
    files = {file.name for file in directory.iterdir()}
    assert files == {"metrics.csv", "curves.png", "report.html"}
    assert (directory / "curves.png").read_bytes().startswith(b"\x89PNG")
    for text in ("rsg", "x: iterate", "y = x", "sgd: diverged in epoch 1", "Target"):
        assert text in printed
    for file in files:
        assert str(directory / file) in printed


def test_columns_of_the_metrics(results: tuple[Path, str]):
    with (results[0] / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(Row._fields)
    found = [(line["optimizer"], line["epoch"], line["step"]) for line in lines]
    finished = [
        (name, str(epoch), str(6 * epoch))
        for name in ("rsg", "adam")
        for epoch in (1, 2, 3)
    ]
    assert found == [*finished, ("sgd", "1", "6")]
    assert [line["own_point"] for line in lines] == ["iterate"] * 3 + ["held"] * 4
    assert all(line["test_loss_y"] == line["test_loss_x"] for line in lines[3:])
    assert all(line["test_loss_y"] != line["test_loss_x"] for line in lines[:3])
    settings = TASKS["digits-mlp"].settings
    assert float(lines[3]["learning_rate"]) == settings["adam"].learning_rate


def test_report_needs_nothing_else(results: tuple[Path, str]):
    page = (results[0] / "report.html").read_text()
    sources = re.findall(r'(?:src|href|data|srcset)\s*=\s*"([^"]*)"', page)
    assert sources and all(source.startswith("data:") for source in sources)
    for loading in ("http:", "https:", "<script", "<link", "@import", "url("):
        assert loading not in page
    for text in ("rsg", "x: iterate", "diverged in epoch 1", "bright rows"):
        assert text in page
    for package in ("arsg_optax", "jax", "optax", "flax"):
        assert package in page
    assert "arsg compare --optimizers rsg,adam sgd --learning-rate sgd=1e30" in page


def test_interrupt_leaves_readable_files(tiny: Path, monkeypatch, capsys):
    def stop(self, run, row):
        if (run.optimizer, row.epoch) == ("rsg", 2):
            raise KeyboardInterrupt

    monkeypatch.setattr(command.LiveProgress, "epoch_finished", stop)
    arguments = ["compare", "--optimizers", "sgd,rsg,adam", "--out", str(tiny)]
    assert cli.main(arguments) == 130
    printed = capsys.readouterr()
    assert f"interrupted; the results so far are in {tiny}" in printed.err
    assert "rsg: interrupted after 2 epochs" in printed.out
    lines = (tiny / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 + 2
    assert (tiny / "curves.png").stat().st_size > 1000
    assert "Interrupted" in (tiny / "report.html").read_text()


def test_interrupt_before_the_first_epoch(tiny: Path, monkeypatch):
    def stop(self, run):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.LiveProgress, "run_started", stop)
    assert cli.main(["compare", "--optimizers", "adam", "--out", str(tiny)]) == 130
    assert len((tiny / "metrics.csv").read_text().splitlines()) == 1
    assert (tiny / "report.html").exists()


def test_metrics_are_written_after_each_optimizer(tiny: Path, monkeypatch):
    seen = []

    def look(self, run):
        file = tiny / "metrics.csv"
        seen.append(len(file.read_text().splitlines()) if file.exists() else 0)

    monkeypatch.setattr(command.LiveProgress, "run_started", look)
    assert cli.main(["compare", "--optimizers", "sgd,rsg", "--out", str(tiny)]) == 0
    assert seen == [0, 1 + 3]


def test_nothing_finished(tiny: Path):
    arguments = ["compare", "--optimizers", "sgd", "--learning-rate", "sgd=1e30"]
    assert cli.main([*arguments, "--out", str(tiny)]) == 1
    assert (tiny / "report.html").exists()


def test_default_directories_do_not_collide(tiny: Path, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert cli.main(["compare", "--optimizers", "sgd", "--epochs", "1"]) == 0
    runs = list((tmp_path / "runs").iterdir())
    assert len(runs) == 2
    assert all(re.fullmatch(r"\d{8}-\d{6}-tiny(-2)?", run.name) for run in runs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "imagenet"], ["imagenet", "digits-mlp", "mnist-logreg"]),
        (["--optimizers", "adma"], ["adma", *OPTIMIZERS]),
        (["--epochs", "-1"], ["epochs", "-1"]),
        (["--epochs", "many"], ["many"]),
        (["--batch-size", "0"], ["batch_size", "0"]),
        (["--batch-size", "2000"], ["batch_size", "1437", "2000"]),
        (["--learning-rate", "adam"], ["NAME=VALUE", "adam"]),
        (["--learning-rate", "adma=1"], ["adma"]),
        (["--learning-rate", "adam=-1"], ["adam", "positive", "-1"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--colour", "red"], ["--colour"]),
    ],
)
def test_wrong_requests_end_with_code_2(arguments, words, tmp_path: Path, capsys):
    out = tmp_path / "results"
    assert cli.main(["compare", *arguments, "--out", str(out)]) == 2
    printed = capsys.readouterr()
    message = printed.err + printed.out
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    assert not out.exists()


def test_directory_that_cannot_be_made(tmp_path: Path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["compare", "--out", str(tmp_path / "file" / "results")]) == 2
    assert "--out" in capsys.readouterr().err


def test_directory_that_refuses_files(tmp_path: Path, capsys, monkeypatch):
    def refuse(dir):
        raise PermissionError(f"not in {dir}")

    monkeypatch.setattr("arsg_optax.demos.commands.shared.TemporaryFile", refuse)
    assert cli.main(["compare", "--out", str(tmp_path)]) == 2
    assert "--out" in capsys.readouterr().err


def test_missing_data(tmp_path: Path, capsys):
    arguments = ["compare", "--task", "mnist-logreg", "--data-dir", str(tmp_path)]
    assert cli.main(arguments) == 1
    message = capsys.readouterr().err
    assert "ylecun/mnist" in message and "ARSG_DATA_DIR" in message
    assert len(message.splitlines()) == 1


def test_help_and_unknown_commands(capsys):
    assert cli.main(["--help"]) == 0
    assert "compare" in capsys.readouterr().out
    assert cli.main([]) == 2
    assert cli.main(["tain"]) == 2
    assert (
        "unknown command 'tain'; known commands: train, compare"
        in capsys.readouterr().err
    )
    assert cli.main(["compare", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--task", "--optimizers", "--epochs", "--batch-size", "--out"):
        assert option in text


def test_learning_rates_are_read():
    read = command.parse_learning_rates
    assert read(("adam=0.01", "arsg=2e-2,sgd=1")) == {
        "adam": 0.01,
        "arsg": 0.02,
        "sgd": 1.0,
    }
    for wrong in ("adam", "=1", "adam=", "adam=fast"):
        with pytest.raises(UsageError, match="NAME=VALUE"):
            read((wrong,))
    with pytest.raises(UsageError, match="'adam' more than once"):
        read(("adam=1", "adam=2"))


def test_missing_extra_is_one_line(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in ("flax", "tyro") else found(name, *rest),
    )
    assert cli.main(["compare"]) == 1
    message = capsys.readouterr().err
    assert message == (
        "arsg: the demos need flax, tyro, not installed here: "
        'pip install "arsg_optax[demos]"\n'
    )


def test_entry_point_imports_only_the_standard_library():
    """In a fresh process, because this one has imported everything."""
    check = (
        "import sys; before = set(sys.modules); import arsg_optax.demos.cli; "
        "extra = {'flax', 'tyro', 'rich', 'matplotlib', 'sklearn', 'datasets'}; "
        "sys.exit(bool(extra & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
