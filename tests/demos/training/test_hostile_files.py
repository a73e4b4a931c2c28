"""What comes from elsewhere runs nothing, and writes nothing but a run's own files."""

import contextlib
import io
import json
import os
import pickle
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from arsg_optax.demos import hub
from arsg_optax.demos.data import load_mnist
from arsg_optax.demos.errors import CheckpointError, DataError, UsageError
from arsg_optax.demos.imagenet import load_imagenet
from arsg_optax.demos.tasks.callbacks import Log
from arsg_optax.demos.tasks.configuration import RunConfig
from arsg_optax.demos.tasks.run import evaluate, resume, run
from tests.demos.parquets import write_image_set, write_images
from tests.demos.photographs import write_folder
from tests.demos.quiet import quiet_checkpoints

pytestmark = quiet_checkpoints

# Of a run's directory; the newest checkpoint's name is put in.
FILES = (
    "config.json",
    "record.json",
    "metrics.jsonl",
    "checkpoints/{}/_CHECKPOINT_METADATA",
    "checkpoints/{}/position/metadata",
    "checkpoints/{}/state/_METADATA",
    "checkpoints/{}/state/_sharding",
    "checkpoints/{}/state/manifest.ocdbt",
)


class Touch:
    """Unpickled, it makes the file."""

    def __init__(self, marker: Path):
        self._marker = marker

    def __reduce__(self):
        return os.mknod, (f"{self._marker}",)


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that only code from a hostile file would make."""
    path = tmp_path / "marker"
    pickle.loads(pickle.dumps(Touch(path)))
    assert path.exists()
    path.unlink()
    yield path
    assert not path.exists()


def tree(folder: Path) -> dict[str, bytes]:
    """The files outside the run's directory."""
    return {
        f"{path}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "run" not in path.relative_to(folder).parts
    }


def _as_pickle(content: bytes, marker: Path) -> bytes:
    return pickle.dumps(Touch(marker))


def _as_yaml(content: bytes, marker: Path) -> bytes:
    return f"!!python/object/apply:os.mknod ['{marker}']\n".encode()


def _as_names_of_code(content: bytes, marker: Path) -> bytes:
    """Keys that make some readers of JSON call a function."""
    call = {"py/reduce": [{"py/function": "os.mknod"}, {"py/tuple": [f"{marker}"]}]}
    return json.dumps({**call, "__reduce__": call, "_target_": "os.mknod"}).encode()


def _with_paths_upwards(content: bytes, marker: Path) -> bytes:
    """The file's own words, every text of them a path."""
    for name in (b"arsg", b"params", b"model", b"state", b"ocdbt"):
        content = content.replace(b'"' + name, b'"../../../' + name)
    return content.replace(b"d/", b"../")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "spoil", [_as_pickle, _as_yaml, _as_names_of_code, _with_paths_upwards]
)
def test_a_file_of_a_run_runs_nothing(
    spoil: Callable[[bytes, Path], bytes],
    file: str,
    stopped: tuple[Path, int],
    marker: Path,
    tmp_path: Path,
):
    directory, step = stopped
    path = directory / file.format(step)
    (tmp_path / "beside").write_text("mine")
    before = tree(tmp_path)
    content = path.read_bytes() if path.exists() else b'{"total_step": "state"}'
    path.write_bytes(spoil(content, marker))
    # Refused, or passed over for an older checkpoint.
    with contextlib.suppress(CheckpointError, UsageError):
        resume(directory, Log(directory))
    assert tree(tmp_path) == before


LINKS = ("record.json", "metrics.jsonl", ".lock", ".holder", "damaged", "checkpoints/0")


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("begin", [resume, evaluate])
def test_a_link_in_a_run_is_refused(
    begin: Callable[[Path], object],
    name: str,
    stopped: tuple[Path, int],
    tmp_path: Path,
):
    directory, _ = stopped
    target = tmp_path / "target"
    if name in ("damaged", "checkpoints/0"):
        target.mkdir()
    else:
        target.write_text("mine")
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(target)
    inside = sorted(directory.rglob("*"))
    with pytest.raises(UsageError, match=f"{directory / name} is a link"):
        begin(directory)
    assert sorted(directory.rglob("*")) == inside
    assert target.is_dir() or target.read_text() == "mine"


def test_a_link_in_the_directory_of_a_new_run_is_refused(tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    out = tmp_path / "run"
    out.mkdir()
    (out / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(UsageError, match="is a link"):
        run(RunConfig(task="tiny"), directory=out)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_pickle_among_decoded_data_is_not_read(own_cache: Path, marker: Path):
    folder = own_cache.parent / "data"
    pixels = write_image_set(folder / "mnist", (28, 28), "image")
    load_mnist(folder)
    (cached,) = own_cache.rglob("*.cache")
    packed = io.BytesIO()
    hostile = np.array([Touch(marker)], dtype=object)
    np.savez(packed, allow_pickle=True, train_images=hostile)
    cached.write_bytes(hub._digest(packed.getvalue()) + packed.getvalue())
    found = load_mnist(folder)
    assert len(found.train.images) == len(pixels["train"])


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: Path) -> bytes:
    """An image that Pillow hands to the program `gs`, which makes the marker."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n: >'{marker}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    content = io.BytesIO()
    Image.new("RGB", (28, 28)).save(content, "EPS")
    # The test would see it run.
    with pytest.raises(OSError), Image.open(content) as image:
        image.load()
    assert marker.exists()
    marker.unlink()
    return content.getvalue()


def test_an_image_starts_no_program(interpreter: bytes, tmp_path: Path, own_cache):
    for split in ("train", "test"):
        file = tmp_path / "mnist" / f"{split}.parquet"
        file.parent.mkdir(exist_ok=True)
        write_images(file, [interpreter], [0])
    with pytest.raises(DataError, match="cannot be decoded"):
        load_mnist(tmp_path)
    for file in write_folder(tmp_path).rglob("*.*"):
        file.write_bytes(interpreter)
    with pytest.raises(DataError, match="cannot be read"):
        load_imagenet(tmp_path)
