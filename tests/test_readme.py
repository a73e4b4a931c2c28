"""README's Python blocks run as they stand, and its pictures exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)


def test_there_are_blocks():
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(block):
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_local_links_lead_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize("name", ["crossings.md", "tuning.md"])
def test_blocks_of_the_documentation_run_one_after_the_other(name):
    text = (ROOT / "docs" / name).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    exec(compile("\n".join(blocks), f"docs/{name}", "exec"), {})
