"""Disks that are full: a message instead of a traceback, and the run goes on later."""

import shutil
import subprocess
from pathlib import Path

from scripts.attack.lab import Lab, Random, require
from scripts.attack.targets import (
    Target,
    decoding,
    digits,
    goes_on,
    reproduction,
    sweep,
    unharmed,
)
from scripts.attack.victim import Harm


def trial(lab: Lab, random: Random) -> str:
    """No file grows beyond a size from some moment on, or a small disk fills up."""
    target = (digits("arsg"), decoding(lab), reproduction(), sweep())[
        random.integers(4)
    ]
    operations = unharmed(lab, target).operations
    with lab.trial_folder() as folder:
        if target.again and random.random() < 0.5 and _mount(folder, "1m"):
            try:
                _fill(lab, target, folder, random)
            finally:
                subprocess.run(["umount", "--lazy", str(folder)], check=True)
            return f"{target.name}, a disk of 1 MB"
        at, limit = int(random.integers(operations)), int(random.integers(20_000))
        harm = Harm(under=str(folder), at=at, file_limit=limit)
        _harmed(lab, target, folder, harm)
        goes_on(lab, target, folder, f"{harm}")
    return f"{target.name}, no file beyond a size"


def _harmed(lab: Lab, target: Target, folder: Path, harm: Harm) -> None:
    code, printed = lab.run(target.begin, folder, harm)
    require(code in (0, 1, 2), f"{harm} ends {target.name} with {code}: {printed}")


def _fill(lab: Lab, target: Target, folder: Path, random: Random) -> None:
    """Leaves some of the disk, and makes room once the run has met its end."""
    left = int(random.integers(1_000_000))
    with (folder / "ballast").open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(folder).free - left)))
    _harmed(lab, target, folder, Harm())
    _mount(folder, "64m", again=True)
    goes_on(lab, target, folder, f"a disk with {left} bytes left")


def _mount(folder: Path, size: str, again: bool = False) -> bool:
    """Puts a small disk there, or makes it larger; False where that is not allowed."""
    options = f"remount,size={size}" if again else f"size={size}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return not subprocess.run(command, capture_output=True).returncode
