"""`arsg tune`: files, the line to run next, equality with `arsg train`, errors."""

import csv
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from arsg_optax.demos import cli
from arsg_optax.demos.commands import tune as command
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.models import LSTMLanguageModel
from arsg_optax.demos.tasks import Task, find_task
from arsg_optax.demos.tasks.candidates import candidates
from arsg_optax.demos.tasks.tune import probe_task, search_task
from arsg_optax.demos.text import TextSet
from arsg_optax.demos.training.optimizers import OPTIMIZERS

RATES = [0.01, 0.1]


@pytest.fixture
def tiny(tiny_task: Task, tmp_path: Path) -> Path:
    """Makes the tiny task known as `digits-mlp`, and gives a directory."""
    return tmp_path / "run"


def _trained(task: Task, data, optimizer: str, rate: float, seed: int = 0):
    setup = task.setup(data)
    settings = replace(task.settings[optimizer], learning_rate=rate)
    trainer = task.trainer(setup, OPTIMIZERS[optimizer], settings, seed=seed)
    losses = []
    for epoch in range(task.epochs):
        if epoch:
            trainer.next_epoch()
        while trainer.step < trainer.steps_per_epoch:
            losses.append(trainer.run_chunk())
    return np.concatenate(losses)


@pytest.mark.parametrize(
    ("optimizer", "seeds"), [("arsg", 2), ("ranger", 1), ("schedule_free_adamw", 1)]
)
def test_curves_are_those_of_the_trainer(
    optimizer: str, seeds: int, task: Task, dataset: Dataset
):
    setup, settings = task.setup(dataset), task.settings[optimizer]
    steps = task.epochs * setup.sources.train.steps_per_epoch
    found = search_task(
        task, setup, OPTIMIZERS[optimizer], settings, RATES, steps=steps, seeds=seeds
    )
    curves = [_trained(task, dataset, optimizer, RATES[1], s) for s in range(seeds)]
    np.testing.assert_allclose(found.losses[1], np.mean(curves, axis=0), rtol=1e-4)


def test_state_and_dropout_of_text_are_those_of_the_trainer():
    random = np.random.default_rng(0)
    tokens = random.integers(12, size=900).astype(np.int32)
    words = tuple(map(str, range(12)))
    text = TextSet(tokens, tokens[:400], tokens[:400], words)
    task = replace(
        find_task("wikitext2-lstm"),
        batch_size=4,
        epochs=2,
        make_model=partial(LSTMLanguageModel, features=8),
    )
    setup = task.setup(text)
    steps = task.epochs * setup.sources.train.steps_per_epoch
    settings = task.settings["arsg"]
    found = search_task(task, setup, OPTIMIZERS["arsg"], settings, [0.01], steps=steps)
    expected = _trained(task, text, "arsg", 0.01)
    np.testing.assert_allclose(found.losses[0], expected, rtol=1e-4)


def test_files_table_and_the_line_to_run_next(tiny: Path, capsys):
    rates = ["0.001", "0.03", "1e30"]
    arguments = ["--out", str(tiny), "--share", "0.5", "--refine"]
    assert cli.main(["tune", "--learning-rates", *rates, *arguments]) == 0
    printed = capsys.readouterr().out
    with (tiny / "candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert rows[-1]["loss"] == "inf"
    (best,) = (row for row in rows if row["chosen"] == "yes")
    rate = f"{float(best['learning_rate']):.4g}"
    following = "next: arsg train --task digits-mlp --optimizer arsg --learning-rate "
    assert following + rate in printed
    assert "9 steps each, batch size 32" in printed
    assert re.search(rf"{re.escape(rate)} .* chosen", printed)
    assert (tiny / "learning-rates.png").read_bytes()[:4] == b"\x89PNG"


def test_default_candidates_and_other_options_go_along(tiny: Path, capsys):
    options = ["--epochs", "1", "--batch-size", "40", "--examples", "120"]
    assert cli.main(["tune", "--optimizer", "sgd", "--out", str(tiny), *options]) == 0
    printed = capsys.readouterr().out
    assert "9 step sizes of sgd, 1 steps each, batch size 40" in printed
    last = next(line for line in printed.splitlines() if line.startswith("next"))
    assert last.endswith(" ".join(options))


def test_every_candidate_diverged(tiny: Path, capsys):
    arguments = ["--learning-rates", "1e30", "1e31", "--out", str(tiny), "--share", "1"]
    assert cli.main(["tune", *arguments]) == 1
    assert "every candidate diverged" in capsys.readouterr().err
    assert (tiny / "learning-rates.png").exists()


def test_suggestion_without_a_search(tiny: Path, capsys):
    assert cli.main(["tune", "--suggest", "--epochs", "60"]) == 0
    printed = capsys.readouterr().out
    assert "limited by" in printed
    assert "it would diverge" in printed
    rate = re.search(r"^learning rate (\S+),", printed, re.MULTILINE)
    assert rate is not None
    last = printed.splitlines()[-1]
    assert last.startswith("next: arsg train --task digits-mlp --optimizer arsg ")
    assert float(last.split("--learning-rate ")[1].split()[0]) == pytest.approx(
        float(rate[1]), rel=0.01
    )
    assert cli.main(["tune", "--suggest", "--optimizer", "adam"]) == 2
    assert "must be rsg or arsg to be probed, got 'adam'" in capsys.readouterr().err
    assert cli.main(["tune", "--suggest", "--epochs", "1"]) == 2
    assert "share must give at least 14 gradients" in capsys.readouterr().err
    assert cli.main(["tune", "--suggest", "--refine"]) == 2
    assert "--refine cannot be given with --suggest" in capsys.readouterr().err
    assert not tiny.exists()


def test_on_digits_the_suggestion_is_near_the_best_of_a_grid():
    """Seed 1, which no constant of the formulas was looked at with."""
    optimizer = "arsg"
    task = find_task("digits-mlp")
    setup, settings = task.setup(task.data(None)), task.settings[optimizer]
    found = probe_task(task, setup, OPTIMIZERS[optimizer], settings, seed=1)
    steps = task.epochs * setup.sources.train.steps_per_epoch
    assert found.gradients <= 0.05 * steps
    rates = candidates(optimizer)
    searched = search_task(
        task, setup, OPTIMIZERS[optimizer], settings, rates, steps=steps, first_seed=1
    )
    assert 1 / 3 <= found.learning_rate / searched.learning_rate <= 3


def test_interruption(tiny: Path, monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "search_task", interrupt)
    assert cli.main(["tune", "--out", str(tiny)]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning-rates", "-1"], "learning_rates must be positive"),
        (["--share", "2"], "share must be above 0 and at most 1, got 2"),
        (["--margin", "-1"], "margin must be at least 0, got -1"),
        (["--seeds", "0"], "seeds must be at least 1, got 0"),
        (["--optimizer", "nope"], "nope"),
        (["--preset", "nope"], "preset must be one of"),
        (["--epochs", "0"], "epochs must be at least 1"),
    ],
)
def test_wrong_requests(arguments, message, tiny: Path, capsys):
    assert cli.main(["tune", "--out", str(tiny), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not tiny.exists()


def test_streams_are_refused(capsys):
    assert cli.main(["tune", "--task", "imagenet-resnet50"]) == 2
    assert "stream" in capsys.readouterr().err
