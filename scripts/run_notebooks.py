"""Executes the notebooks from their paired text and saves them with outputs.

python -m scripts.run_notebooks notebooks/quickstart.py
"""

import argparse
import re
import time
from pathlib import Path

import jupytext
import nbclient

from scripts.notebook_header import ROOT, write_header

# Jupytext's own version would change with every machine.
_VERSIONS = re.compile(r"^# +(format|jupytext)_version: .*\n", re.M)


def run(path: Path) -> None:
    """Executes one `.py` notebook; an error in a cell ends with its traceback."""
    notebook = jupytext.read(path)
    write_header(notebook, path.stem)
    text = _VERSIONS.sub("", jupytext.writes(notebook, fmt="py:percent"))
    path.write_text(text, encoding="utf-8")
    begin = time.perf_counter()
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    for cell in notebook.cells:
        # Times of execution would change with every run.
        cell.metadata.pop("execution", None)
    output = path.with_suffix(".ipynb")
    jupytext.write(notebook, output)
    seconds, size = time.perf_counter() - begin, output.stat().st_size
    print(f"{path.stem}: {seconds:.0f} s, {size / 1000:.0f} kB", flush=True)


def main() -> None:
    """Executes the notebooks named, or all."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("paths", nargs="*", type=Path, metavar="notebooks/NAME.py")
    paths = parser.parse_args().paths or sorted((ROOT / "notebooks").glob("*.py"))
    for path in paths:
        if path.suffix != ".py" or not path.is_file():
            parser.error(f"{path} is no .py file of a notebook")
    for path in paths:
        run(path)


if __name__ == "__main__":
    main()
