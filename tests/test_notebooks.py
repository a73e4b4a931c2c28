"""The notebooks run from top to bottom, and equal their paired text."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
plt = pytest.importorskip("matplotlib.pyplot")

from scripts.notebook_header import badge, installation, repository, write_header

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def test_each_notebook_is_listed():
    root = FOLDER.parent
    index, readme = (
        (root / "docs/index.md").read_text(),
        (root / "README.md").read_text(),
    )
    assert len(NAMES) >= 9
    for name in NAMES:
        assert f"notebooks/{name}\n" in index
        assert f"(notebooks/{name}.ipynb)" in readme


@pytest.fixture
def as_in_a_kernel(monkeypatch, relaxed_promotion, optimized) -> Iterator[None]:
    """JAX's usual rules, and what notebooks expect and may change."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])
    monkeypatch.setattr(plt, "show", lambda *_, **__: plt.close("all"))
    names = ("jax_default_matmul_precision", "jax_enable_x64")
    before = {name: getattr(jax.config, name) for name in names}
    with plt.rc_context({"backend": "Agg"}), jax.numpy_rank_promotion("allow"):
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    plt.close("all")


# Without a kernel: one would import everything again and share no compiled program.
@pytest.mark.pages
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", NAMES)
def test_runs_without_an_error(name, as_in_a_kernel):
    path = FOLDER / f"{name}.py"
    exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__"})


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
        f"python -m scripts.run_notebooks notebooks/{name}.py"
    )
    shown = [output for cell in code for output in cell.outputs]
    assert not [each for each in shown if each.get("name") == "stderr"]


@pytest.mark.parametrize("name", NAMES)
def test_header_holds_the_repository_of_today(name):
    notebook = jupytext.read(FOLDER / f"{name}.ipynb")
    before = [cell.source for cell in notebook.cells]
    write_header(notebook, name)
    assert [cell.source for cell in notebook.cells] == before
    assert before[0].count(repository().removeprefix("https://github.com/")) == 1
    assert (notebook.metadata.get("accelerator") == "TPU") == (name == "mesh")
    assert (FOLDER / "images" / "open-in-colab.svg").exists()


def test_a_header_is_written_once_and_keeps_the_text():
    title = nbformat.v4.new_markdown_cell("# Title\n\nText.\n\nMore.")
    own = nbformat.v4.new_code_cell('if "google.colab" in sys.modules:\n    pass')
    notebook = nbformat.v4.new_notebook(cells=[title, own])
    for _ in range(2):
        write_header(notebook, "name")
        assert len(notebook.cells) == 3
    assert notebook.cells[0].source == f"# Title\n\n{badge('name')}\n\nText.\n\nMore."
    assert notebook.cells[1].source == installation("")
    assert '"arsg_optax @ git' in installation("import arsg_optax")
    assert '"arsg_optax[demos] @ git' in installation("import arsg_optax.demos.cli")
    untitled = nbformat.v4.new_notebook(cells=[own])
    with pytest.raises(ValueError, match="first cell must be the title"):
        write_header(untitled, "name")
