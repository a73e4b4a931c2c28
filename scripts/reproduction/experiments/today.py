"""What people train today: small transformers, AdamW, Muon and their rivals here."""

from typing import Any

from arsg_optax.demos.tasks.settings import Settings
from scripts.reproduction.experiments.entrants import BUDGET, Entrant, Experiment, Size

_ADAPTIVE = (0.0015, 0.003, 0.006, 0.012)
_AVERAGED = (0.003, 0.006, 0.012, 0.024)
_ORTHOGONAL = (0.01, 0.02, 0.04, 0.08)


def _entrant(
    label: str,
    optimizer: str,
    steps: tuple[float, ...],
    schedule: str = "task",
    shortened: bool = False,
    **options: Any,
) -> Entrant:
    given = {"weight_decay": 0.1, **options}
    settings = tuple(Settings(step, given) for step in steps)
    return Entrant(
        label, optimizer, {}, {BUDGET: settings}, schedule, shortened=shortened
    )


_ENTRANTS = (
    _entrant("AdamW", "adamw", _ADAPTIVE, b2=0.99),
    _entrant("NAdamW", "nadamw", _ADAPTIVE, b2=0.99),
    _entrant(
        "Schedule-free AdamW", "schedule_free_adamw", _AVERAGED, "constant", b2=0.99
    ),
    _entrant("Muon, all matrices", "muon", _ORTHOGONAL, adam_b2=0.99),
    _entrant("Muon", "inner_muon", _ORTHOGONAL),
    _entrant("ORSG", "orsg", _ORTHOGONAL),
    _entrant("ARSGW", "arsgw", _ADAPTIVE),
    _entrant("AdamW, averaged", "averaged_adamw", _ADAPTIVE, "constant"),
    _entrant("ORSG, averaged", "averaged_orsg", _ORTHOGONAL, "constant"),
)

# The protocol of docs/evidence.md: as many candidates for everyone, factors of two.
_FIVE = tuple(0.00125 * 2**n for n in range(5))
_FIVE_LARGER = tuple(2 * step for step in _FIVE)
_FIVE_ORTHOGONAL = tuple(4 * step for step in _FIVE)
_STAGE_1 = (
    _entrant("AdamW", "adamw", _FIVE, b2=0.99),
    _entrant("NAdamW", "nadamw", _FIVE, b2=0.99),
    _entrant(
        "Schedule-free AdamW", "schedule_free_adamw", _FIVE_LARGER, "constant", b2=0.99
    ),
    _entrant("Muon", "inner_muon", _FIVE_ORTHOGONAL),
    _entrant("ORSG", "orsg", _FIVE_ORTHOGONAL, shortened=True),
    _entrant("ARSGW", "arsgw", _FIVE, shortened=True),
)
_PROTOCOL = Size(
    "five step sizes each, chosen by training loss with one seed; five other seeds",
    5,
    5,
    searches=True,
    shares=(0.8, 0.88, 0.96),
)


def _evidence(name: str, task: str) -> Experiment:
    return Experiment(
        name,
        task,
        "no paper: 1,875 steps of the preset tiny, see docs/evidence.md",
        _STAGE_1,
        {"full": _PROTOCOL},
        "next byte",
        "next byte",
        at_x=True,
        preset="tiny",
        epochs=25,
    )


TODAY = (
    _evidence("today-python-tiny", "python-transformer"),
    _evidence("today-wikitext2-tiny", "wikitext2-transformer"),
    Experiment(
        "python-transformer",
        "python-transformer",
        "no paper: 1,500 steps of two layers of width 64 on bytes",
        _ENTRANTS,
        {
            "full": Size(
                "four step sizes each, chosen by training loss; three seeds",
                3,
                3,
                searches=True,
            )
        },
        "next byte",
        "next byte",
        at_x=True,
    ),
)
