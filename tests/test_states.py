"""States that were saved load and go on, or their format has another number."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import arsg_optax
from arsg_optax._states import find_states
from tests.markdown import python_blocks, run_in_order
from tests.states.files import decoded, encoded, layout, path_of
from tests.states.optimizers import OPTIMIZERS, STEPS, advance, start

FORMAT = arsg_optax.STATE_FORMAT
REMEDY = (
    f"states of format {FORMAT} no longer load or no longer go on as they did. If that "
    f"is meant, raise STATE_FORMAT in arsg_optax/_states.py to {FORMAT + 1} and run "
    "`python -m tests.states.files`; leave the file of the old format as it is"
)


@pytest.fixture(scope="module")
def stored() -> dict:
    path = path_of(FORMAT)
    assert path.exists(), "run `python -m tests.states.files` and add what it writes"
    held = json.loads(path.read_text())
    assert held["state_format"] == FORMAT
    return held["optimizers"]


def test_every_optimizer_has_a_stored_state(stored):
    assert list(stored) == list(OPTIMIZERS), REMEDY


def test_every_public_state_is_among_them():
    public = {name for name in arsg_optax.__all__ if name.endswith("State")}
    found = {
        type(each.state).__name__
        for name in OPTIMIZERS
        for each in find_states(start(name)[1])
    }
    assert not public - found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stored_state_goes_on(name, stored):
    before, after = stored[name]["before"], stored[name]["after"]
    blank = start(name)
    assert layout(before) == layout(encoded(blank)), REMEDY
    params, _ = advance(name, *decoded(before, blank), first=STEPS)
    expected = decoded(after, params)
    # Versions of XLA round sums in their own ways; what a state says is far above that.
    for got, wanted in zip(*map(jax.tree.leaves, (params, expected)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5, err_msg=REMEDY)


def test_files_lose_no_bit(stored):
    name = "arsg-bfloat16"
    tree = decoded(stored[name]["before"], start(name))
    assert encoded(tree) == stored[name]["before"]
    dtypes = {dtype for dtype, _ in layout(stored[name]["before"]).values()}
    assert dtypes == {"float32", "bfloat16", "int32"}


def test_the_page_on_versions_saves_and_reads_a_state(monkeypatch):
    pytest.importorskip("orbax.checkpoint")
    page = Path(__file__).parents[1] / "docs" / "versions.md"
    assert f"| optimizer states | {FORMAT} |" in page.read_text()
    run_in_order(page)
    monkeypatch.setattr(arsg_optax, "STATE_FORMAT", FORMAT + 1)
    text = page.read_text().replace(
        '"state_format": arsg_optax.STATE_FORMAT', f'"state_format": {FORMAT}'
    )
    with pytest.raises(ValueError, match=f"needs arsg_optax {arsg_optax.__version__}"):
        (block,) = python_blocks(text)
        exec(block, {})
