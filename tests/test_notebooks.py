"""The notebooks run from top to bottom, and equal their paired text."""

import os
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def test_there_are_notebooks():
    assert "quickstart" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_runs_without_an_error(name, monkeypatch):
    # The kernel is a process of its own and warns as its user would see it.
    for variable in ("XLA_FLAGS", "PYTHONWARNINGS"):
        monkeypatch.delenv(variable, raising=False)
    assert "JAX_PLATFORMS" in os.environ
    notebook = jupytext.read(FOLDER / f"{name}.ipynb")
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute()


@pytest.mark.parametrize("name", NAMES)
def test_is_paired(name):
    text, notebook = (
        jupytext.read(FOLDER / f"{name}.{ending}") for ending in ("py", "ipynb")
    )
    assert [(cell.cell_type, cell.source) for cell in text.cells] == [
        (cell.cell_type, cell.source) for cell in notebook.cells
    ]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_light_and_current(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < 200_000
    code = [c for c in jupytext.read(path).cells if c.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1)), (
        f"run scripts/run_notebooks.py notebooks/{name}.py"
    )
