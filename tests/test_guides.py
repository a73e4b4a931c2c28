"""The guides' blocks run and hold what the text claims; links and names exist."""

import pydoc
import re
from pathlib import Path

import pytest

from tests.markdown import local_links, run_in_order

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "guides"
PAGES = sorted(FOLDER.glob("*.md"))
NAMES = [page.stem for page in PAGES]
# A page says so where Optax's own solvers or MultiSteps run: they are not strict.
RELAXED = "<!-- Dtypes are promoted as in standard JAX here"
# Of this page's program tests/clients takes care: it needs a library that no extra has.
ELSEWHERE = "reinforcement_learning"
RUN = [page for page in PAGES if page.stem != ELSEWHERE]


def test_there_are_guides():
    assert {"choosing", "migration", "faq", "recipes", ELSEWHERE} <= set(NAMES)


@pytest.mark.pages
@pytest.mark.parametrize("page", RUN, ids=[page.stem for page in RUN])
def test_blocks_run_one_after_the_other(page, request):
    if RELAXED in page.read_text():
        request.getfixturevalue("relaxed_promotion")
    run_in_order(page)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_local_links_lead_somewhere(page):
    links = local_links(page.read_text())
    assert not [link for link in links if not (FOLDER / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_linked_names_exist(page):
    names = re.findall(r"`(arsg_optax\.[\w.]+)`", page.read_text())
    assert names
    assert not [name for name in names if pydoc.locate(name) is None]
