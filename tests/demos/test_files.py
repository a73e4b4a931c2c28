"""Files that cannot be written, as the command line reports them."""

import errno
import os
import sys
from pathlib import Path

import pytest

from arsg_optax.demos.cli import guarded
from arsg_optax.demos.files import write_atomically


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EROFS])
def test_a_full_disk_is_one_line(number: int, tmp_path: Path, monkeypatch, capsys):
    path = tmp_path / "table.md"
    path.write_text("before")

    def refuse(source, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)

    def action() -> int:
        write_atomically(path, b"now")
        return 0

    assert guarded("arsg", action) == 1
    expected = f"arsg: {path} could not be written: {os.strerror(number)}; make room"
    assert capsys.readouterr().err.startswith(expected)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_other_errors_keep_their_traceback(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        guarded("arsg", lambda: len(write_atomically(tmp_path / "a" / "b", b"").parts))


def test_what_a_failed_write_leaves_behind_is_not_printed(monkeypatch, capsys):
    # Put back afterwards.
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    guarded("arsg", lambda: 0)

    class Left:
        def __init__(self, text: str):
            self.text = text

        def __del__(self):
            raise RuntimeError(self.text)

    for text in ("Event loop is closed", "of the user's own"):
        Left(text)
    printed = capsys.readouterr().err
    assert "of the user's own" in printed and "Event loop" not in printed
