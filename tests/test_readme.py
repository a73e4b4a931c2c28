"""README's Python blocks run as they stand, and its pictures exist."""

from pathlib import Path

import pytest

from tests.markdown import local_links, python_blocks, run_in_order

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = python_blocks(TEXT)


def test_there_are_blocks():
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(block):
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("target", local_links(TEXT))
def test_local_links_lead_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize("name", ["crossings.md", "index.md", "tuning.md"])
def test_blocks_of_the_documentation_run_one_after_the_other(name):
    run_in_order(ROOT / "docs" / name)
