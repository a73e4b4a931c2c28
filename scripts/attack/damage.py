"""Flipped bits and cut files of every kind: refused by name, rebuilt, or unharmed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arsg_optax.demos.data import load_mnist
from arsg_optax.demos.hub import cache_dir
from arsg_optax.demos.tasks.callbacks import METRICS, Log
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.records import RECORD, read
from arsg_optax.demos.tasks.run import run
from arsg_optax.demos.tasks.session import CONFIG
from arsg_optax.demos.text import load_wikitext2
from scripts.attack.lab import Failed, Lab, Random, outcome_of, require, same
from scripts.attack.targets import image_set, trained
from tests.demos.parquets import write_lines

_LINES = [
    "",
    " = A heading = ",
    "",
    *(f" {n} words of <unk> text . " for n in range(40)),
]


def trial(lab: Lab, random: Random) -> str:
    """Damages one file."""
    kind = str(random.choice(list(_KINDS), p=[0.25, 0.15, 0.1, 0.1, 0.15, 0.15, 0.1]))
    with lab.trial_folder() as folder:
        how, end = _KINDS[kind](lab, random, folder)
    return f"{kind}, {how}: {end}"


def harm(file: Path, random: Random) -> str:
    """Changes the bytes of a file; returns how."""
    content = bytearray(file.read_bytes())
    how = str(random.choice(["flipped bit", "cut", "zeros"], p=[0.7, 0.2, 0.1]))
    if not content:
        content, how = bytearray(b"\0"), "zeros"
    elif how == "cut":
        del content[random.integers(len(content)) :]
    elif how == "zeros":
        start = int(random.integers(len(content)))
        part = content[start : start + 64]
        # Zeros where there were zeros are no damage.
        content[start : start + 64] = (
            bytes(len(part)) if any(part) else b"\xff" * len(part)
        )
    else:
        bit = int(random.integers(8 * len(content)))
        content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(bytes(content))
    return how


def _of_run(names: Callable[[Path], list[Path]]) -> Callable[..., tuple[str, str]]:
    """Damages a file of a run, stopped in its middle or ended, and goes on with it."""

    def damage(lab: Lab, random: Random, folder: Path) -> tuple[str, str]:
        whole, result = lab.once("run", _make_run)
        here = Path(shutil.copytree(whole, folder / "run"))
        if random.random() < 0.5:  # As after a kill in the second epoch.
            newest = max(
                (here / "checkpoints").iterdir(), key=lambda path: int(path.name)
            )
            shutil.rmtree(newest)
        files = sorted(names(here))
        file = files[random.integers(len(files))]
        how = harm(file, random)
        try:
            end = outcome_of(lambda: trained(here), (str(here),), result)
        except Failed as error:
            raise Failed(f"{file.relative_to(here)}, {how}: {error}") from error
        return how, end

    return damage


def make_run(lab: Lab, folder: Path) -> Path:
    """A copy of a run that has ended."""
    whole, _ = lab.once("run", _make_run)
    return Path(shutil.copytree(whole, folder / "run"))


def _make_run(folder: Path) -> tuple[Path, Any]:
    config = RunConfig(epochs=2, checkpoint_every=8, keep=4)
    whole = folder / "run"
    run(config, Log(whole), directory=whole)
    return whole, trained(whole)


def _checkpoint_files(here: Path) -> list[Path]:
    return [path for path in (here / "checkpoints").rglob("*") if path.is_file()]


def _record(lab: Lab, random: Random, folder: Path) -> tuple[str, str]:
    """A record that is read alone, as `arsg plot` and the reproduction do."""
    whole, _ = lab.once("run", _make_run)
    file = Path(shutil.copy(whole / RECORD, folder / RECORD))
    wanted = _values(file)
    how = harm(file, random)
    return how, outcome_of(lambda: _values(file), (str(file),), wanted)


def _values(file: Path) -> Any:
    record = read(file)
    return record.epochs, record.seconds, hash(str((record.config, record.machine)))


def _cache(lab: Lab, random: Random, folder: Path) -> tuple[str, str]:
    """The decoded arrays in the cache."""
    data = lab.once("data", image_set)
    wanted = load_mnist(data)
    files = sorted(cache_dir().glob("mnist-*"))
    how = harm(files[random.integers(len(files))], random)
    require(same(load_mnist(data), wanted), "the damaged cache gives other arrays")
    return how, "rebuilt"


def _data(lab: Lab, random: Random, folder: Path) -> tuple[str, str]:
    """A file of a data set, decoded anew; its own format knows no checksum."""
    if random.random() < 0.5:
        load, name, data = load_mnist, "mnist", image_set(folder)
    else:
        load, name, data = load_wikitext2, "wikitext-2", _text_set(folder)
    wanted = load(data)
    files = sorted((data / name).glob("*.parquet"))
    how = harm(files[random.integers(len(files))], random)
    try:
        return how, outcome_of(lambda: load(data), (str(data),), wanted)
    except Failed:
        return how, "other values, as its format has no checksum"


def _text_set(folder: Path) -> Path:
    (folder / "wikitext-2").mkdir()
    for split in ("train", "validation", "test"):
        write_lines(folder / "wikitext-2" / f"{split}-00000-of-00001.parquet", _LINES)
    return folder


_KINDS: dict[str, Callable[..., tuple[str, str]]] = {
    "checkpoint": _of_run(_checkpoint_files),
    "config.json": _of_run(lambda here: [here / CONFIG]),
    "metrics.jsonl": _of_run(lambda here: [here / METRICS]),
    "record.json": _of_run(lambda here: [here / RECORD]),
    "cache of decoded data": _cache,
    "record alone": _record,
    "data set file": _data,
}
