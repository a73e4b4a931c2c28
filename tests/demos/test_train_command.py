"""`arsg train`: help, files, exit codes, wrong options."""

import importlib.util
import signal
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from arsg_optax.demos import cli
from arsg_optax.demos.commands import train as command
from arsg_optax.demos.tasks import TASKS, Task
from arsg_optax.demos.tasks.records import read
from tests.demos.quiet import quiet_checkpoints

pytestmark = quiet_checkpoints


@pytest.fixture
def tiny(tiny_task: Task, tmp_path: Path) -> Path:
    """Makes the tiny task known as `digits-mlp`, and gives a directory."""
    return tmp_path / "run"


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_help_tells_a_tasks_protocol(task: Task, capsys):
    assert cli.main(["train", "--task", task.name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for preset, settings in task.presets.items():
        found = task.varied(preset)
        length = f"{found.epochs} epochs, batch size {found.batch_size}"
        assert f"preset {preset}: {length}" in text
        assert all(name in text for name in settings)
    for name in (
        "--optimizer",
        "--preset",
        "--dtype",
        "--resume",
        "--checkpoint-every",
    ):
        assert name in text


def test_help_without_a_task_tells_what_is_written(capsys):
    assert cli.main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "TensorBoard event files and checkpoints" in text
    assert all(name in text for name in TASKS)


def test_a_run_and_its_resumption(tiny: Path, monkeypatch, capsys):
    def stop(self, trainer, loss, rate):
        if trainer.total_steps >= 8:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(command.StepProgress, "steps_done", stop)
        assert cli.main(["train", "--out", str(tiny)]) == 130
    printed = capsys.readouterr()
    assert f"go on with: arsg train --resume {tiny}" in printed.err
    assert "tiny: bright rows; 3 epochs, batch size 32, seed 0" in printed.out
    assert cli.main(["train", "--resume", str(tiny)]) == 0
    printed = capsys.readouterr().out
    at_x = next(line for line in printed.splitlines() if line.startswith("at x"))
    assert cli.main(["train", "--evaluate", str(tiny)]) == 0
    assert at_x in capsys.readouterr().out
    assert "continuing after step" in printed
    assert "epoch 3: mean minibatch loss" in printed
    assert "at x, the iterate: train loss" in printed


def test_resume_takes_no_other_option(tiny: Path, capsys):
    assert cli.main(["train", "--resume", str(tiny), "--epochs", "9"]) == 2
    error = capsys.readouterr().err
    assert "--epochs cannot be given with --resume, got 9" in error
    assert cli.main(["train", "--extend", "3"]) == 2
    assert "--extend needs the run that is to go on" in capsys.readouterr().err


class FakeWandb(ModuleType):
    """Remembers what it is told."""

    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.started, self.steps, self.ended = [], [], []

    def init(self, **options):
        self.started.append(options)
        return self

    def log(self, numbers: dict[str, float], step: int):
        self.steps.append((step, set(numbers)))

    def finish(self, exit_code: int):
        self.ended.append(exit_code)


def test_several_seeds_and_weights_and_biases(tiny: Path, monkeypatch, capsys):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    arguments = ["--seeds", "2", "--seed", "3", "--epochs", "1", "--wandb", "project"]
    assert cli.main(["train", *arguments, "--out", str(tiny)]) == 0
    printed = capsys.readouterr().out
    assert "means over 2 seeds" in printed
    records = [read(tiny / f"seed-{seed}" / "record.json") for seed in (3, 4)]
    assert [record.config.seed for record in records] == [3, 4]
    assert records[0].epochs != records[1].epochs
    first, second = fake.started
    assert (first["project"], first["config"]["seed"]) == ("project", 3)
    assert first["id"] != second["id"] and fake.ended == [0, 0]
    assert cli.main(["plot", str(tiny), "--out", str(tiny / "drawn")]) == 0
    steps, names = fake.steps[-1]
    assert steps == 6 and {"epoch/test_loss_x", "epoch/seconds"} < names
    # Under the same id after an interruption.
    resumed = ["train", "--resume", str(tiny / "seed-3"), "--wandb", "project"]
    assert cli.main(resumed) == 0
    assert fake.started[-1]["id"] == first["id"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "seeds must be at least 1, got 0"),
        (["--wandb", "project"], "--wandb needs the package wandb: pip install wandb"),
        (["--wandb", "project", "--seeds", "2"], "--wandb needs the package wandb"),
    ],
)
def test_what_cannot_be_had(arguments, message, tiny: Path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code = cli.guarded("arsg", lambda: command.run([*arguments, "--out", str(tiny)]))
    assert code == 2 and not tiny.exists()
    assert message in capsys.readouterr().err


def test_divergence(tiny: Path, capsys):
    options = ["--optimizer", "sgd", "--learning-rate", "1e30", "--out", str(tiny)]
    assert cli.main(["train", *options]) == 1
    error = capsys.readouterr().err
    assert "stopped being finite in epoch 1" in error
    assert "try a smaller --learning-rate than 1e+30" in error


def test_options_come_from_a_file(tiny: Path, tmp_path: Path):
    file = tmp_path / "run.toml"
    text = 'optimizer = "adam"\nlearning_rate = 0.01\n[options]\nb1 = 0.5\n'
    file.write_text(text)
    arguments = ["--config", str(file), "--epochs", "1", "--optimizer.b2=0.9"]
    assert cli.main(["train", *arguments, "--out", str(tiny)]) == 0
    config = read(tiny / "record.json").config
    assert (config.optimizer, config.learning_rate, config.epochs) == ("adam", 0.01, 1)
    assert config.options == {"b1": 0.5, "b2": 0.9}
    again = tmp_path / "again"
    arguments = ["--config", str(tiny / "config.json"), "--out", str(again)]
    assert cli.main(["train", *arguments]) == 0
    assert read(again / "record.json").epochs == read(tiny / "record.json").epochs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"epoch": 3}', "unknown field of a configuration 'epoch'; known"),
        ('{"epochs": "3"}', "epochs must be int | None, got '3'"),
        ('{"seed": true}', "seed must be <class 'int'>, got True"),
        ("[" * 100_000, "holds no configuration of a run"),
        ("[1]", "must be a table of names, got [1]"),
        ('{"format": 2}', "its format is 2, this version reads 1"),
        ('{"options": {"b1": "x"}}', "options must be numbers, ramps or epochs"),
        ('{"options": {"b1": 1%s}}' % ("0" * 400), "options must be numbers, ramps"),
        ('{"options": {"b1": {"Ramp": {"start": "x", "end": 1}}}}', "options must be"),
        ('{"learning_rate": 1%s}' % ("0" * 400), "learning_rate must be float"),
        ('{"seed": 1%s}' % ("0" * 400), "seed must be <class 'int'>, got 1000"),
    ],
)
def test_a_file_with_something_else(text: str, message: str, tmp_path: Path, capsys):
    file = tmp_path / "run.json"
    file.write_text(text)
    assert cli.main(["train", "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error and str(file) in error


def test_a_large_whole_number_is_a_float(tiny: Path, tmp_path: Path):
    (tmp_path / "run.json").write_text('{"clip_norm": 3000000000, "epochs": 1}')
    config = str(tmp_path / "run.json")
    assert cli.main(["train", "--config", config, "--out", str(tiny)]) == 0


def test_an_empty_directory_is_not_left(tiny: Path, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--batch-size", "100000"]) == 2
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--optimizer", "adam", "--optimizer.b3", "1"],
            "adam has no hyper-parameter 'b3'; it has b1, b2, eps",
        ),
        (["--optimizer.b1", "x"], "--optimizer.b1 must be a number, got 'x'"),
        (["--task", "mnist"], "unknown task 'mnist'; known tasks: digits-mlp, mnist-"),
        (["--optimizer", "adma"], "unknown optimizer 'adma'; known optimizers: arsg"),
        (["--preset", "slow"], "preset must be one of those of digits-mlp: fast"),
        (["--dtype", "float16"], "dtype must be one of float32, bfloat16"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--epochs", "2147483648"], "epochs must be at most 2147483647, got"),
        (["--epochs", "2147483647"], "epochs must make at most 2147483647 steps"),
        (["--learning-rate", "1e300"], "must be positive and finite, got 1e+300"),
        (["--optimizer.b1", "5"], "arsg: b1 must be in [0, 1), got 5"),
        (["--optimizer", "adam", "--optimizer.mu-dtype", "3"], "adam: "),
        (["--task", "x" * 9999], f"unknown task '{'x' * 79}; known tasks"),
    ],
)
def test_wrong_options(arguments: list[str], message: str, tmp_path: Path, capsys):
    out = tmp_path / "run"
    assert cli.main(["train", *arguments, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_misspelled_option(capsys):
    assert cli.main(["train", "--optimiser", "adam"]) == 2


def test_missing_data_before_anything_is_made(tmp_path: Path, capsys, monkeypatch):
    out = tmp_path / "run"
    arguments = ["--task", "cifar10-resnet20", "--data-dir", str(tmp_path)]
    assert cli.main(["train", *arguments, "--out", str(out)]) == 1
    assert "uoft-cs/cifar10" in capsys.readouterr().err
    assert not (out / "config.json").exists()
