"""Commands that take seconds, and what each leaves when nothing harms it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arsg_optax.demos.tasks.callbacks import Log
from arsg_optax.demos.tasks.records import RECORD, read
from arsg_optax.demos.tasks.run import resume
from arsg_optax.demos.tasks.session import CONFIG
from scripts.attack.lab import Lab, require, same
from scripts.attack.victim import Harm
from scripts.reproduction.store import Store
from tests.demos.parquets import write_image_set


class Target(NamedTuple):
    """A command that is harmed.

    Attributes:
        name: in the table.
        begin: the command.
        result: what it leaves in a folder, arrays and numbers.
        again: the command that takes up a run; None for the same one.
    """

    name: str
    begin: tuple[str, ...]
    result: Callable[[Path], Any]
    again: tuple[str, ...] | None = None

    def command(self, folder: Path) -> tuple[str, ...]:
        """What a user types, also after a harm."""
        there = (folder / "run" / CONFIG).exists()
        return self.again if self.again and there else self.begin


class Unharmed(NamedTuple):
    """What a command leaves, and how many file operations it took."""

    result: Any
    operations: int


def unharmed(lab: Lab, target: Target) -> Unharmed:
    """A run of a target that nothing harms, the same for all trials."""

    def make(folder: Path) -> Unharmed:
        counts = folder.with_name(f"{folder.name}-count")
        harm = Harm(under=str(folder), counts=str(counts))
        code, printed = lab.run(target.begin, folder, harm)
        require(code == 0, f"unharmed, {target.begin} ends with {code}: {printed}")
        return Unharmed(target.result(folder), int(counts.read_text()))

    return lab.once(target.name, make)


def goes_on(lab: Lab, target: Target, folder: Path, after: str) -> None:
    """Requires that a harmed command, given again, ends as if unharmed."""
    command = target.command(folder)
    code, printed = lab.run(command, folder)
    require(
        code == 0, f"after {after}, {' '.join(command)} ends with {code}: {printed}"
    )
    wanted, found = unharmed(lab, target).result, target.result(folder)
    require(same(found, wanted), f"after {after}, {target.name} has another result")


def training(name: str, *options: str, data_dir: Path | None = None) -> Target:
    """`arsg train` with options."""
    data = () if data_dir is None else ("--data-dir", str(data_dir))
    return Target(
        f"arsg train, {name}",
        ("arsg", "train", *options, *data, "--out", "run"),
        lambda folder: trained(folder / "run", data_dir),
        ("arsg", "train", "--resume", "run", *data),
    )


def trained(run: Path, data_dir: Path | None = None) -> Any:
    """The state and the epochs of a run, which goes on to its end if it must."""
    record = resume(run, Log(run), data_dir=data_dir)
    assert record.trainer is not None
    # As the file has them, with nine digits.
    return record.trainer.state, read(run / RECORD).epochs


def digits(optimizer: str) -> Target:
    """Two epochs of the digits' network, with many checkpoints."""
    options = ("--epochs", "2", "--checkpoint-every", "4", "--optimizer", optimizer)
    return training(optimizer, "--task", "digits-mlp", *options)


def decoding(lab: Lab) -> Target:
    """A network on images that are decoded first, and then kept in the cache."""
    few = ("--epochs", "2", "--batch-size", "2", "--checkpoint-every", "1")
    data = lab.once("data", image_set)
    return training("decoding", "--task", "mnist-logreg", *few, data_dir=data)


def reproduction() -> Target:
    """An experiment of seconds: two optimizers, each with a grid of two."""
    return Target("reproduction", ("reproduction", "tiny", "--out", "out"), _recorded)


def sweep() -> Target:
    """A search of one optimizer's step size."""
    few = ("--epochs", "1", "--examples", "128", "--optimizers", "adam")
    command = ("arsg", "compare", "--sweep", "--task", "digits-mlp", *few)
    return Target("sweep", (*command, "--out", "out"), _searched)


def image_set(folder: Path) -> Path:
    """A directory of data sets with ten images of MNIST's form."""
    write_image_set(folder / "mnist", (28, 28), "image")
    return folder


def _recorded(folder: Path) -> Any:
    records = Store(folder / "results" / "runs").records()
    return {each.config.key(): each.epochs for each in records}


def _searched(folder: Path) -> Any:
    return np.frombuffer((folder / "out" / "step-sizes.csv").read_bytes(), np.uint8)
