"""The file that holds verdicts on the papers' theory."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arsg_optax.demos.errors import UsageError
from scripts.reproduction.findings.judges import NOT_RUN, VERDICTS, Verdict
from scripts.reproduction.findings.theorems import THEOREMS, Theorem


def encoded(found: Sequence[tuple[Theorem, Verdict]]) -> bytes:
    """The verdicts as the file holds them."""
    rows = [
        {"text": theorem.text, "source": theorem.source, **verdict._asdict()}
        for theorem, verdict in found
    ]
    return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()


def read(path: Path) -> list[tuple[Theorem, Verdict]]:
    """The statements with the verdicts of a file; "not run" where it has none.

    Raises:
        UsageError: if it holds anything else.
    """
    held: Any = []
    try:
        if path.exists():
            held = json.loads(path.read_bytes())
        by_text = {
            row["text"]: Verdict(row["verdict"], row["evidence"]) for row in held
        }
        if any(verdict not in VERDICTS for verdict, _ in by_text.values()):
            raise ValueError(f"a verdict is none of {', '.join(VERDICTS)}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"--theorems: {path} cannot be read ({error}); delete it, or write it anew "
            "with `python -m scripts.reproduction theorems`"
        ) from error
    missing = Verdict(NOT_RUN, "not computed")
    return [(each, by_text.get(each.text, missing)) for each in THEOREMS]
