"""The tasks of transformers: presets, sizes, decay of matrices, whole runs."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from arsg_optax.demos.byte_text import ByteSet
from arsg_optax.demos.data import Dataset, Scaling, Split
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.models import Transformer, ViT
from arsg_optax.demos.report.summary import summarize
from arsg_optax.demos.tasks import TASKS, Task, configuration
from arsg_optax.demos.tasks.compare import make_configs
from arsg_optax.demos.tasks.configuration import RunConfig, TaskConfig
from arsg_optax.demos.tasks.kinds import Bytes
from arsg_optax.demos.tasks.material import load
from arsg_optax.demos.tasks.records import Outcome, RunRecord, read
from arsg_optax.demos.tasks.run import resume
from arsg_optax.demos.tasks.sweep import chosen, sweep
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from tests.demos.quiet import quiet_checkpoints
from tests.demos.training.runs import assert_same, interrupted, train

pytestmark = quiet_checkpoints

PYTHON_LINE = b"for name in sorted(names): print(name)\n"
PYTHON, VISION = TASKS["python-transformer"], TASKS["cifar10-vit"]


def parameters(task: Task) -> int:
    model = nnx.eval_shape(lambda: task.make_model(rngs=nnx.Rngs(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize(
    ("preset", "width", "hidden", "depth"),
    [
        ("tiny", 64, 192, 2),
        ("small", 128, 384, 4),
        ("medium", 512, 1408, 8),
        ("gpt2-small", 768, 2048, 12),
    ],
)
def test_parameters_of_the_language_presets(preset, width, hidden, depth):
    block = 4 * width**2 + 3 * width * hidden + 2 * width
    expected = 256 * width + depth * block + width
    assert parameters(PYTHON.varied(preset)) == expected
    assert TASKS["wikitext2-transformer"].variants == PYTHON.variants


def test_the_protocol():
    task = PYTHON.varied("tiny")
    assert (task.batch_size, task.kind.length) == (8, 64)
    assert task.epochs * task.kind.steps == 600
    rate = task.schedule.of(1.0, task.clock(75))
    steps = (0, 14, 29, 300, 599)
    # 30 steps of growth, times half a cosine.
    cosine = [(1 + np.cos(np.pi * step / 600)) / 2 for step in steps]
    growth = np.minimum(1, (np.array(steps) + 1) / 30)
    np.testing.assert_allclose([rate(s) for s in steps], growth * cosine, atol=1e-6)
    assert task.clip == VISION.clip == 1.0
    assert VISION.schedule == task.schedule
    # What the records hold was trained without a preset.
    assert (PYTHON.batch_size, PYTHON.epochs * PYTHON.kind.steps) == (16, 1500)
    medium = PYTHON.varied("medium")
    seen = medium.batch_size * medium.kind.length * medium.kind.steps * medium.epochs
    assert round(seen / 1e6) == 60


@pytest.mark.parametrize("name", sorted(PYTHON.presets["tiny"]))
def test_matrices_alone_decay(name: str):
    optimizer, settings = OPTIMIZERS[name], PYTHON.settings[name]
    assert settings.options["weight_decay"] == 0.1
    # Four steps an epoch, so that the first is all of the warm-up.
    transform = PYTHON.transform(optimizer, settings, 4)
    params = {"scale": jnp.ones(3), "kernel": jnp.ones((3, 3))}
    state = transform.init(params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transform.update(nothing, state, params)
    np.testing.assert_array_equal(updates["scale"], nothing["scale"])
    decay = -0.1 * settings.learning_rate
    np.testing.assert_allclose(updates["kernel"], decay, rtol=1e-3)


def test_schedule_free_is_that_of_optax():
    options = {"learning_rate": 0.1, "b1": 0.8, "b2": 0.97, "weight_decay": 0.3}
    options |= {"warmup_steps": 3, "weight_lr_power": 1.5}
    ours = OPTIMIZERS["schedule_free_adamw"].make(**options)
    theirs = optax.contrib.schedule_free_adamw(**options)
    params, other = jnp.array([1.0, -2.0]), jnp.array([1.0, -2.0])
    state, its = ours.init(params), theirs.init(other)
    for step in range(5):
        gradient = jnp.array([0.5, 1.0]) * params + step
        updates, state = ours.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        updates, its = theirs.update(gradient, its, other)
        other = optax.apply_updates(other, updates)
        np.testing.assert_allclose(params, other, rtol=1e-6)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, Task]:
    """The tasks with networks and data of moments, under their own names."""
    text = np.frombuffer(200 * PYTHON_LINE, np.uint8)
    data = ByteSet(text, text[:1000], "one line, again and again")
    variants = {
        name: {
            "make_model": partial(Transformer, 256, width, 1, 2),
            "kind": Bytes(length=8, steps=6, evaluated=100),
            "batch_size": 4,
            "epochs": 2,
        }
        for name, width in (("tiny", 8), ("small", 16))
    }
    python = replace(PYTHON, load=lambda _: data, variants=variants)
    random = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.int32) % 10
    images = random.integers(20, size=(40, 16, 16, 3)) + 25 * labels.reshape(
        -1, 1, 1, 1
    )
    split = Split(images.astype(np.uint8), labels, np.arange(40))
    shown = Dataset(split, split, Scaling(127.5, 1 / 64))
    tiny = {"make_model": partial(ViT, 16, 8, 8, 1, 2), "epochs": 2}
    vision = replace(
        VISION, load=lambda _: shown, batch_size=8, variants={"tiny": tiny}
    )
    known = {**TASKS, python.name: python, vision.name: vision}
    monkeypatch.setattr(configuration, "find_task", known.__getitem__)
    return known


@pytest.mark.parametrize(
    ("name", "optimizer"), [("python-transformer", "arsg"), ("cifar10-vit", "adamw")]
)
def test_a_run_and_its_resumption(name: str, optimizer: str, tmp_path: Path):
    options = {"task": name, "optimizer": optimizer, "preset": "tiny"}
    whole = train(**options, out=tmp_path / "whole")
    assert whole.outcome == Outcome.FINISHED and len(whole.epochs) == 2
    assert whole.epochs[1].test_loss_x < whole.epochs[0].train_loss
    cut = interrupted(tmp_path / "cut", 3, **options)
    assert cut.outcome == Outcome.INTERRUPTED
    assert_same(resume(tmp_path / "cut"), whole)
    kept = read(tmp_path / "whole" / "record.json")
    assert kept.config == whole.config and kept.config.preset == "tiny"
    of_bytes = name == "python-transformer"
    text = "one line, again and again" if of_bytes else None
    assert kept.machine.get("text") == text
    (first, *_), note = summarize([kept])
    loss = kept.epochs[-1].test_loss_y / (np.log(2) if of_bytes else 1)
    assert first.test_final == f"{loss:.4f}"[:6]
    assert ("bits a byte" in note) == of_bytes


def test_a_preset_is_part_of_what_a_run_is(tmp_path: Path):
    base = RunConfig(task="python-transformer", optimizer="adamw")
    tiny, small = (replace(base, preset=name) for name in ("tiny", "small"))
    rate = {"learning_rate": 0.01}
    assert base.key() == tiny.key() == tiny.resolved().key()
    assert replace(tiny, **rate).key() != replace(small, **rate).key()
    assert base.resolved().preset == "tiny"
    assert small.resolved().resolved() == small.resolved()
    record = RunRecord(small.resolved())
    assert record.config.chosen_task().make_model.args[1] == 16
    # Of other tasks it only decides settings, which are in the configuration.
    digits = replace(base, task="digits-mlp", optimizer="arsg", preset="fast")
    assert digits.resolved().preset == "none"


def test_an_unknown_preset_is_refused():
    config = TaskConfig(task="python-transformer", preset="huge")
    message = "preset must be one of.*: tiny, small, medium, gpt2-small; got 'huge'"
    for make in (make_configs, lambda c: RunConfig(**vars(c)).check()):
        with pytest.raises(UsageError, match=message):
            make(config)


def test_a_part_of_the_training_text_is_held_out():
    material = load(RunConfig(task="python-transformer"), held_out=True)
    text, whole = material.data, PYTHON_LINE * 200
    assert text.train.tobytes() + text.validation.tobytes() == whole
    assert text.validation.size == round(len(whole) / 5)
    # The search of step sizes takes it.
    optimizer, settings = OPTIMIZERS["orsg"], PYTHON.settings["orsg"]
    rows = sweep(material.task, material.setup, optimizer, settings)
    (rate,) = chosen(rows).values()
    assert rows[0].learning_rate < rate
    assert min(row.loss for row in rows) < 4 < rows[0].loss
