"""The guide's program with sbx-rl, where it is installed.

No extra brings it, as it needs PyTorch; the guide has the command.
"""

from pathlib import Path

import pytest

from tests.markdown import run_in_order

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("default")  # Theirs.
def test_the_guide_s_program():
    pytest.importorskip("sbx", reason="needs sbx-rl, see the guide")
    run_in_order(ROOT / "docs" / "guides" / "reinforcement_learning.md")
