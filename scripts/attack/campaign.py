"""The campaign: attacks in turn within the time given, counted, and one table."""

import contextlib
import datetime
import json
import shlex
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest import mock
from zlib import crc32

import numpy as np

from arsg_optax.demos.commands.shared import option, read_options
from arsg_optax.demos.errors import UsageError, find_named
from arsg_optax.demos.files import write_atomically
from benchmarks.records import machine, markdown
from scripts.attack import (
    checkpoints,
    clocks,
    damage,
    disks,
    fuzz,
    hostile,
    kills,
    soak,
    starts,
    storms,
)
from scripts.attack.lab import ROOT, Failed, Lab, Random

PROGRAM = "python -m scripts.attack"


class Attack(NamedTuple):
    """A kind of attack.

    Attributes:
        trial: tries one thing and returns what it tried, in a few words.
        share: of the time, beside the other attacks' shares.
        summary: a sentence.
    """

    trial: Callable[[Lab, Random], str]
    share: float
    summary: str


def _attack(module: Any, share: float) -> Attack:
    return Attack(module.trial, share, module.__doc__.strip().splitlines()[0])


ATTACKS: Mapping[str, Attack] = {
    "fuzz": _attack(fuzz, 2),
    "storms": _attack(storms, 1),
    "damage": _attack(damage, 2),
    "hostile": _attack(hostile, 1.5),
    "checkpoints": _attack(checkpoints, 1),
    "soak": _attack(soak, 2.5),
    "kills": _attack(kills, 5),
    "disks": _attack(disks, 2),
    "clocks": _attack(clocks, 1.5),
    "starts": _attack(starts, 1.5),
}


@dataclass(frozen=True)
class Options:
    """Attack the package: kills, damage, full disks, hostile files, fuzzed arguments.

    Attacks run in turn until the time is over; Ctrl-C ends with the table of what was
    done. Writes table.md and table.json; the exit code is 1 if anything failed.
    """

    minutes: Annotated[float, option("Time for all attacks.", "N")] = 20.0
    only: Annotated[
        tuple[str, ...], option(f"Which attacks: {', '.join(ATTACKS)}.", "NAME")
    ] = ()
    seed: Annotated[
        int | None, option("Of all random choices (None: another each time).", "N")
    ] = None
    trial: Annotated[
        int | None, option("Repeat this one trial of one attack.", "N")
    ] = None
    soak_steps: Annotated[
        int | None, option("Steps of each soak (None: from 20,000 upwards).", "N")
    ] = None
    list: Annotated[bool, option("Only list the attacks.", "")] = False
    results: Annotated[
        Path, option("Directory of <date>-attack, and of earlier tables.", "DIR")
    ] = Path("results")


@dataclass
class Tally:
    """What came of one attack."""

    trials: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> int:
    """Runs the campaign; returns 0, 1 after failures, 2 for wrong options."""
    options = read_options(Options, PROGRAM, arguments)
    if isinstance(options, int):
        return options
    for name in options.only:
        find_named(ATTACKS, "attack", name)
    names = [name for name in ATTACKS if name in (options.only or ATTACKS)]
    if options.list:
        for name in names:
            print(f"{name:12} {ATTACKS[name].summary}")
        return 0
    if options.trial is not None and (len(names) != 1 or options.seed is None):
        raise UsageError("--trial needs --only NAME and --seed, of the failed trial")
    seed = int(time.time()) if options.seed is None else options.seed
    tallies = run(names, seed, options)
    if options.trial is None:
        keep(options.results, tallies, seed)
    return int(any(tally.failures for tally in tallies.values()))


def run(names: Sequence[str], seed: int, options: Options) -> dict[str, Tally]:
    """Runs attacks, each for its share of the time that is left."""
    end, tallies = time.monotonic() + 60 * options.minutes, dict[str, Tally]()
    with _scratch() as folder, contextlib.suppress(KeyboardInterrupt):
        lab = Lab(folder, options.soak_steps)
        for place, name in enumerate(names):
            left = sum(ATTACKS[each].share for each in names[place:])
            now = time.monotonic()
            until = now + max(0.0, end - now) * ATTACKS[name].share / left
            tally = tallies[name] = Tally()
            lab.facts = tally.facts
            numbers = range(10**9)
            if options.trial is not None:
                numbers = (options.trial,)
            for number in numbers:
                _try(name, number, seed, lab, tally)
                if time.monotonic() >= until:
                    break
            _say(name, tally)
    return tallies


def _try(name: str, number: int, seed: int, lab: Lab, tally: Tally) -> None:
    """One trial; any error is a failure of the package, or else of the attack."""
    try:
        kind = ATTACKS[name].trial(
            lab, np.random.default_rng([seed, crc32(name.encode()), number])
        )
    except Exception as error:
        kind, text = "failed", str(error)
        if not isinstance(error, Failed):
            text = "".join(traceback.format_exception(error)[-3:])
        for folder in (lab.folder, ROOT):  # Of this machine.
            text = text.replace(f"{folder}/", "")
        again = f"{PROGRAM} --only {name} --seed {seed} --trial {number}"
        tally.failures.append({"what": text[-2000:], "again": again})
        print(f"{name}: FAILED: {text[-2000:]}\n  again: {again}", flush=True)
    tally.trials[kind] += 1
    if sum(tally.trials.values()) in (1, 10, 100, 1_000, 10_000):
        _say(name, tally)


def _say(name: str, tally: Tally) -> None:
    count = sum(tally.trials.values())
    print(f"{name}: {count:,} trials, {len(tally.failures)} failures", flush=True)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for everything, also for decoded data."""
    with tempfile.TemporaryDirectory(prefix="arsg-attack-") as name:
        folder = Path(name).resolve()
        with mock.patch.dict("os.environ", XDG_CACHE_HOME=str(folder / "cache")):
            yield folder


def keep(results: Path, tallies: Mapping[str, Tally], seed: int) -> None:
    """Writes the table; it goes on with the newest of the earlier ones."""
    former = _former(results)
    rows = _rows(tallies, former.get("together", {}))
    together = {
        f"{r['attack']}: {r['tried']}": r["trials with earlier runs"] for r in rows
    }
    facts = dict(former.get("facts", {}))
    for name, tally in tallies.items():
        if tally.facts:
            facts[name] = {**facts.get(name, {}), **tally.facts}
    command = shlex.join([*PROGRAM.split(), *sys.argv[1:]])
    held = {
        "machine": {**machine(), "command": command},
        "seed": seed,
        "rows": rows,
        "together": together,
        "facts": facts,
        "failures": [each for tally in tallies.values() for each in tally.failures],
    }
    folder = results / f"{datetime.date.today().isoformat()}-attack"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / "table.json", (json.dumps(held, indent=1) + "\n").encode()
    )
    text = _page(held)
    write_atomically(folder / "table.md", text.encode())
    print(f"{text}\n{folder}")


def _rows(
    tallies: Mapping[str, Tally], before: Mapping[str, int]
) -> list[dict[str, Any]]:
    """A row for each kind of trial, also for those that only earlier runs tried."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name, tally in tallies.items():
        for kind, count in tally.trials.items():
            failures = len(tally.failures) if kind == "failed" else 0
            found[name, kind] = {"trials": count, "failures": failures}
    for key in before:
        name, kind = key.split(": ", 1)
        found.setdefault((name, kind), {"trials": 0, "failures": 0})
    order = [*ATTACKS, *tallies]
    return [
        {
            "attack": name,
            "tried": kind,
            **row,
            "trials with earlier runs": row["trials"]
            + before.get(f"{name}: {kind}", 0),
        }
        for (name, kind), row in sorted(
            found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
        )
    ]


def _former(results: Path) -> dict[str, Any]:
    """The newest table, which holds what earlier ones counted and measured."""
    tables = sorted(results.glob("*-attack/table.json"))
    return json.loads(tables[-1].read_text()) if tables else {}


def _page(held: Mapping[str, Any]) -> str:
    trials = sum(row["trials"] for row in held["rows"])
    command, day = held["machine"]["command"], held["machine"]["date"]
    lines = [
        f"`{command}`, {day}, seed {held['seed']}: {trials:,} trials, "
        f"{len(held['failures'])} failures.\n",
        markdown(held["rows"]) if held["rows"] else "nothing was tried\n",
    ]
    for name, facts in held["facts"].items():
        lines.append(f"What `{name}` measured:\n")
        lines += [f"- {key}: {value}" for key, value in sorted(facts.items())]
        lines.append("")
    for each in held["failures"]:
        lines.append(f"Failed, `{each['again']}`:\n\n```\n{each['what']}\n```\n")
    return "\n".join(lines)
