"""The ways of taking steps: they agree, and each is taken where it should be."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arsg_optax.demos.data import Dataset
from arsg_optax.demos.models import LSTMLanguageModel
from arsg_optax.demos.models.layers import BatchNorm
from arsg_optax.demos.tasks import Task
from arsg_optax.demos.tasks.kinds import Text
from arsg_optax.demos.tasks.task import Setup
from arsg_optax.demos.text import TextSet
from arsg_optax.demos.training import advance
from arsg_optax.demos.training.advance import suits_compiled_loop
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.demos.training.sources import (
    StreamSource,
    evaluation_images,
    resident,
    shuffle_key,
    step_key,
)
from arsg_optax.demos.training.trainer import Trainer


class Network(nnx.Module):
    """A convolution, batch normalization, an average."""

    def __init__(self, *, dtype: Any = None, rngs: nnx.Rngs):
        self.convolution = nnx.Conv(
            1, 4, (3, 3), use_bias=False, dtype=dtype, rngs=rngs
        )
        self.norm = BatchNorm(4, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        found = nnx.relu(self.norm(self.convolution(images[..., None])))
        return found.mean((1, 2))


@pytest.fixture
def convolutional(task: Task, dataset: Dataset) -> Setup:
    def make_model(rngs: nnx.Rngs, **numbers: Any) -> nnx.Module:
        return Network(rngs=rngs, **numbers)

    return replace(task, make_model=make_model).setup(dataset)


def trained(setup: Setup, **changes: Any) -> Trainer:
    optimizer = OPTIMIZERS["arsg"]
    sources = setup.sources._replace(**changes)
    trainer = Trainer(setup.problem, sources, optimizer.make(0.01), optimizer.points)
    for _ in range(2):
        while trainer.step < trainer.steps_per_epoch:
            trainer.run_chunk(min(trainer.step + 2, trainer.steps_per_epoch))
        trainer.next_epoch()
    return trainer


def assert_close(one: Trainer, other: Trainer) -> None:
    def close(a: jax.Array, b: jax.Array) -> None:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

    jax.tree.map(close, one.state, other.state)


def test_loop_and_single_steps_agree(convolutional: Setup, monkeypatch):
    single = trained(convolutional)
    monkeypatch.setattr(advance, "suits_compiled_loop", lambda *_: True)
    assert_close(trained(convolutional), single)


@pytest.fixture
def stream(convolutional: Setup) -> tuple[StreamSource, list[str]]:
    """The resident source's batches as a stream, and what becomes of its iterators."""
    source = resident(convolutional.sources.train)
    events: list[str] = []

    def read(epoch: int, start: int, rows: None):
        events.append("opened")
        order = source.order(shuffle_key(0, epoch))
        try:
            for index in range(start, source.steps_per_epoch):
                key = jax.random.split(step_key(0, epoch, index))[0]
                batch = source.batch(source.arrays, order, index, key)
                yield tuple(map(np.asarray, batch))
        finally:
            events.append("closed")

    return StreamSource(source.steps_per_epoch, 16, read), events


def test_a_stream_of_the_same_batches_agrees(convolutional: Setup, stream):
    assert_close(trained(convolutional, train=stream[0]), trained(convolutional))


def test_a_stream_is_compiled_at_the_end_of_an_epoch(convolutional: Setup, stream):
    """Where a run stands that was stopped while it was evaluated."""
    sources = convolutional.sources._replace(train=stream[0])
    trainer = Trainer(convolutional.problem, sources, *optimizer_of("arsg"))
    trainer.step = trainer.steps_per_epoch
    trainer.compile()
    trainer.next_epoch()
    assert len(trainer.run_chunk(2)) == 1
    assert trainer.step == 1


def test_streams_for_statistics_are_closed(convolutional: Setup, stream):
    source, events = stream
    sources = convolutional.sources._replace(train=source)
    trainer = Trainer(convolutional.problem, sources, *optimizer_of("arsg"))
    trainer.evaluator.own_point(trainer.state)
    # 50 batches of epochs of 6.
    assert events == ["opened", "closed"] * 9


def test_convolutions_leave_the_loop_on_the_cpu(
    convolutional: Setup, task: Task, dataset: Dataset, monkeypatch
):
    def suits(setup: Setup) -> bool:
        params, model_state = setup.problem.init(0)
        batch = tuple(map(jnp.asarray, dataset.train[:2]))
        arguments = (params, model_state, batch, jax.random.key(0))
        return suits_compiled_loop(setup.problem.loss, *arguments)

    assert not suits(convolutional)
    assert suits(task.setup(dataset))
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert suits(convolutional)


def test_statistics_are_gathered_anew_at_the_iterate(
    convolutional: Setup, dataset: Dataset
):
    trainer = trained(convolutional)
    params, statistics = trainer.evaluator.own_point(trainer.state)
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, params, trainer.state.held)
    # 50 batches of 32 of these 200 images: close to all images at once.
    kernel = params["convolution"]["kernel"]
    images = jnp.asarray(dataset.train.images)[..., None]
    found = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mean, variance = found.mean((0, 1, 2)), found.var((0, 1, 2))
    np.testing.assert_allclose(statistics["norm"]["mean"], mean, rtol=0.02)
    np.testing.assert_allclose(statistics["norm"]["var"], variance, rtol=0.05)


def test_scores_of_a_padded_set_are_of_its_images(task: Task, dataset: Dataset):
    trainer = trained(task.setup(dataset))
    scores = trainer.evaluator(trainer.state)
    logits = task.setup(dataset).problem.forward(
        trainer.state.held, {}, dataset.test.images
    )
    shifted = np.asarray(logits - jax.nn.logsumexp(logits, -1, keepdims=True))
    picked = shifted[np.arange(80), dataset.test.labels]
    np.testing.assert_allclose(scores.test_y.loss, -picked.mean(), rtol=1e-5)


def test_a_set_is_cut_into_equal_batches(dataset: Dataset, monkeypatch):
    monkeypatch.setattr(
        "arsg_optax.demos.training.sources.EVALUATION_BATCH", 24, raising=True
    )
    held = list(evaluation_images(dataset.test, lambda x: x).batches)
    assert {images.shape for images, _, _ in held} == {(20, 4, 4)}
    held = list(evaluation_images(dataset.test, lambda x: x, limit=73).batches)
    assert {images.shape for images, _, _ in held} == {(19, 4, 4)}
    weights = np.concatenate([weights for _, _, weights in held])
    assert (weights.sum(), weights[-3:].sum()) == (73, 0)


def test_text_is_read_on_with_its_state(task: Task):
    """Two steps of 5 tokens are one pass over 10, and an epoch starts from zero."""
    tokens = np.random.default_rng(0).integers(7, size=45).astype(np.int32)
    text = TextSet(tokens, tokens, tokens, tuple("abcdefg"))

    def make_model(words: int, **options: Any) -> nnx.Module:
        return LSTMLanguageModel(words, features=8, dropout=0.0, **options)

    kind = Text(length=5, evaluated=None)
    language = replace(task, kind=kind, make_model=make_model, batch_size=4)
    setup = language.setup(text)
    problem, source = setup.problem, resident(setup.sources.train)
    assert source.steps_per_epoch == 2
    params, state = problem.init(0)
    rows = source.arrays
    key = jax.random.key(0)
    losses = []
    for step in range(2):
        batch = source.batch(rows, None, jnp.int32(step), key)
        loss, state = problem.loss(params, state, batch, key)
        losses.append(float(loss))
    whole = rows[:, :10], rows[:, 1:11]
    expected, _ = problem.loss(params, problem.init(0)[1], whole, key)
    np.testing.assert_allclose(np.mean(losses), expected, rtol=1e-5)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(state))
    assert not any(np.any(x) for x in jax.tree.leaves(problem.start_epoch(state)))
    trainer = Trainer(problem, setup.sources, *optimizer_of("arsg"))
    scores = trainer.evaluator(trainer.state)
    np.testing.assert_allclose(scores.test_y.loss, expected, rtol=1e-5)


def optimizer_of(name: str) -> tuple[Any, Any]:
    return OPTIMIZERS[name].make(0.01), OPTIMIZERS[name].points


def test_a_stream_is_not_resident():
    stream = StreamSource(1, 8, lambda epoch, start, rows: (x for x in ()))
    with pytest.raises(TypeError, match="must stay on the device"):
        resident(stream)
