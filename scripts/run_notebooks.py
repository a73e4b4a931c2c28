"""Executes the notebooks from their paired text and saves them with outputs.

python scripts/run_notebooks.py notebooks/quickstart.py
"""

import sys
from pathlib import Path

import jupytext
import nbclient


def main(paths: list[str]) -> None:
    """Executes each `.py` notebook; an error in a cell ends with its traceback."""
    for path in map(Path, paths or sorted(map(str, Path("notebooks").glob("*.py")))):
        notebook = jupytext.read(path)
        client = nbclient.NotebookClient(
            notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}
        )
        client.execute()
        for cell in notebook.cells:
            # Times of execution would change with every run.
            cell.metadata.pop("execution", None)
        jupytext.write(notebook, path.with_suffix(".ipynb"))


if __name__ == "__main__":
    main(sys.argv[1:])
