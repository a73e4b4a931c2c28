"""What a run writes down: JSON lines, and TensorBoard's event files."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from arsg_optax.demos.errors import CheckpointError

METRICS = "metrics.jsonl"
_EVENTS = "tensorboard"


class Logs:
    """Writes `metrics.jsonl` and TensorBoard event files.

    Each line is a JSON object with `event` (`"steps"` or `"epoch"`), `epoch` and
    `total_step`, and numbers. A number that is not finite is written as null.

    Args:
        directory: of the run.
        epoch: in which the run goes on; what was written of it and later ones after
            their evaluation is taken back.
        total: steps that are done; what was written beyond them is taken back.
    """

    def __init__(self, directory: Path, epoch: int = 1, total: int = 0):
        self._directory = directory
        path = directory / METRICS
        kept = [
            line
            for line in read_metrics(path)
            if (
                line["epoch"] < epoch
                if line["event"] == "epoch"
                else line["total_step"] <= total
            )
        ]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        path.with_suffix(".tmp").write_text(text)
        path.with_suffix(".tmp").replace(path)
        self._file = path.open("a")
        self._events = SummaryWriter(
            str(directory / _EVENTS), purge_step=total + 1 if total else None
        )

    def write(
        self, event: str, epoch: int, total: int, numbers: dict[str, Any]
    ) -> None:
        """Writes one line, at once, and its numbers as scalars.

        Raises:
            CheckpointError: if the disk is full.
        """
        shown = {name: _finite(value) for name, value in numbers.items()}
        line = {"event": event, "epoch": epoch, "total_step": total, **shown}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            for name, value in numbers.items():
                if isinstance(value, int | float) and math.isfinite(value):
                    self._events.add_scalar(f"{event}/{name}", value, total)
        except OSError as error:
            raise CheckpointError(
                f"{self._directory / METRICS} could not be written to: {error}. Make "
                f"room on the disk, then go on with arsg train --resume "
                f"{self._directory}"
            ) from error

    def close(self) -> None:
        """Closes the files; what a full disk does not take is lost."""
        for file in (self._file, self._events):
            with contextlib.suppress(OSError):
                file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, empty if there is none.

    A last line that a killed process left unfinished is left out.
    """
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
