"""Files with what nobody should write: refused by name; nothing is run or written."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from arsg_optax.demos import cli
from arsg_optax.demos.data import load_mnist
from arsg_optax.demos.hub import _digest, cache_dir
from arsg_optax.demos.tasks.callbacks import METRICS, read_log
from arsg_optax.demos.tasks.configuration import RunConfig, encode
from arsg_optax.demos.tasks.records import RECORD, Epoch, RunRecord, read, text
from arsg_optax.demos.tasks.run import evaluate
from arsg_optax.demos.text import load_ptb
from scripts.attack.damage import make_run
from scripts.attack.lab import MESSAGES, Lab, Random, require
from scripts.attack.targets import image_set

_DEEP = "[" * 50_000
_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 2**31, 2**63, 2**64, 10**400, -(10**400), 0.5, -0.0),
    *(1e308, 1e-320, float("nan"), float("inf"), "", "x" * 100_000, "\ud800", "\0"),
    *("../../escaped", "/etc/passwd", "~", "C:\\x", "nan", [], {}, [[]], [1, "2"]),
    *({"": {}}, {"format": 1}, {"ramp": [0, 1]}, {"__class__": "os.system"}),
)
_BYTES = (b"", b"\0", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{", b"null", b"3", b'"x"')
_BYTES += (_DEEP.encode(), b'{"a":' * 50_000, b"\x80abc", b'"format"', b'{"a":1,"a":2}')
# A small run whatever else the file asks for.
_SHORT = {"epochs": 1, "steps": 1, "examples": 128, "batch_size": 64}


class _Payload:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path):
        self._mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self._mark,)


def trial(lab: Lab, random: Random) -> str:
    """Reads one hostile file as the command line does."""
    kind = str(random.choice(list(_KINDS)))
    with lab.trial_folder() as outside:
        folder = outside / "inside" / "here"
        folder.mkdir(parents=True)
        try:
            end = _KINDS[kind](lab, random, folder)
        except MESSAGES as error:
            require(len(str(error).splitlines()) == 1, f"more than a line: {error}")
            end = "refused"
        left = [path for path in outside.rglob("*") if folder not in path.parents]
        left = [p for p in left if p not in (folder, folder.parent)]
        require(not left, f"{kind} wrote {left}")
    return f"{kind}: {end}"


def _hostile(random: Random, held: Any) -> bytes:
    """JSON with a value anywhere replaced, or bytes that are no JSON."""
    if random.random() < 0.2:
        return _BYTES[random.integers(len(_BYTES))]
    return json.dumps(_replaced(random, held)).encode()


def _replaced(random: Random, held: Any) -> Any:
    if isinstance(held, dict | list) and held and random.random() < 0.9:
        keys = list(held) if isinstance(held, dict) else list(range(len(held)))
        key = keys[random.integers(len(keys))]
        copy: Any = held.copy()
        copy[key] = _replaced(random, held[key])
        return copy
    return _VALUES[random.integers(len(_VALUES))]


def _config(lab: Lab, random: Random, folder: Path) -> str:
    """`arsg train --config`, through the whole command line."""
    known = encode(RunConfig(options={"b1": 0.9}))
    held = {**known, **_SHORT}
    (folder / "run.json").write_bytes(_hostile(random, held))
    short = [f"--{name.replace('_', '-')}={value}" for name, value in _SHORT.items()]
    command = [
        "train",
        "--config",
        str(folder / "run.json"),
        "--out",
        str(folder / "out"),
    ]
    code = cli.main([*command, *short])
    require(code in (0, 1, 2), f"exit code {code}")
    return "refused" if code else "taken"


def _record(lab: Lab, random: Random, folder: Path) -> str:
    """A record of this format or of the first, which had no checksum."""
    epoch = Epoch(22, 0.5, 0.4, 0.4, 0.4, 0.4, 0.9, 0.9)
    config = RunConfig(epochs=1).resolved()
    held = json.loads(text(RunRecord(config, "finished", (epoch,), 1.0, {"jax": "0"})))
    if random.random() < 0.7:
        del held["format"], held["checksum"]
    (folder / RECORD).write_bytes(_hostile(random, held))
    found = read(folder / RECORD)
    return (
        f"taken ({cli.main(['plot', str(folder), '--out', str(folder / 'drawn')])})"
        if found
        else ""
    )


def _metrics(lab: Lab, random: Random, folder: Path) -> str:
    """A log: its good lines are kept."""
    good = {"event": "steps", "total_step": 1, "loss": 0.5, "steps_per_second": 1.0}
    line = json.dumps(good).encode()
    bad = _hostile(random, good).replace(b"\n", b"")
    (folder / METRICS).write_bytes(b"\n".join([line, bad, line]) + b"\n")
    lines = read_log(folder / METRICS)
    require(lines.count(good) >= 2, f"{bad[:80]!r} loses good lines")
    return "good lines kept"


def _position(lab: Lab, random: Random, folder: Path) -> str:
    """What stands beside the arrays of a checkpoint."""
    run = make_run(lab, folder)
    files = sorted(
        p
        for p in (run / "checkpoints").rglob("*")
        if p.suffix in ("", ".json") and p.is_file()
    )
    files = [p for p in files if p.read_bytes()[:1] == b"{"]
    for file in (
        files if random.random() < 0.5 else [files[random.integers(len(files))]]
    ):
        file.write_bytes(_hostile(random, json.loads(file.read_bytes())))
    evaluate(run)
    return "taken"


def _cache(lab: Lab, random: Random, folder: Path) -> str:
    """A pickle in the cache of decoded data, in the place of the arrays."""
    data, mark = image_set(folder), folder.parent / "run by a pickle"
    load_mnist(data)
    for file in cache_dir().glob("mnist-*"):
        arrays = {"train_images": np.array([_Payload(mark)], object)}
        packed = folder / "packed.npz"
        np.savez(packed, allow_pickle=True, **arrays)
        content = (
            packed.read_bytes()
            if random.random() < 0.5
            else pickle.dumps(_Payload(mark))
        )
        file.write_bytes(_digest(content) + content)
    require(len(load_mnist(data).train.labels) == 6, "other arrays")
    return "decoded anew"


def _parquet(lab: Lab, random: Random, folder: Path) -> str:
    """Columns of other types, and paths that lead elsewhere."""
    data = image_set(folder)
    cells: tuple[Any, ...] = (
        None,
        "x",
        3,
        b"x",
        {"bytes": None, "path": "../../escaped"},
    )
    cells += (
        {"bytes": b"", "path": "/etc/passwd"},
        {"path": "x"},
        [1],
        1e300,
        {"bytes": 3},
    )
    labels: tuple[Any, ...] = (None, -1, 10, 2**62, 1e300, "7", [1], {"a": 1}, True)
    rows = int(random.integers(1, 3))
    image = [cells[random.integers(len(cells))]] * rows
    label = [labels[random.integers(len(labels))]] * rows
    split = str(random.choice(["train", "test"]))
    file = data / "mnist" / f"{split}-00000-of-00001.parquet"
    parquet.write_table(
        pa.table({"image": pa.array(image), "label": pa.array(label)}), file
    )
    load_mnist(data)
    return "taken"


def _words(lab: Lab, random: Random, folder: Path) -> str:
    """Penn Treebank's files with bytes of anything."""
    (folder / "ptb").mkdir()
    for split in ("train", "valid", "test"):
        content = random.bytes(int(random.integers(200)))
        (folder / "ptb" / f"ptb.{split}.txt").write_bytes(content)
    load_ptb(folder)
    return "taken"


def _names(lab: Lab, random: Random, folder: Path) -> str:
    """Names on the command line that lead elsewhere or are no names."""
    names = [
        v for v in _VALUES if isinstance(v, str) and "\0" not in v and v != "\ud800"
    ]
    name = names[random.integers(len(names))]
    option = str(
        random.choice(["--task", "--optimizer", "--preset", "--schedule", "--dtype"])
    )
    code = cli.main(["train", option, name, "--out", str(folder / "out")])
    require(code == 2, f"{option} {name!r:.60} ends with {code}")
    return "refused"


_KINDS: dict[str, Callable[[Lab, Random, Path], str]] = {
    "configuration": _config,
    "record": _record,
    "metrics": _metrics,
    "checkpoint's metadata": _position,
    "pickle in the cache": _cache,
    "parquet": _parquet,
    "words": _words,
    "names": _names,
}
