"""Final losses with the state in float32, in bfloat16, and in fewer bits.

Five seeds of three tasks. A storage is good enough if its mean loss differs from
float32's by less than the seeds differ among themselves.
"""

import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import arsg_optax
from arsg_optax.demos.tasks import Task, find_task
from arsg_optax.demos.tasks.settings import Constant
from arsg_optax.demos.text import TextSet, load_wikitext2
from arsg_optax.demos.training.optimizers import ITERATE, Optimizer
from benchmarks.eight_bits import scale_by_eight_bit_rms
from benchmarks.nearest import stored_to_nearest
from benchmarks.records import Row, check_names, keep

TASKS = ("digits-mlp", "mnist-logreg", "wikitext2-subset")
UNKNOWN = "<unk>"
_NARROW = {"mu_dtype": jnp.bfloat16, "nu_dtype": jnp.bfloat16}


def _nearest(learning_rate: Any, **options: Any) -> Any:
    return stored_to_nearest(arsg_optax.arsg(learning_rate, **options))


def _eight_bits(learning_rate: Any, *, average: bool, **options: Any) -> Any:
    b2, eps = options.pop("b2", 0.99), options.pop("eps", 1e-8)
    link = scale_by_eight_bit_rms(b2, eps, average_in_eight_bits=average)
    return arsg_optax.arsg(
        learning_rate, preconditioner=link, mu_dtype=jnp.bfloat16, **options
    )


STORAGES: Mapping[str, Callable[..., Any]] = {
    "float32": arsg_optax.arsg,
    "bfloat16": functools.partial(arsg_optax.arsg, **_NARROW),
    "bfloat16, to nearest": _nearest,
    "8 bits for the maximum": functools.partial(_eight_bits, average=False),
    "8 bits for both": functools.partial(_eight_bits, average=True),
}


@dataclass(frozen=True)
class Options:
    """Train with states of fewer bits; on MNIST and WikiText-2 from ARSG_DATA_DIR."""

    tasks: tuple[str, ...] = TASKS
    """Which tasks."""
    storages: tuple[str, ...] = tuple(STORAGES)
    """Which storages."""
    seeds: int = 5
    """Runs of each."""
    cache: Path = Path("runs/half-precision.jsonl")
    """Finished runs, which are not run again."""
    results: Path | None = None
    """Directory that keeps the table (None: only printed)."""


def wikitext2_subset(
    data_dir: Path | None = None, tokens: int = 100_000, words: int = 2_000
) -> TextSet:
    """The first tokens of WikiText-2 with its most frequent words, the rest unknown."""
    whole = load_wikitext2(data_dir)
    train, validation = whole.train[:tokens], whole.validation[: tokens // 5]
    frequent = [word for word, _ in Counter(train.tolist()).most_common(words - 1)]
    numbers = np.zeros(len(whole.vocabulary), np.int32)
    numbers[frequent] = np.arange(1, words)
    kept = (UNKNOWN, *(whole.vocabulary[word] for word in frequent))
    return TextSet(
        numbers[train], numbers[validation], numbers[whole.test[: tokens // 5]], kept
    )


def _task(name: str) -> Task:
    if name != "wikitext2-subset":
        return find_task(name)
    whole = find_task("wikitext2-lstm")
    return replace(
        whole, load=wikitext2_subset, batch_size=20, epochs=4, schedule=Constant()
    )


def run(task_name: str, storage: str, seed: int) -> dict[str, float]:
    """Trains once; losses of the last epoch.

    Returns:
      `train`: the mean of the last epoch's minibatch losses; `test`: over the test or
      validation set at the iterate.
    """
    task = _task(task_name)
    setup = task.setup(task.data(None), seed)
    optimizer = Optimizer(storage, STORAGES[storage], ITERATE, baseline=False)
    settings = task.settings["arsg"]
    trainer = task.trainer(setup, optimizer, settings, seed=seed)
    trainer.compile()
    for epoch in range(task.epochs):
        if epoch:
            trainer.next_epoch()
        while trainer.step < trainer.steps_per_epoch:
            trainer.run_chunk()
    scores = trainer.evaluator(trainer.state)
    return {"train": trainer.mean_loss(), "test": float(scores.test_x.loss)}


def _protocol(task_name: str) -> str:
    """What a run of a task depends on beside its storage and seed."""
    task = _task(task_name)
    settings = task.settings["arsg"]
    parts = (task.batch_size, task.epochs, task.schedule, task.clip, task.l2)
    return f"{settings}, {parts}"


def cached(
    path: Path, protocols: Mapping[str, str]
) -> dict[tuple[str, str, int], dict[str, float]]:
    """Losses of the runs in a file that followed today's protocols."""
    if not path.exists():
        return {}
    records = map(json.loads, path.read_text().splitlines())
    return {
        (r["task"], r["storage"], r["seed"]): r["losses"]
        for r in records
        if r.get("protocol") == protocols.get(r["task"], "")
    }


def collect(options: Options) -> dict[tuple[str, str, int], dict[str, float]]:
    """All runs, those in the cache and those that it lacks."""
    protocols = {task: _protocol(task) for task in options.tasks}
    found = cached(options.cache, protocols)
    options.cache.parent.mkdir(parents=True, exist_ok=True)
    for task in options.tasks:
        for seed in range(options.seeds):
            for storage in options.storages:
                key = (task, storage, seed)
                if key in found:
                    continue
                found[key] = run(*key)
                record: Row = {"task": task, "storage": storage, "seed": seed}
                record["protocol"] = protocols[task]
                with options.cache.open("a") as file:
                    file.write(json.dumps({**record, "losses": found[key]}) + "\n")
                print(*key, found[key], flush=True)
    return found


def table(options: Options, found: Mapping[Any, dict[str, float]]) -> Sequence[Row]:
    """Mean and spread of each storage's losses, and its distance from float32."""
    rows = []
    for task in options.tasks:
        for storage in options.storages:
            row: Row = {"task": task, "state": storage}
            for which in ("train", "test"):
                values, reference = (
                    np.array([found[task, s, k][which] for k in range(options.seeds)])
                    for s in (storage, "float32")
                )
                spread = float(np.std(reference, ddof=1))
                row[f"{which} loss"] = float(np.mean(values))
                row[f"{which} sd"] = float(np.std(values, ddof=1))
                away = float(np.mean(values) - np.mean(reference))
                row[f"{which} difference / float32's sd"] = away / spread
            rows.append(row)
    return rows


def main(options: Options) -> None:
    """Trains, prints and keeps."""
    check_names("--tasks", options.tasks, TASKS)
    check_names("--storages", options.storages, STORAGES)
    found = collect(options)
    keep("half-precision", table(options, found), options.results)
