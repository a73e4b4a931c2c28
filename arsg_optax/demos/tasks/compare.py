"""Several optimizers on one task, one after another, alike otherwise."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks.callbacks import Callbacks
from arsg_optax.demos.tasks.configuration import RunConfig, TaskConfig
from arsg_optax.demos.tasks.material import Material
from arsg_optax.demos.tasks.records import Outcome, RunRecord
from arsg_optax.demos.tasks.run import run
from arsg_optax.demos.training.optimizers import find_optimizer
from arsg_optax.demos.training.signals import StopRequest


def make_configs(
    config: TaskConfig,
    optimizers: Sequence[str] = (),
    learning_rates: Mapping[str, float] | None = None,
) -> list[RunConfig]:
    """Checks a request and makes a run of each optimizer.

    Args:
        config: what the runs have in common.
        optimizers: their names; empty for those that the task compares, or all that
            the preset has settings for.
        learning_rates: overrides the task's step sizes, by optimizer name.

    Raises:
        UsageError: if a name is unknown or a number out of range.
    """
    task = config.chosen_task()
    known, rates = task.preset(config.preset), learning_rates or {}
    names = list(dict.fromkeys(optimizers or task.compared or known))
    for name in rates:
        if name not in names:
            raise UsageError(
                f"learning_rate names {name!r}, which is not among the optimizers of "
                f"this run: {', '.join(names)}"
            )
    shared = {each.name: getattr(config, each.name) for each in fields(TaskConfig)}
    found = [
        RunConfig(**shared, optimizer=name, learning_rate=rates.get(name))
        for name in names
    ]
    for each in found:
        each.check()
    return found


def compare(
    configs: Sequence[RunConfig],
    material: Material,
    *callbacks: Callbacks,
    seeds: int = 1,
) -> list[RunRecord]:
    """Runs each of them, with each seed.

    A run whose numbers stop being finite ends there, and the next one starts. After
    Ctrl-C the records so far are returned, the current one's part included.

    Args:
        configs: as :func:`make_configs` returns them.
        material: the task with its data.
        *callbacks: told of the progress.
        seeds: how many, from the configurations' own on.

    Raises:
        UsageError: if an optimizer is not meant for the network.
    """
    for config in configs:
        material.check(find_optimizer(config.optimizer))
    found = _Started()
    # Python may swallow an interruption between runs; a request to stop notes it.
    with suppress(KeyboardInterrupt), StopRequest() as stop:
        for number in range(seeds):
            seeded = [replace(each, seed=each.seed + number) for each in configs]
            shared = material.of(seeded[0]) if number else material
            for config in seeded:
                record = run(config, found, *callbacks, material=shared)
                if stop or record.outcome == Outcome.INTERRUPTED:
                    return found.records
    return found.records


class _Started(Callbacks):
    """Keeps the records of runs, also of one that does not end."""

    def __init__(self) -> None:
        self.records: list[RunRecord] = []

    def started(self, record: RunRecord) -> None:
        self.records.append(record)
