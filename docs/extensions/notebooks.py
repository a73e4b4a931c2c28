"""The notebooks, brought below the folder that Sphinx reads."""

import shutil
from pathlib import Path


def copy(source: Path, target: Path) -> None:
    """Mirrors notebooks and their images; files that did not change keep their time."""
    wanted = {
        path.relative_to(source)
        for pattern in ("*.ipynb", "images/*")
        for path in source.glob(pattern)
    }
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target) not in wanted:
            path.unlink()
    for name in wanted:
        before, after = source / name, target / name
        after.parent.mkdir(parents=True, exist_ok=True)
        if not after.exists() or after.read_bytes() != before.read_bytes():
            shutil.copyfile(before, after)
