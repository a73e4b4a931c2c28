"""What every notebook begins with: its title, a badge, and an installation in Colab.

The repository's address is `Repository` under `project.urls` in pyproject.toml, and
nowhere else: `python -m scripts.run_notebooks` writes it into the notebooks.
"""

import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
BADGE = "[![Open in Colab]"
COLAB = "https://colab.research.google.com/github/"
GITHUB = "https://github.com/"
# What Colab starts a notebook on; the others are quick on its CPU.
_ACCELERATORS = {"mesh": "TPU"}


def repository() -> str:
    """The address of the repository, without a slash at its end."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project["urls"]["Repository"].rstrip("/")


def badge(name: str) -> str:
    """A link that opens the notebook of this name in Colab; its picture is ours."""
    place = f"{repository().removeprefix(GITHUB)}/blob/main/notebooks/{name}.ipynb"
    return f"{BADGE}(images/open-in-colab.svg)]({COLAB}{place})"


def installation(code: str) -> str:
    """A cell that installs the package in Colab and does nothing elsewhere.

    Colab brings JAX, Flax, scikit-learn and Matplotlib.

    Args:
        code: of the notebook; the extra `demos` is installed where it is used.
    """
    extra = "[demos]" if "arsg_optax.demos" in code else ""
    return (
        "import sys\n\n"
        'if "google.colab" in sys.modules:\n'
        f'    %pip install -q "arsg_optax{extra} @ git+{repository()}"\n'
        "    pass"
    )


def write_header(notebook: nbformat.NotebookNode, name: str) -> None:
    """Sets badge and installation in a notebook whose first cell is its title."""
    title, *others = notebook.cells
    if title.cell_type != "markdown" or not title.source.startswith("# "):
        raise ValueError(f"{name}: the first cell must be the title, '# ...'")
    lines = [line for line in title.source.split("\n") if not line.startswith(BADGE)]
    heading, text = lines[0], "\n".join(lines[1:]).strip("\n")
    title.source = "\n\n".join(filter(None, (heading, badge(name), text)))
    code = [cell for cell in others if cell.cell_type == "code"]
    if not (
        code and "%pip install" in code[0].source and repository() in code[0].source
    ):
        code.insert(0, nbformat.v4.new_code_cell())
        notebook.cells.insert(1, code[0])
    code[0].source = installation("\n".join(cell.source for cell in code[1:]))
    if name in _ACCELERATORS:
        notebook.metadata["accelerator"] = _ACCELERATORS[name]
