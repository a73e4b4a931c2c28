"""Tables of measurements, printed and kept with the machine they come from."""

import csv
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import jax

Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, versions, flags."""
    names = ("arsg_optax", "jax", "jaxlib", "optax", "numpy", "torch")
    flags = ("XLA_FLAGS", "MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names if _version(name)},
        "environment": {name: os.environ[name] for name in flags if name in os.environ},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = (line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_names(argument: str, names: Collection[str], known: Collection[str]) -> None:
    """Ends the program, before anything is measured, if a name is unknown."""
    for name in names:
        if name not in known:
            raise SystemExit(
                f"{argument}: {name!r} is unknown; choose among "
                + ", ".join(map(repr, known))
            )


def markdown(rows: Sequence[Row]) -> str:
    """A table of rows that have the same keys."""
    header = list(rows[0])
    lines = [header, ["---"] * len(header)]
    lines += [[_text(row[key]) for key in header] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def keep(name: str, rows: Sequence[Row], directory: Path | None, **facts: Any) -> None:
    """Prints a table; under a directory it also writes CSV, Markdown and machine.

    Args:
      name: of the measurement.
      rows: with the same keys.
      directory: where a directory of today's is made, None to print only.
      **facts: what else was measured, beside the machine's description.
    """
    print(markdown(rows), flush=True)
    if directory is None:
        return
    target = directory / f"{datetime.date.today().isoformat()}-{name}"
    target.mkdir(parents=True, exist_ok=True)
    with (target / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (target / "table.md").write_text(markdown(rows))
    described = json.dumps({**machine(), **facts}, indent=2)
    (target / "machine.json").write_text(described + "\n")
    print(f"kept in {target}")
