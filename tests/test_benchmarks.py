"""What the benchmarks are made of; their figures are measured, not tested."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import arsg_optax
from benchmarks import compile_time, half_precision, update_time
from benchmarks.arrays import ARRAYS
from benchmarks.contestants import CONTESTANTS
from benchmarks.half_precision import Options, cached, table
from benchmarks.records import keep


@pytest.mark.parametrize(
    ("name", "arrays", "parameters"),
    [("resnet50", 161, 25_557_032), ("transformer", 148, 124_439_808)],
)
def test_arrays_are_those_of_the_networks(name, arrays, parameters):
    shapes = ARRAYS[name]()
    assert len(shapes) == arrays
    assert sum(math.prod(shape) for shape in shapes.values()) == parameters


@pytest.mark.parametrize("name", CONTESTANTS)
def test_each_contestant_can_be_timed(name, relaxed_promotion):
    gradients = update_time.random_tree({"w": (8, 4), "b": (4,)}, 0)
    contestant = update_time.Contestant(CONTESTANTS[name](), gradients)
    assert contestant.turn(1) > 0
    moved = contestant.moved_bytes
    assert moved is not None and moved >= contestant.floor_bytes - 12


def test_steps_are_timed_in_one_compiled_loop(monkeypatch):
    monkeypatch.setattr(update_time, "ARRAYS", {"flat": lambda: {"w": (8, 4)}})
    options = update_time.Options("flat", ("rsg",), turns=1, steps=4, loop="compiled")
    ((row,), bandwidths) = update_time.measure(options)
    assert row["ms"] > 0 and row["bytes moved"] is None
    assert len(bandwidths) == 1


def test_compile_time_is_split_into_its_parts():
    params = {"w": jax.ShapeDtypeStruct((8, 4), jnp.float32)}
    assert all(
        part > 0 for part in compile_time.compile_once(arsg_optax.rsg(1), params)
    )


def test_a_table_is_kept_with_its_machine(tmp_path, capsys):
    keep("name", [{"optimizer": "arsg", "ms": 1.23456}], tmp_path, bandwidth=30)
    (kept,) = tmp_path.iterdir()
    assert "| arsg | 1.235 |" in (kept / "table.md").read_text()
    assert (kept / "table.csv").read_text() == "optimizer,ms\narsg,1.23456\n"
    described = json.loads((kept / "machine.json").read_text())
    assert described["bandwidth"] == 30
    assert described["versions"]["jax"] == jax.__version__
    assert "arsg" in capsys.readouterr().out


def test_half_precision_compares_with_float32():
    losses = {"float32": (1.0, 1.2), "bfloat16": (1.1, 1.5)}
    found = {
        ("t", storage, seed): {"train": loss, "test": loss}
        for storage, pair in losses.items()
        for seed, loss in enumerate(pair)
    }
    options = Options(tasks=("t",), storages=tuple(losses), seeds=2)
    reference, narrow = table(options, found)
    assert reference["train difference / float32's sd"] == 0
    assert narrow["train loss"] == pytest.approx(1.3)
    spread = np.std([1.0, 1.2], ddof=1)
    assert narrow["test difference / float32's sd"] == pytest.approx(0.2 / spread)


@pytest.mark.parametrize(
    ("module", "argument"),
    [
        (update_time, "only"),
        (compile_time, "only"),
        (half_precision, "tasks"),
        (half_precision, "storages"),
    ],
)
def test_unknown_names_end_it_before_anything_is_measured(module, argument):
    options = module.Options(**{argument: ("nope",)})
    with pytest.raises(SystemExit, match=f"--{argument}: 'nope' is unknown; choose"):
        module.main(options)


def test_only_runs_of_the_same_protocol_are_taken_from_the_cache(tmp_path):
    path, record = tmp_path / "runs.jsonl", {"task": "t", "storage": "s", "seed": 0}
    losses = [{"train": 1.0}, {"train": 2.0}, {"train": 3.0}]
    protocols: list[dict[str, str]] = [{}, {"protocol": "a"}, {"protocol": "b"}]
    lines = [
        json.dumps({**record, **protocol, "losses": each})
        for protocol, each in zip(protocols, losses, strict=True)
    ]
    path.write_text("\n".join(lines))
    assert cached(path, {"t": "a"}) == {("t", "s", 0): {"train": 2.0}}
    assert cached(path, {"t": "c"}) == cached(tmp_path / "none", {"t": "a"}) == {}
