"""What is imported is declared, in the dependencies or the extra of a file."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Every JAX brings NumPy, in a version that fits; the rest are this repository's own.
FREE = {"numpy", "arsg_optax", "benchmarks", "extensions", "scripts", "tests"}
# The extra that the files of a folder need, the nearest folder counts; None: no extra.
EXTRAS = {
    "arsg_optax": None,
    "arsg_optax/dynamics/plot": "demos",
    "arsg_optax/demos": "demos",
    "arsg_optax/flax.py": "flax",
    "docs": "docs",
    "scripts": "test",
    "tests": "test",
}
FILES = [
    file.relative_to(ROOT)
    for folder in ("arsg_optax", "docs", "scripts", "tests")
    for file in (ROOT / folder).rglob("*.py")
    if "_build" not in file.parts
]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(extra: str | None) -> set[str]:
    """Distributions that come with an extra, those of the package included."""
    found: set[str] = set()
    listed = PROJECT["optional-dependencies"][extra] if extra else []
    for requirement in PROJECT["dependencies"] + listed:
        name, _, inner = re.split(r"[<>=; ]", requirement)[0].rstrip("]").partition("[")
        if name == PROJECT["name"]:
            found |= set().union(*map(declared, inner.split(",")))
        else:
            found.add(normalized(name))
    return found


def extra_of(file: Path) -> str | None:
    places = (parent.as_posix() for parent in (file, *file.parents))
    return next(EXTRAS[place] for place in places if place in EXTRAS)


def imported(source: str) -> set[str]:
    """First names of all imports, also of those in functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def undeclared(source: str, extra: str | None, brought: dict[str, list[str]]) -> set:
    outside = imported(source) - set(sys.stdlib_module_names) - FREE
    allowed = declared(extra)
    return {
        name
        for name in outside
        if not allowed & {normalized(each) for each in brought.get(name, [name])}
    }


@pytest.fixture(scope="module")
def brought() -> dict[str, list[str]]:
    """The distributions that hold a name that is imported."""
    return dict(packages_distributions())


@pytest.mark.parametrize("folder", ["arsg_optax", "docs", "scripts", "tests"])
def test_imports_are_declared(folder: str, brought):
    found = {
        str(file): names
        for file in FILES
        if file.parts[0] == folder
        and (
            names := undeclared(
                (ROOT / file).read_text("utf-8"), extra_of(file), brought
            )
        )
    }
    assert found == {}


def test_an_undeclared_import_would_be_found(brought):
    source = "import optax, pyarrow.parquet\ndef f():\n    from PIL import Image\n"
    assert undeclared(source, None, brought) == {"pyarrow", "PIL"}
    assert undeclared(source, "demos", brought) == set()
    assert undeclared("import pandas", "test", brought) == {"pandas"}
