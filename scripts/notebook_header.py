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


def repository() -> str:
    """The address of the repository, without a slash at its end."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project["urls"]["Repository"].rstrip("/")


def badge(name: str) -> str:
    """A link that opens the notebook of this name in Colab; its picture is ours."""
    place = f"{repository().removeprefix(GITHUB)}/blob/main/notebooks/{name}.ipynb"
    return f"{BADGE}(images/open-in-colab.svg)]({COLAB}{place})"


def installation() -> str:
    """A cell that installs the package in Colab and does nothing elsewhere."""
    return (
        "import sys\n\n"
        'if "google.colab" in sys.modules:\n'
        f'    %pip install -q "arsg_optax[demos] @ git+{repository()}"\n'
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
    if code and "arsg_optax[demos]" in code[0].source:
        code[0].source = installation()
    else:
        notebook.cells.insert(1, nbformat.v4.new_code_cell(installation()))
