"""What people train today: small transformers, AdamW, Muon and their rivals here."""

from collections.abc import Mapping
from typing import Any

from arsg_optax.demos.tasks.settings import Settings
from scripts.reproduction.experiments.entrants import BUDGET, Entrant, Experiment, Size

_ADAPTIVE = (0.0015, 0.003, 0.006, 0.012)
_AVERAGED = (0.003, 0.006, 0.012, 0.024)
_ORTHOGONAL = (0.01, 0.02, 0.04, 0.08)


def entrant(
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


# ARSGW's default until the ablation; each is written out, so that records say it.
FORMER = "ARSGW, μ = 0.1"

_ENTRANTS = (
    entrant("AdamW", "adamw", _ADAPTIVE, b2=0.99),
    entrant("NAdamW", "nadamw", _ADAPTIVE, b2=0.99),
    entrant(
        "Schedule-free AdamW", "schedule_free_adamw", _AVERAGED, "constant", b2=0.99
    ),
    entrant("Muon, all matrices", "muon", _ORTHOGONAL, adam_b2=0.99),
    entrant("Muon", "inner_muon", _ORTHOGONAL),
    entrant("ORSG", "orsg", _ORTHOGONAL),
    entrant(FORMER, "arsgw", _ADAPTIVE, observation=0.1),
    entrant("ARSGW", "arsgw", _ADAPTIVE, observation=0.2),
    entrant("AdamW, averaged", "averaged_adamw", _ADAPTIVE, "constant"),
    entrant("ORSG, averaged", "averaged_orsg", _ORTHOGONAL, "constant"),
)

# The protocol of docs/evidence.md: as many candidates for everyone, factors of two.
FIVE = tuple(0.00125 * 2**n for n in range(5))
FIVE_LARGER = tuple(2 * step for step in FIVE)
FIVE_ORTHOGONAL = tuple(4 * step for step in FIVE)
_STAGE_1 = (
    entrant("AdamW", "adamw", FIVE, b2=0.99),
    entrant("NAdamW", "nadamw", FIVE, b2=0.99),
    entrant(
        "Schedule-free AdamW", "schedule_free_adamw", FIVE_LARGER, "constant", b2=0.99
    ),
    entrant("Muon", "inner_muon", FIVE_ORTHOGONAL),
    entrant("ORSG", "orsg", FIVE_ORTHOGONAL, shortened=True),
    entrant(FORMER, "arsgw", FIVE, shortened=True, observation=0.1),
    entrant("ARSGW", "arsgw", FIVE, observation=0.2),
)
_PROTOCOL = Size(
    "five step sizes each, chosen by training loss with one seed; five other seeds",
    5,
    5,
    searches=True,
    shares=(0.8, 0.88, 0.96),
)


def evidence(
    name: str,
    text: str,
    entrants: tuple[Entrant, ...],
    sizes: Mapping[str, Size],
    baselines: tuple[str, ...],
    curves: bool = True,
    epochs: int = 25,
) -> Experiment:
    """An experiment by the protocol of docs/evidence.md, on one of its texts.

    An epoch is 75 steps.
    """
    return Experiment(
        name,
        f"{text}-transformer",
        f"no paper: {75 * epochs:,} steps of the preset tiny, see docs/evidence.md",
        entrants,
        sizes,
        "next byte",
        "next byte",
        at_x=True,
        preset="tiny",
        epochs=epochs,
        baselines=baselines,
        curves=curves,
    )


def _second_stage() -> tuple[Experiment, ...]:
    steps = _PROTOCOL._replace(shares=())
    vision, characters = "image", "next byte"
    return (
        _other_task(
            "today-cifar10-vit-tiny",
            "cifar10-vit",
            "tiny",
            "780 steps of 64 images, of 25,000",
            steps._replace(epochs=2, examples=25_000, batch_size=64),
            vision,
        ),
        _other_task(
            "today-mnist-cnn",
            "mnist-cnn",
            "today",
            "468 steps of 32 images, one pass over 15,000",
            steps._replace(examples=15_000),
            vision,
        ),
        _other_task(
            "today-wikitext2-lstm",
            "wikitext2-lstm",
            "today",
            "599 steps of 16 rows of 64 bytes, one pass",
            steps._replace(epochs=1, examples=614_400),
            characters,
        ),
    )


def _other_task(
    name: str, task: str, preset: str, length: str, size: Size, panel: str
) -> Experiment:
    """The methods of stage 1, at one length only."""
    return Experiment(
        name,
        task,
        f"no paper: {length}, see docs/evidence.md",
        tuple(
            each._replace(shortened=False) for each in _STAGE_1 if each.label != FORMER
        ),
        {"full": size},
        panel,
        panel,
        at_x=True,
        preset=preset,
        baselines=("AdamW", "Muon"),
    )


TODAY = (
    *_second_stage(),
    *(
        evidence(
            f"today-{text}-tiny",
            text,
            _STAGE_1,
            {"full": _PROTOCOL},
            ("AdamW", "Muon"),
        )
        for text in ("python", "wikitext2")
    ),
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
