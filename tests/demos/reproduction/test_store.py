"""Records outlive kill -9 in the middle of a write; nobody runs a trial twice."""

import dataclasses
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.configuration import RunConfig, encode
from arsg_optax.demos.tasks.configuration_files import decode
from arsg_optax.demos.tasks.records import Epoch, RunRecord, read
from arsg_optax.demos.tasks.settings import AtEpoch, Ramp
from scripts.reproduction.store import Store

TRIAL = RunConfig(
    task="mnist-logreg",
    optimizer="swnts",
    preset="none",
    learning_rate=0.002,
    epochs=2,
    batch_size=256,
    options={"b1": 0.9, "distance": Ramp(0.9, 3.0), "switch_at": AtEpoch(11)},
    seed=3,
)
EPOCHS = (
    Epoch(234, 0.5, 0.4, 0.41, 0.42, 0.43, 0.9, 0.91),
    Epoch(468, math.nan, 0.1 + 0.2, 1e-9, math.inf, 0.2, 0.0, 1.0),
)
RECORD = RunRecord(TRIAL, "diverged", EPOCHS, 12.345, {"jax": "0.10"})


def test_a_trial_is_read_back():
    assert decode(encode(TRIAL)) == TRIAL
    assert decode(encode(TRIAL)).key() == TRIAL.key()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"learning_rate": 0.0020000001},
        {"options": {**TRIAL.options, "b1": 0.91}},
        {"examples": 1000},
        {"schedule": "cosine"},
        {"held_out": True},
        {"dtype": "bfloat16"},
    ],
)
def test_the_key_depends_on_everything(change):
    assert dataclasses.replace(TRIAL, **change).key() != TRIAL.key()


def test_the_key_does_not_depend_on_the_order_of_options():
    turned = dict(reversed(TRIAL.options.items()))
    assert dataclasses.replace(TRIAL, options=turned).key() == TRIAL.key()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate .* must be positive .*, got 0.0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"examples": -1}, "examples must be at least 1, got -1"),
        (
            {"schedule": "slow"},
            "schedule must be one of task, cosine, .*, wsd, got 'slow'",
        ),
        ({"seed": -1}, "seed must be"),
        ({"dtype": "float16"}, "dtype must be"),
    ],
)
def test_a_trial_out_of_range(change, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(TRIAL, **change).check()


def test_a_record_is_read_back(tmp_path):
    store = Store(tmp_path / "runs")
    assert store.find(TRIAL) is None and store.records() == []
    path = store.keep(RECORD)
    assert path.name == f"{TRIAL.key()}.json" and path.stat().st_size < 1500
    found = store.find(TRIAL)
    assert found is not None and len(store.records()) == 1
    assert found.config == TRIAL and found.outcome == "diverged"
    assert abs(found.seconds - RECORD.seconds) < 0.01
    assert found.epochs[0] == EPOCHS[0]
    for kept, was in zip(found.epochs[1], EPOCHS[1], strict=True):
        assert (
            math.isnan(kept) if not math.isfinite(was) else kept == float(f"{was:.9g}")
        )


def test_a_damaged_record_is_named(tmp_path):
    store = Store(tmp_path)
    path = store.keep(RECORD)
    path.write_text(path.read_text()[:100])
    with pytest.raises(UsageError, match=f"{path.name} holds no record of a run"):
        store.find(TRIAL)


@pytest.mark.parametrize("number", range(0, 900, 37))
def test_a_flipped_bit_is_noticed(number, tmp_path):
    path = Store(tmp_path).keep(RECORD)
    content = bytearray(path.read_bytes())
    # White space between tokens may change; what it separates may not.
    while chr(content[number]).isspace():
        number += 1
    content[number] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match="holds no record of a run"):
        read(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seconds", value) for value in (-1.0, "1", None, True, math.nan)),
        *(("machine", value) for value in (None, [], "cpu")),
        *(("epochs", [row]) for row in ([234], 3, "12345678", [1] * 9)),
        *(("epochs", [[1, *[0.5] * 6, value]]) for value in (1.5, -0.1, "0.5", True)),
        *(("epochs", [[1, value, *[0.5] * 6]]) for value in (math.inf, 10**400, [])),
        *(("epochs", [[value, *[0.5] * 7]]) for value in (0, 1.5, None)),
        ("trial", {**encode(TRIAL), "batch_size": 0}),
        ("outcome", "won"),
    ],
)
def test_impossible_values_are_no_record(name, value, tmp_path):
    """Of the first format, which had no checksum."""
    path = Store(tmp_path).keep(RECORD)
    held = json.loads(path.read_text())
    del held["format"], held["checksum"]
    path.write_text(json.dumps(held))
    assert read(path) == RECORD or math.isnan(RECORD.epochs[1].train_loss)
    path.write_text(json.dumps({**held, name: value}))
    with pytest.raises(UsageError, match="holds no record of a run"):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "3", "{}", '"format"', "[" * 100_000),
        '{"format": 9, "checksum": ""}',
    ],
)
def test_what_is_no_record_is_said_so(text, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="holds no record of a run"):
        read(path)


def test_a_record_is_of_the_trial_that_its_name_says(tmp_path):
    store = Store(tmp_path)
    other = dataclasses.replace(TRIAL, seed=4)
    store.keep(RECORD).rename(tmp_path / f"{other.key()}.json")
    with pytest.raises(UsageError, match="holds the record of another run"):
        store.find(other)


@pytest.mark.parametrize(
    ("outcome", "epochs", "message"),
    [
        ("finished", EPOCHS[:1], "finished after 1 of 2 epochs"),
        ("diverged", EPOCHS * 2, "4 of 2 epochs"),
    ],
)
def test_a_record_with_other_epochs_than_its_trials(outcome, epochs, message, tmp_path):
    store = Store(tmp_path)
    store.keep(dataclasses.replace(RECORD, outcome=outcome, epochs=epochs))
    with pytest.raises(UsageError, match=message):
        store.find(TRIAL)


def test_a_field_younger_than_a_record_has_its_default():
    held = encode(TRIAL)
    for name in ("l2", "steps", "keep"):
        del held[name]
    assert decode(held) == TRIAL
    # Its key is that of the trial before there was the field.
    assert TRIAL.key() == "0221087d48be5afeded8"
    assert dataclasses.replace(TRIAL, l2=0.0).key() != TRIAL.key()


def test_a_claim_is_for_one(tmp_path):
    store, other = Store(tmp_path), Store(tmp_path)
    with store.claim(TRIAL) as ours:
        assert ours
        with other.claim(TRIAL) as theirs:
            assert not theirs
        with other.claim(dataclasses.replace(TRIAL, seed=4)) as another:
            assert another
        store.keep(RECORD)
    with other.claim(TRIAL) as theirs:
        assert not theirs  # it is done
    assert len(store.records()) == 1


def _work(directory: Path, count: int, done: Path) -> None:
    store = Store(directory)
    for seed in range(count):
        trial = dataclasses.replace(TRIAL, seed=seed)
        with store.claim(trial) as ours:
            if ours:
                with done.open("a") as file:
                    file.write(f"{seed}\n")
                store.keep(dataclasses.replace(RECORD, config=trial))


def test_two_processes_run_nothing_twice(tmp_path):
    context = multiprocessing.get_context("spawn")
    arguments = tmp_path / "runs", 40, tmp_path / "done"
    workers = [context.Process(target=_work, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    done = sorted(map(int, arguments[2].read_text().split()))
    assert done == list(range(40))
    assert len(Store(arguments[0]).records()) == 40


# Between the first byte of the sibling file and its renaming.
_KILLED = """
import os, signal, sys
from pathlib import Path
from scripts.reproduction.store import Store
from tests.demos.reproduction.test_store import RECORD
def killed(*args):
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = killed
store = Store(Path(sys.argv[1]))
with store.claim(RECORD.config) as ours:
    assert ours
    store.keep(RECORD)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_kill_in_the_middle_of_a_write_loses_the_run_only(tmp_path):
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(_KILLED), tmp_path])
    assert run.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert store.find(RECORD.config) is None and store.records() == []
    with store.claim(RECORD.config) as ours:
        assert ours
        store.keep(RECORD)
    assert len(store.records()) == 1
