"""Whole runs: files, resuming, interruption, divergence, wrong requests."""

import json
import shutil
import struct
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorboardX.proto import event_pb2

from arsg_optax.demos.byte_text import ByteSet
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import Task
from arsg_optax.demos.tasks.callbacks import Log, TensorBoard, read_log
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.material import Material
from arsg_optax.demos.tasks.records import Outcome, RunRecord, read
from arsg_optax.demos.tasks.run import evaluate, resume, run
from arsg_optax.demos.tasks.settings import Clock
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from tests.demos.quiet import quiet_checkpoints
from tests.demos.training.runs import Recorder, assert_same, interrupted, train

pytestmark = quiet_checkpoints


def test_files(tmp_path: Path):
    run = tmp_path / "run"
    logs = (Log(run), TensorBoard(run / "tensorboard"))
    options = {"learning_rate": 0.5, "keep": 2, "checkpoint_every": 6}
    result = train("tiny", "rsg", out=run, callbacks=logs, **options)
    assert result.outcome == Outcome.FINISHED
    assert [epoch.step for epoch in result.epochs] == [6, 12, 18]
    lines = read_log(run / "metrics.jsonl")
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [1, 2, 3]
    assert epochs[2]["test_loss_x"] == result.epochs[2].test_loss_x
    steps = [line for line in lines if line["event"] == "steps"]
    assert [line["total_step"] for line in steps][-1] == 18
    assert all(line["steps_per_second"] > 0 for line in steps)
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    held = json.loads((run / "config.json").read_text())
    assert (held["optimizer"], held["learning_rate"]) == ("rsg", 0.5)
    found = read(run / "record.json")
    assert (found.config, found.outcome) == (result.config, Outcome.FINISHED)
    kept = {p.name for p in (run / "checkpoints").iterdir()}
    assert kept == {"12", "18"}


def test_checkpoints_are_saved_by_time(tmp_path: Path):
    train("tiny", out=tmp_path, save_seconds=1000.0)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"18"}


def test_nothing_is_kept_without_a_directory(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(RunConfig(task="tiny", epochs=1)).outcome == Outcome.FINISHED
    assert not list(tmp_path.iterdir())


def test_the_mean_of_the_minibatch_losses(tmp_path: Path):
    log = Log(tmp_path)
    result = train(
        "tiny", "sgd", out=tmp_path, callbacks=(log,), epochs=1, checkpoint_every=1
    )
    lines = read_log(tmp_path / "metrics.jsonl")
    losses = [line["loss"] for line in lines if line["event"] == "steps"]
    assert len(losses) == 6
    assert result.epochs[0].train_loss == pytest.approx(np.mean(losses), rel=1e-12)


def test_a_broken_line_of_the_log_loses_no_other(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    whole = '{"event": "steps", "total_step": 1}\n'
    broken = b'[1]\n{"event"\n{"total_step": "2"}\n{"event": "\xff\n'
    path.write_bytes(whole.encode() + broken + whole.encode())
    assert [line["total_step"] for line in read_log(path)] == [1, 1]


def test_a_finished_run_is_left_alone(tmp_path: Path):
    whole = train("tiny", out=tmp_path)
    before = (tmp_path / "record.json").read_text()
    assert_same(resume(tmp_path), whole)
    assert (tmp_path / "record.json").read_text() == before


def test_without_a_checkpoint_it_starts_anew(tmp_path: Path):
    whole = train("tiny", out=tmp_path / "whole", epochs=1)
    (tmp_path / "new").mkdir()
    config = (tmp_path / "whole" / "config.json").read_text()
    (tmp_path / "new" / "config.json").write_text(config)
    observer = Recorder()
    assert_same(resume(tmp_path / "new", observer), whole)
    assert "starting from the beginning" in observer.notes[0]


def test_a_limit_of_steps_ends_with_an_evaluation(tmp_path: Path):
    result = train("tiny", out=tmp_path, steps=8)
    assert [row.step for row in result.epochs] == [6, 8]
    assert result.outcome == Outcome.FINISHED
    assert_same(resume(tmp_path), result)


def test_divergence_ends_the_run(tmp_path: Path):
    result = train("tiny", "sgd", out=tmp_path, learning_rate=1e30)
    assert result.outcome == Outcome.DIVERGED
    assert np.isnan(read(tmp_path / "record.json").epochs[-1].train_loss)


def test_the_result_can_be_used(task: Task, dataset: Dataset, tmp_path: Path):
    result = train("tiny", out=tmp_path, epochs=2)
    trainer = result.trainer
    params, model_state = trainer.evaluator.own_point(trainer.state)
    scores = task.setup(dataset).problem.forward(
        params, model_state, dataset.test.images
    )
    right = np.mean(np.argmax(scores, -1) == dataset.test.labels)
    assert right == pytest.approx(result.epochs[-1].test_accuracy_x, abs=1e-6)


def test_examples_and_preset(tmp_path: Path):
    result = train("tiny", out=tmp_path, examples=96, epochs=1)
    assert result.epochs[0].step == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task": "tiny", "optimizer": "adma"},
            "unknown optimizer 'adma'; known",
        ),
        (
            {"task": "tiny", "preset": "fine"},
            "preset must be one of .*: fast; got",
        ),
        (
            {"task": "tiny", "dtype": "float16"},
            "one of float32, bfloat16, got 'flo",
        ),
        ({"task": "tiny", "epochs": 0}, "epochs must be at least 1, got 0"),
        ({"task": "tiny", "steps": 0}, "steps must be at least 1, got 0"),
        ({"task": "tiny", "keep": 0}, "keep must be at least 1, got 0"),
        ({"task": "tiny", "workers": -1}, "workers must be at least 0, got -1"),
        ({"task": "tiny", "seed": -1}, "seed must be at least 0.*got -1"),
        ({"task": "tiny", "learning_rate": 0.0}, "must be positive and finite, got 0"),
        ({"task": "tiny", "batch_size": 201}, "at most the 200 training examples"),
        ({"task": "tiny", "examples": 31}, "at most the 31 training examples"),
        (
            {"task": "tiny", "optimizer": "adarem_s"},
            "no step size for 'adarem_s': giv",
        ),
        (
            {"task": "tiny", "optimizer": "adarem_s", "learning_rate": 0.1},
            "'adarem_s' needs weights of 4 axes, and tiny has none",
        ),
    ],
)
def test_wrong_requests(options: dict, message: str, tmp_path: Path):
    with pytest.raises(UsageError, match=message):
        train(**options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_directory_with_a_run_is_not_overwritten(tmp_path: Path):
    train("tiny", out=tmp_path, epochs=1)
    with pytest.raises(UsageError, match="out must be a new directory"):
        train("tiny", out=tmp_path, epochs=1)


def test_resume_needs_a_run(tmp_path: Path):
    with pytest.raises(UsageError, match=r"resume must name .* with config\.json"):
        resume(tmp_path)


def test_what_was_begun_with_other_options_does_not_go_on(tmp_path: Path):
    whole = train("tiny", out=tmp_path / "whole", seed=1)
    cut = interrupted(tmp_path / "cut", 7, seed=1)
    assert cut.outcome == Outcome.INTERRUPTED
    path = tmp_path / "cut" / "config.json"
    kept = path.read_text()
    for name, value, message in (
        ("seed", 2, "seed 1 and now 2"),
        ("dtype", "bfloat16", "dtype float32 and now bfloat16"),
        ("learning_rate", 0.5, "learning_rate 0.002 and now 0.5"),
        ("epochs", 2, "epochs 3 and now 2"),
        ("epochs", 4, "epochs 3 and now 4"),
    ):
        path.write_text(json.dumps({**json.loads(kept), name: value}))
        with pytest.raises(UsageError, match=f"{message}; put back the first"):
            resume(tmp_path / "cut")
    # What changes no number may be changed.
    path.write_text(json.dumps({**json.loads(kept), "keep": 1}))
    assert_same(resume(tmp_path / "cut"), whole)


def test_bfloat16_computes_in_it_and_stores_float32(tmp_path: Path):
    result = train("tiny", out=tmp_path, dtype="bfloat16", epochs=2)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(result.trainer.state.held)}
    assert dtypes == {np.dtype(np.float32)}
    assert result.epochs[1].train_loss < result.epochs[0].train_loss


def test_times_of_the_protocol_shrink(task: Task, dataset: Dataset):
    short = replace(task, epochs=30).resized(3, None)
    boost = short.settings["arsgb"].keywords(short.clock(6))["boost_at"]
    assert boost == round(7 / 30 * 18)


def test_a_run_can_be_extended(tmp_path: Path):
    train("tiny", "sgd", out=tmp_path / "run", epochs=2)
    longer = resume(tmp_path / "run", extend=1)
    assert [epoch.step for epoch in longer.epochs] == [6, 12, 18]
    assert_same(longer, train("tiny", "sgd", out=tmp_path / "whole", epochs=3))
    assert_same(resume(tmp_path / "run"), longer)
    with pytest.raises(UsageError, match="extend must be at least 1"):
        resume(tmp_path / "run", extend=-1)


def test_an_extension_that_was_killed_is_done_by_the_same_command(tmp_path: Path):
    train("tiny", "sgd", out=tmp_path, epochs=1)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "epochs": 2}))
    assert [epoch.step for epoch in resume(tmp_path, extend=1).epochs] == [6, 12]


def test_other_data_do_not_go_on():
    task: Any = None
    text = ByteSet(np.zeros(9, np.uint8), np.ones(9, np.uint8), "library of Python 3")
    material = Material(task, text, task)
    material.check_goes_on({"device": "cpu"})  # Of a record that does not say.
    material.check_goes_on(material.facts())
    with pytest.raises(UsageError, match="other data: text was 'a' and is 'library of"):
        material.check_goes_on({**material.facts(), "text": "a"})


def test_a_clock_that_stands_still(tmp_path: Path, monkeypatch):
    whole = train("tiny", epochs=1, out=tmp_path / "whole")
    monkeypatch.setattr(time, "perf_counter", lambda: 7.0)
    log = Log(tmp_path / "coarse")
    coarse = train("tiny", epochs=1, out=tmp_path / "coarse", callbacks=(log,))
    assert_same(coarse, whole)


def _events(file: Path) -> list[Any]:
    """Of an event file: lengths, checksums and messages in turn."""
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(event_pb2.Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def test_tensorboard_outlives_a_clock_that_is_set_back(tmp_path: Path, monkeypatch):
    board = TensorBoard(tmp_path)
    record = RunRecord(RunConfig(task="tiny"))
    record.trainer = SimpleNamespace(total_steps=12)
    board.started(record)
    monkeypatch.setattr(time, "time", lambda: 1e6)
    for step in range(13, 60):
        board.steps_done(SimpleNamespace(total_steps=step), 0.5, float("nan"))
    board.finished(record)
    (file,) = tmp_path.iterdir()
    version, start, *steps = _events(file)
    assert version.file_version and start.session_log.status == 1 and start.step == 13
    assert [each.step for each in steps] == list(range(13, 60))
    value = steps[-1].summary.value[0]
    assert (value.tag, value.simple_value) == ("steps/loss", 0.5)


def test_a_full_disk_costs_tensorboard_its_numbers_only(tmp_path: Path):
    board = TensorBoard(tmp_path)
    record = RunRecord(RunConfig(task="tiny"))
    board.started(record)

    def refuse(event):
        raise OSError(28, "No space left on device")

    board._events.write_event = refuse
    for step in range(30):
        board.steps_done(SimpleNamespace(total_steps=step), 0.5, 1.0)
    board.finished(record)


def test_a_checkpoint_can_be_evaluated(tmp_path: Path):
    result = train("tiny", out=tmp_path, epochs=2)
    found = evaluate(tmp_path)
    assert found[2:] == result.epochs[-1][2:]
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(UsageError, match="has none yet"):
        evaluate(tmp_path)


def test_an_evaluation_leaves_alone_what_is_being_written(tmp_path: Path):
    train("tiny", out=tmp_path, epochs=1)
    written = tmp_path / "checkpoints" / "12.orbax-checkpoint-tmp"
    written.mkdir()
    evaluate(tmp_path)
    assert written.exists()
    resume(tmp_path)
    assert not written.exists()


def test_two_batches_make_an_update():
    one = RunConfig(task="tiny", optimizer="sgd", epochs=1, accumulate=2)
    record = run(one)
    steps = optax.tree_utils.tree_get(record.trainer.state.opt_state, "gradient_step")
    assert (record.epochs[-1].step, int(steps)) == (6, 3)
    with pytest.raises(UsageError, match="accumulate must be 1 with ranger, got 2"):
        run(replace(one, optimizer="ranger"))


def test_decay_and_clipping_reach_the_optimizer():
    plain = RunConfig(task="tiny", optimizer="adamw", learning_rate=1.0)

    def update(**changes) -> float:
        config = replace(plain, **changes)
        optimizer = OPTIMIZERS[config.optimizer]
        settings, task = config.chosen_settings(), config.chosen_task()
        transform = task.transform(optimizer, settings, steps_per_epoch=6)
        params = jnp.full(1, 2.0)
        return float(transform.update(params, transform.init(params), params)[0][0])

    assert update(weight_decay=0.5) == pytest.approx(-1 - 0.5 * 2, rel=1e-5)
    assert update(optimizer="sgd", clip_norm=0.25) == pytest.approx(-0.25)
    assert update(optimizer="sgd", l2=0.5) == pytest.approx(-3.0)
    with pytest.raises(UsageError, match="adam has no hyper-parameter 'weight_decay'"):
        replace(plain, optimizer="adam", weight_decay=0.1).check()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"schedule": "constant"}, [1.0, 1.0, 1.0, 1.0]),
        ({"schedule": "linear"}, [1.0, 0.75, 0.5, 0.25]),
        ({"schedule": "wsd"}, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]),
        ({"schedule": "cosine"}, [1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
        ({"schedule": "constant", "warm_up": 0.5}, [0.5, 1.0, 1.0, 1.0]),
        ({"schedule": "linear", "warm_up": 0.5}, [0.5, 0.75, 0.5, 0.25]),
    ],
)
def test_schedules(config: dict, expected: list[float]):
    task = RunConfig(task="tiny", **config).chosen_task()
    rate = task.schedule.of(1.0, Clock(len(expected), 1, 1))
    found = [rate(n) if callable(rate) else rate for n in range(len(expected))]
    np.testing.assert_allclose(found, expected, atol=1e-6)
