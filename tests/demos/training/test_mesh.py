"""A run on several devices is the run on one; what cannot be is refused."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from arsg_optax.demos.byte_text import ByteSet
from arsg_optax.demos.commands import train as command
from arsg_optax.demos.data import Dataset
from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.models import LSTMLanguageModel, Transformer
from arsg_optax.demos.tasks import Task, configuration
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.kinds import Bytes, Text
from arsg_optax.demos.tasks.records import Outcome
from arsg_optax.demos.tasks.run import evaluate, resume, run
from arsg_optax.demos.tasks.task import Setup
from arsg_optax.demos.text import TextSet
from arsg_optax.demos.training.layout import Layout, make_layout, read_mesh
from arsg_optax.demos.training.optimizers import OPTIMIZERS
from arsg_optax.demos.training.sources import StreamSource
from arsg_optax.demos.training.trainer import Trainer
from tests.demos.quiet import quiet_checkpoints
from tests.demos.training.runs import final, interrupted, whole

pytestmark = quiet_checkpoints


def _images(task: Task, dataset: Dataset, make_model: Any = None) -> Setup:
    return replace(task, make_model=make_model or task.make_model).setup(dataset)


def _text(task: Task, dataset: Dataset) -> Setup:
    tokens = np.random.default_rng(0).integers(7, size=400).astype(np.int32)
    exact = {"param_dtype": jnp.float64}  # Of which it makes its state, too.
    make_model = partial(LSTMLanguageModel, features=8, dropout=0.0, **exact)
    found = replace(task, kind=Text(5, None), make_model=make_model, batch_size=8)
    return found.setup(TextSet(tokens, tokens, tokens, tuple("abcdefg")))


def _bytes(task: Task, dataset: Dataset) -> Setup:
    """Of eight layers in a stack."""
    text = np.random.default_rng(0).integers(256, size=4000).astype(np.uint8)
    make_model = partial(Transformer, 256, 16, 8, 2, scan=True, param_dtype=float)
    kind = Bytes(length=8, steps=10, evaluated=200)
    found = replace(task, kind=kind, make_model=make_model, batch_size=8)
    return found.setup(ByteSet(text, text, "random"))


class Network(nnx.Module):
    """A convolution, batch normalization in whatever dtype, an average."""

    def __init__(self, *, dtype: Any, rngs: nnx.Rngs):
        self.convolution = nnx.Conv(1, 4, (3, 3), dtype=dtype, rngs=rngs)
        self.norm = nnx.BatchNorm(4, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        found = nnx.relu(self.norm(self.convolution(images[..., None])))
        return found.mean((1, 2))


NETWORKS = {
    "mlp": _images,
    "convolution": partial(_images, make_model=Network),
    "lstm": _text,
    "transformer": _bytes,
}


def _trained(
    setup: Setup, optimizer: str, layout: Layout | None, steps: int = 50
) -> Trainer:
    """In float64, in which another order of summing makes no difference to see."""
    start = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), setup.problem.init(0))
    found = OPTIMIZERS[optimizer]
    trainer = Trainer(
        *(*setup, found.make(0.01), found.points), start=start, layout=layout
    )
    while trainer.total_steps < steps:
        if trainer.step == trainer.steps_per_epoch:
            trainer.next_epoch()
        trainer.run_chunk(trainer.step + 1)
    return trainer


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("network", "optimizer", "mesh", "split_state"),
    [
        ("mlp", "arsg", "data=8", True),
        ("mlp", "orsg", "fsdp=8", False),
        ("convolution", "arsgb", "data=8", False),
        ("convolution", "adarem", "data=8", True),
        ("lstm", "adarem", "data=2,fsdp=4", False),
        ("transformer", "orsg", "data=4,fsdp=2", True),
        ("transformer", "arsgb", "data=8", True),
    ],
)
def test_equal_to_one_device(
    network: str,
    optimizer: str,
    mesh: str,
    split_state: bool,
    task: Task,
    dataset: Dataset,
):
    setup = NETWORKS[network](task, dataset)
    layout = make_layout(read_mesh(mesh), split_state)
    one, many = (_trained(setup, optimizer, each) for each in (None, layout))
    for a, b in zip(*map(jax.tree.leaves, (one.state, many.state)), strict=True):
        # Stored losses, and the products of JAX's attention, are float32.
        exact = a.dtype == jnp.float64 and network != "transformer"
        close = 1e-9 if exact else 1e-5
        np.testing.assert_allclose(a, b, rtol=close, atol=close)
        assert len(b.sharding.device_set) == 8
    scores = [trainer.evaluator(trainer.state) for trainer in (one, many)]
    for a, b in zip(*map(jax.tree.leaves, scores), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_what_is_split(task: Task, dataset: Dataset):
    setup, sizes = _bytes(task, dataset), {"data": 4, "fsdp": 2}
    arsg = OPTIMIZERS["arsg"]
    layouts = [make_layout(sizes, split_state) for split_state in (False, True)]
    trainer = Trainer(*setup, arsg.make(0.01), arsg.points, layout=layouts[1])

    def lies() -> Any:
        return jax.tree.map(lambda leaf: leaf.sharding, trainer.state)

    born = lies()
    assert born == layouts[1].of_state(trainer.state)
    for layout, over in zip(layouts, ("fsdp", ("data", "fsdp")), strict=True):
        found = layout.of_state(trainer.state)
        held, state = (
            {leaf.spec for leaf in jax.tree.leaves(tree)}
            for tree in (found.held, found.opt_state)
        )
        # The embedding has 256 rows of 16, a layer's matrices 16 of 16 or 64.
        assert held == {P(), P("fsdp"), P(None, None, "fsdp"), P(None, "fsdp")}
        # Eight layers are as many as eight devices can share.
        assert state == {P(), P(over)}
    # It comes back as it was.
    trainer.run_chunk()
    assert lies() == born


def test_a_stream_is_split_as_it_comes(task: Task, dataset: Dataset):
    setup = _images(task, dataset)
    images, labels = (np.asarray(x)[:32] for x in dataset.train[:2])
    batches = 3 * [(images, labels)]
    stream = StreamSource(3, 32, lambda epoch, start, rows: (x for x in batches))
    arsg = OPTIMIZERS["arsg"]

    def losses(layout: Layout | None) -> np.ndarray:
        sources = setup.sources._replace(train=stream)
        parts = (setup.problem, sources, arsg.make(0.01), arsg.points)
        trainer = Trainer(*parts, layout=layout)
        trainer.compile()
        return np.concatenate([trainer.run_chunk(n) for n in (1, 2, 3)])

    layout = make_layout({"data": 8, "fsdp": 1})
    np.testing.assert_allclose(losses(layout), losses(None), rtol=1e-5)


def test_a_run_goes_on_with_other_devices(tmp_path: Path):
    cut = interrupted(tmp_path / "run", 7, mesh="data=4,fsdp=2", split_state=True)
    assert cut.outcome == Outcome.INTERRUPTED
    expected = whole()
    found = resume(tmp_path / "run", mesh="data=8")
    assert found.config.mesh == "data=8" and found.config.key() != expected.config.key()
    for a, b in zip(final(found), final(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    scores = evaluate(tmp_path / "run")
    assert scores.test_loss_x == pytest.approx(found.epochs[-1].test_loss_x, rel=1e-6)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = ["--task", "tiny", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert command.run([*out, "--mesh", "data=8"]) == 0
    assert command.run(["--resume", str(tmp_path / "run"), "--mesh", "fsdp=8"]) == 0
    assert "at x, the iterate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": "data=3"}, "mesh must cover the 8 devices that JAX finds, got 3"),
        ({"mesh": "rows=8"}, "must name the axes data and fsdp .*, got 'rows=8'"),
        ({"mesh": "data=0"}, "must name the axes .*, got 'data=0'"),
        ({"mesh": "data=8", "batch_size": 12}, "multiple of the mesh's 8 .* got 12"),
        ({"split_state": True}, "split_state needs the devices .*, as data=8"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        run(RunConfig(task="tiny", **options))


def test_several_processes_need_a_mesh(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(configuration.jax, "process_count", lambda: 2)
    with pytest.raises(UsageError, match=r"of all 2 processes .* pass data=8"):
        run(RunConfig(task="tiny"))


def test_axes_that_are_named():
    assert read_mesh("fsdp=2, data=4") == {"data": 4, "fsdp": 2}
    assert read_mesh("fsdp=8") == {"data": 1, "fsdp": 8}
