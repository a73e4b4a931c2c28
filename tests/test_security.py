"""The package has no way to run what it reads; CI's packages are pinned by version."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "arsg_optax").rglob("*.py"))
# These read what can run code, or start programs.
MODULES = {
    *("cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml"),
    *("code", "codeop", "pty", "runpy", "subprocess", "tarfile", "zipimport"),
}
BUILT_IN = {"__import__", "compile", "eval", "exec"}
METHODS = {"extractall", "unpack_archive", "popen", "execv", "execvp", "spawnv"}
PIN = re.compile(r"[a-z0-9][a-z0-9-]*==[\w.!+]+")


def dangers(source: str) -> Iterator[str]:
    """What runs code, starts programs, unpacks archives or reads pickles."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (name for name in names if name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if f"{node.module}".partition(".")[0] in MODULES:
                yield f"{node.module}"
        elif isinstance(node, ast.Call):
            yield from _dangerous_call(node)


def _dangerous_call(node: ast.Call) -> Iterator[str]:
    called = node.func
    if isinstance(called, ast.Name) and called.id in BUILT_IN:
        yield called.id
    if isinstance(called, ast.Attribute) and called.attr in METHODS:
        yield called.attr
    if ast.unparse(called) == "os.system":
        yield "os.system"
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if ast.unparse(called) == "np.load" and "allow_pickle" not in given:
        yield "np.load without allow_pickle"
    if ast.unparse(called) == "Image.open" and "formats" not in given:
        yield "Image.open without formats"


@pytest.mark.parametrize(
    ("source", "danger"),
    [
        ("import pickle", "pickle"),
        ("from yaml import load", "yaml"),
        ("eval('1')", "eval"),
        ("os.system('ls')", "os.system"),
        ("np.load(f, allow_pickle=True)", "allow_pickle"),
        ("np.load(f)", "np.load without allow_pickle"),
        ("Image.open(f)", "Image.open without formats"),
    ],
)
def test_the_test_finds_them(source: str, danger: str):
    assert list(dangers(source)) == [danger]


def test_nothing_that_is_read_can_run():
    assert len(FILES) > 100
    found = {f"{path}": list(dangers(path.read_text())) for path in FILES}
    assert not {path: names for path, names in found.items() if names}


def test_the_lock_holds_names_and_versions_of_all_that_is_declared():
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert not [line for line in pins if not PIN.fullmatch(line)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = project["dependencies"] + [name for extra in extras for name in extra]
    names = {
        re.sub(r"[-_.]+", "-", re.split(r"[\[<>=; ]", w)[0]).lower() for w in wanted
    }
    pinned = {line.partition("==")[0] for line in pins}
    assert names - {"arsg-optax"} <= pinned
