"""README's Python blocks run as they stand, and its pictures exist."""

import re
import tomllib
from pathlib import Path

import jax.numpy as jnp
import optax
import pytest

import arsg_optax
from tests.markdown import local_links, python_blocks, run_in_order

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = python_blocks(TEXT)


def test_there_are_blocks():
    assert len(BLOCKS) == 2 + 2 * 2  # Each diff is two.


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(block):
    # The program around a line to change.
    around = {
        "arsg_optax": arsg_optax,
        "optax": optax,
        "schedule": optax.cosine_decay_schedule(0.02, 100),
        "matrices": {"kernel": True, "bias": False},
    }
    namespace = {} if "import " in block else around
    exec(compile(block, "README.md", "exec"), namespace)
    if namespace is around:
        params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
        around["optimizer"].init(params)


@pytest.mark.parametrize("target", local_links(TEXT))
def test_local_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_links_of_the_built_package_are_absolute():
    held = tomllib.loads((ROOT / "pyproject.toml").read_text())
    urls = held["project"]["urls"]
    base, built = urls["Repository"], TEXT
    assert all(url.startswith(base) for url in urls.values())
    hook = held["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for each in hook["substitutions"]:
        built = re.sub(each["pattern"], each["replacement"], built)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", built)
    others = re.findall(r"(?<!!)\[[^\]!]*\]\(([^)\s]+)\)", built)
    assert pictures and others
    targets = [f"{base}/raw/main/{path}" for path in local_links(TEXT)]
    assert all(link.startswith("https://") for link in pictures)
    assert all(link.startswith(("https://", "#")) for link in others)
    ours = [link for link in (*pictures, *others) if link.startswith(f"{base}/")]
    found = {re.sub(r"/(raw|blob)/main/", "/raw/main/", link) for link in ours}
    assert {target.split("#")[0] for target in targets} <= {
        link.split("#")[0] for link in found
    }


@pytest.mark.parametrize(
    "name", ["crossings.md", "index.md", "optimizers.md", "theory.md", "tuning.md"]
)
def test_blocks_of_the_documentation_run_one_after_the_other(name):
    run_in_order(ROOT / "docs" / name)
