"""The command line: requests, files, exit codes."""

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import pytest

from arsg_optax.demos import cli
from arsg_optax.demos.commands import compare as command
from arsg_optax.demos.commands.shared import read_options
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.report.summary import averaged, format_loss
from arsg_optax.demos.tasks import TASKS, Task, configuration, sweep
from arsg_optax.demos.tasks.records import Outcome, RunRecord, read
from arsg_optax.demos.training.optimizers import OPTIMIZERS

COMPARE = ("compare", "--task", "tiny")


@pytest.fixture
def tiny(tiny_task: Task, tmp_path: Path) -> Path:
    """Makes the tiny task known, and gives a directory for the results."""
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
        patch.setattr(configuration, "find_task", lambda name: task)
        assert cli.main(["compare", *arguments, "--out", str(directory)]) == 0
    return directory, printed.getvalue()


def test_files_and_table(results: tuple[Path, str]):
    directory, printed = results
    files = {file.name for file in directory.iterdir()}
    assert files == {"rsg.json", "adam.json", "sgd.json", "curves.png", "report.html"}
    assert (directory / "curves.png").read_bytes().startswith(b"\x89PNG")
    for text in ("rsg", "x: iterate", "y = x", "sgd: diverged in epoch 1", "Target"):
        assert text in printed
    for name in ("curves.png", "report.html"):
        assert str(directory / name) in printed


def test_records_can_be_read(results: tuple[Path, str]):
    found = {name: read(results[0] / f"{name}.json") for name in ("rsg", "adam", "sgd")}
    assert [len(record.epochs) for record in found.values()] == [3, 3, 1]
    assert found["sgd"].outcome == Outcome.DIVERGED
    assert [epoch.step for epoch in found["rsg"].epochs] == [6, 12, 18]
    rate = TASKS["digits-mlp"].settings["adam"].learning_rate
    assert found["adam"].config.learning_rate == rate
    assert all(e.test_loss_y == e.test_loss_x for e in found["adam"].epochs)
    assert all(e.test_loss_y != e.test_loss_x for e in found["rsg"].epochs)


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
    def stop(self, record, epoch):
        if (record.config.optimizer, len(record.epochs)) == ("rsg", 2):
            raise KeyboardInterrupt

    monkeypatch.setattr(command.RunProgress, "epoch_finished", stop)
    arguments = [*COMPARE, "--optimizers", "sgd,rsg,adam", "--out", str(tiny)]
    assert cli.main(arguments) == 130
    printed = capsys.readouterr()
    assert f"interrupted; the results so far are in {tiny}" in printed.err
    assert "rsg: interrupted after 2 epochs" in printed.out
    assert len(read(tiny / "sgd.json").epochs) == 3
    assert len(read(tiny / "rsg.json").epochs) == 2
    assert (tiny / "curves.png").stat().st_size > 1000
    assert "Interrupted" in (tiny / "report.html").read_text()


def test_interrupt_before_the_first_epoch_leaves_nothing(tiny: Path, monkeypatch):
    def stop(self, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.RunProgress, "started", stop)
    assert cli.main([*COMPARE, "--optimizers", "adam", "--out", str(tiny)]) == 130
    assert not tiny.exists()


def test_records_are_written_after_each_optimizer(tiny: Path, monkeypatch):
    seen = []

    def look(self, record):
        seen.append(len(list(tiny.glob("*.json"))))

    monkeypatch.setattr(command.RunProgress, "started", look)
    arguments = ["--optimizers", "sgd", "--optimizers=rsg", "--epochs", "1"]
    assert cli.main([*COMPARE, *arguments, "--out", str(tiny)]) == 0
    assert seen == [0, 1]


def test_seeds_are_averaged_and_kept_runs_can_be_drawn(tiny: Path, tmp_path, capsys):
    arguments = ["--optimizers", "sgd", "--epochs", "1", "--seeds", "2"]
    assert cli.main([*COMPARE, *arguments, "--out", str(tiny)]) == 0
    first, second = (read(tiny / f"{name}.json") for name in ("sgd", "sgd-1"))
    assert (first.config.seed, second.config.seed) == (0, 1)
    (mean,) = averaged([first, second])
    both = first.epochs[0].test_loss_x + second.epochs[0].test_loss_x
    assert mean.epochs[0].test_loss_x == pytest.approx(both / 2)
    table = capsys.readouterr().out
    drawn = tmp_path / "drawn"
    assert cli.main(["plot", str(tiny), "--out", str(drawn)]) == 0
    assert format_loss(both / 2) in table and format_loss(both / 2) in (
        capsys.readouterr().out
    )
    assert {p.name for p in drawn.iterdir()} == {"curves.png", "report.html"}
    assert cli.main(["plot", str(drawn)]) == 2
    assert "holds no record of a run" in capsys.readouterr().err


def test_a_sweep_keeps_what_it_found(tiny: Path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "candidates", lambda *_: [0.001, 0.01, 1e30])
    arguments = [*COMPARE, "--sweep", "--epochs", "1", "--out", str(tiny)]
    assert cli.main([*arguments, "--optimizers", "adam,rsg", "--seeds", "2"]) == 0
    rows = sweep.read_table((tiny / "step-sizes.csv").read_text())
    assert {row.optimizer for row in rows} == {"adam", "rsg"}
    assert {row.seeds for row in rows} == {2}
    assert (tiny / "step-sizes.png").stat().st_size > 1000
    best = min((row for row in rows if row.optimizer == "adam"), key=lambda r: r.loss)
    printed = " ".join(capsys.readouterr().out.split())
    assert f"adam {best.learning_rate:.4g} {best.loss:.4f}" in printed

    def stop(self, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.ShareProgress, "note", stop)
    assert cli.main([*arguments, "--optimizers", "adam,rsg"]) == 130
    rows = sweep.read_table((tiny / "step-sizes.csv").read_text())
    assert {row.optimizer for row in rows} == {"adam"}


def test_a_sweep_that_finds_nothing(tiny: Path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "MAX_EXTENSIONS", 0)
    monkeypatch.setattr(sweep, "candidates", lambda *_: [1e30, 1e35])
    arguments = ["--sweep", "--epochs", "1", "--optimizers", "sgd"]
    assert cli.main([*COMPARE, *arguments, "--out", str(tiny)]) == 1
    assert "all diverged" in capsys.readouterr().out
    assert [file.name for file in tiny.iterdir()] == ["step-sizes.csv"]


def test_a_kept_search_is_shown_beside_its_own_runs_alone():
    def shown(*configs: configuration.RunConfig) -> set[str]:
        records = [RunRecord(config.resolved()) for config in configs]
        return {row.optimizer for row in command._kept_rows(records)}

    usual = partial(configuration.RunConfig, task="python-transformer")
    names = "orsg", "schedule_free_adamw"
    assert shown(*(usual(optimizer=name, seed=1) for name in names)) == set(names)
    other = usual(optimizer="orsg", learning_rate=0.1)
    assert shown(other, usual(optimizer="adamw")) == {"adamw"}
    for change in ({"epochs": 3}, {"preset": "small"}, {"schedule": "linear"}):
        assert not shown(usual(optimizer="orsg", **change))
    # What was not searched has no part in the command.
    logreg = partial(configuration.RunConfig, task="mnist-logreg")
    assert shown(logreg(optimizer="arsg"), logreg(optimizer="orsg")) == {"orsg"}
    rows = [row for row in sweep.kept("mnist-logreg") if row.optimizer == "orsg"]
    expected = "arsg compare --task mnist-logreg --sweep --seeds 3 --optimizers orsg"
    assert sweep.sweep_command("mnist-logreg", rows) == expected


def test_nothing_finished(tiny: Path):
    arguments = [*COMPARE, "--optimizers", "sgd", "--learning-rate", "sgd=1e30"]
    assert cli.main([*arguments, "--out", str(tiny)]) == 1
    assert (tiny / "report.html").exists()


def test_default_directories_do_not_collide(tiny: Path, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert cli.main([*COMPARE, "--optimizers", "sgd", "--epochs", "1"]) == 0
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
        (
            ["--task", "digits-mlp", "--batch-size", "2000"],
            ["batch_size", "1437", "2000"],
        ),
        (["--sweep", "--learning-rate", "adamw=1"], ["--learning-rate", "--sweep"]),
        (["--seeds", "0"], ["seeds", "0"]),
        (["--learning-rate", "adam"], ["NAME=VALUE", "adam"]),
        (["--learning-rate", "adma=1"], ["adma"]),
        (["--learning-rate", "adamw=-1"], ["adamw", "positive", "-1"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--seed", "4294967295", "--seeds", "2"], ["seed", "4294967296"]),
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
    assert read(("adam=0.01", "arsg=2e-2", "sgd=1")) == {
        "adam": 0.01,
        "arsg": 0.02,
        "sgd": 1.0,
    }
    for wrong in ("adam", "=1", "adam=", "adam=fast"):
        with pytest.raises(UsageError, match="NAME=VALUE"):
            read((wrong,))
    with pytest.raises(UsageError, match="'adam' more than once"):
        read(("adam=1", "adam=2"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--optimizers", "a", "b", "--seed", "1", "--optimizers", "c"],
        ["--optimizers", "a,b,c", "--seed", "1"],
        ["--optimizers=a,b", "--seed=1", "--optimizers=c"],
    ],
)
def test_lists_mean_the_same_however_they_are_given(arguments: list[str]):
    options = read_options(command.Compare, "arsg compare", arguments)
    assert isinstance(options, command.Compare)
    assert (options.optimizers, options.seed) == (("a", "b", "c"), 1)


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("arsg_optax 0.")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("arguments", ["--help", "train --help"])
def test_help_that_nobody_reads_to_the_end(arguments: str):
    command = f"{sys.executable} -m arsg_optax.demos {arguments} | true"
    found = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert "Traceback" not in found.stderr and "BrokenPipe" not in found.stderr


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
        "extra = {'flax', 'tyro', 'rich', 'matplotlib', 'sklearn', 'pyarrow'}; "
        "sys.exit(bool(extra & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
