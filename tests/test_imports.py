"""Imports go one way: no cycles, and rooms of the demos import what is below them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom. A room imports itself and the rooms before it; what lies beside
# the rooms (errors, files) imports none of them.
ROOMS = ("models", "data", "training", "tasks", "report", "commands")


def modules(*folders: str) -> dict[str, Path]:
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path
        for path in paths
    }


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules among the known ones that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known or node.module in known:
                    yield inner if inner in known else node.module


def graph(*folders: str) -> dict[str, set[str]]:
    known = modules(*folders)
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring; empty if there are none."""
    left = {name: set(targets) for name, targets in edges.items()}
    while free := [name for name, targets in left.items() if not targets & set(left)]:
        for name in free:
            del left[name]
    return sorted(left)


def test_the_test_finds_a_cycle():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


@pytest.mark.parametrize("folder", ["arsg_optax/demos", "scripts"])
def test_no_module_imports_itself_by_way_of_others(folder: str):
    edges = graph(folder)
    assert sum(map(len, edges.values())) > 10
    assert not cycle(edges)


def room(module: str) -> int | None:
    name = module.removeprefix("arsg_optax.demos.").partition(".")[0]
    return ROOMS.index(name) if name in ROOMS else None


def test_rooms_import_downwards():
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph("arsg_optax/demos").items()
        for target in targets
        if (above := room(target)) is not None
        and (here := room(name)) is not None
        and above > here
    ]
    assert not wrong


def test_the_core_needs_neither_demos_nor_scripts_nor_flax():
    for name, path in modules("arsg_optax").items():
        if name.startswith("arsg_optax.demos") or name == "arsg_optax.flax":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            found = []
            if isinstance(node, ast.Import | ast.ImportFrom):
                found = [alias.name for alias in node.names]
                found.append(getattr(node, "module", None) or "")
            for each in found:
                assert not each.startswith(("flax", "scripts", "arsg_optax.demos"))
                assert each != "arsg_optax.flax", name
