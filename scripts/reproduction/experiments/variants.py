"""ORSG and ARSGW in detail: a drop-in for AdamW, an ablation, points to evaluate at.

The protocol is that of docs/evidence.md, whose tables these experiments fill.
"""

from typing import Any

from arsg_optax.demos.tasks.settings import Falling, LogTime
from scripts.reproduction.experiments.entrants import Entrant, Experiment, Size
from scripts.reproduction.experiments.today import (
    FIVE,
    FIVE_LARGER,
    FIVE_ORTHOGONAL,
    FORMER,
    entrant,
    evidence,
)

# What AdamW and ORSG chose on each text in stage 1.
_ADAMW = {"python": 0.005, "wikitext2": 0.0025}
_ORSG = 0.02


def _drop_in(text: str) -> Experiment:
    step = (_ADAMW[text],)
    entrants = (
        entrant("AdamW", "adamw", step, b2=0.99),
        entrant("NAdamW", "nadamw", step, b2=0.99),
        entrant(FORMER, "arsgw", step, observation=0.1),
        entrant("ARSGW", "arsgw", step, observation=0.2),
        entrant('ORSG, scale="rms"', "rms_orsg", step),
    )
    protocol = Size(
        "AdamW's step size and decay for all; five seeds", 5, 5, searches=True
    )
    name = f"today-drop-in-{text}"
    return evidence(name, text, entrants, {"full": protocol}, ("AdamW",))


def _ablation_of_orsg() -> Experiment:
    orsg = "orsg", (_ORSG,)
    entrants = (
        entrant("ORSG", *orsg),
        *(entrant(f"μ = {mu}", *orsg, observation=mu) for mu in (0.05, 0.1, 0.3)),
        entrant("μ falls", *orsg, observation=Falling(0.25)),
        *(entrant(f"δ = {d}", *orsg, b1=LogTime(d)) for d in (2.0, 4.0, 16.0)),
        *(entrant(f"b1 = {b}", *orsg, b1=b) for b in (0.9, 0.95, 0.98, 0.99)),
        entrant("b1 = 0.95, μ = 0.05", *orsg, b1=0.95, observation=0.05),
        entrant("b1 = 0.95, exact", *orsg, b1=0.95, exact=True),
        entrant("no decay", *orsg, weight_decay=0.0),
    )
    return _ablation("today-ablation", entrants)


def _ablation_of_arsgw() -> Experiment:
    """Around its default of then; it chose the observation that is the default now."""
    step = (_ADAMW["python"],)

    def variant(label: str, mu: float = 0.1, **options: Any) -> Entrant:
        return entrant(label, "arsgw", step, observation=mu, **options)

    entrants = (
        variant(FORMER),
        variant("ARSGW, μ = 0.05", 0.05),
        variant("ARSGW", 0.2),
        variant("ARSGW, μ = 0.3", 0.3),
        *(variant(f"{FORMER}, δ = {d}", b1=LogTime(d)) for d in (4.0, 16.0)),
        variant(f"{FORMER}, b1 = 0.9", b1=0.9),
        variant(f"{FORMER}, exact", exact=True),
        entrant("ARSG's rms", "arsg", step, b1=LogTime(8.0)),
    )
    return _ablation("today-ablation-arsgw", entrants)


def _ablation(name: str, entrants: tuple[Entrant, ...]) -> Experiment:
    protocol = Size("all at the step size of stage 1; five seeds", 5, 5, searches=True)
    short = Size("a quarter of the steps; five seeds", 5, 5, searches=True, epochs=6)
    sizes, baselines = {"full": protocol, "short": short}, (entrants[0].label,)
    return evidence(name, "python", entrants, sizes, baselines, curves=False)


def _points() -> Experiment:
    adaptive, orthogonal = FIVE[:3], FIVE_ORTHOGONAL[:3]
    entrants = (
        entrant("ORSG, cosine", "orsg", FIVE_ORTHOGONAL),
        entrant("ORSG", "orsg", orthogonal, "constant"),
        *(
            entrant(
                f"ORSG, average {a}", "smoothed_orsg", orthogonal, "constant", average=a
            )
            for a in (0.9, 0.99, 0.999)
        ),
        # Wider, as the largest of three was chosen.
        entrant(
            "ORSG, averaged remotely", "averaged_orsg", FIVE_ORTHOGONAL, "constant"
        ),
        entrant(f"{FORMER}, cosine", "arsgw", FIVE, observation=0.1),
        entrant(FORMER, "arsgw", adaptive, "constant", observation=0.1),
        entrant("AdamW, cosine", "adamw", FIVE, b2=0.99),
        entrant("AdamW", "adamw", adaptive, "constant", b2=0.99),
        entrant(
            "AdamW, average 0.99",
            *("smoothed_adamw", adaptive, "constant"),
            average=0.99,
            b2=0.99,
        ),
        entrant("AdamW, averaged remotely", "averaged_adamw", adaptive, "constant"),
        entrant(
            "Schedule-free AdamW",
            "schedule_free_adamw",
            FIVE_LARGER,
            "constant",
            b2=0.99,
        ),
    )
    protocol = Size(
        "step sizes chosen by training loss with one seed, of five, or of three where "
        "they are constant; three other seeds",
        3,
        3,
        searches=True,
    )
    sizes, baselines = {"full": protocol}, ("ORSG, cosine",)
    return evidence("today-points", "python", entrants, sizes, baselines, curves=False)


def _long() -> Experiment:
    """More than three times the steps, at what was chosen for the shorter runs."""
    adamw, orsg = (_ADAMW["python"],), (_ORSG,)
    entrants = (
        entrant("AdamW", "adamw", adamw, b2=0.99),
        entrant("NAdamW", "nadamw", adamw, b2=0.99),
        entrant("Muon", "inner_muon", orsg),
        entrant("ORSG", "orsg", orsg),
        entrant("ARSGW", "arsgw", adamw, observation=0.2),
        entrant(FORMER, "arsgw", adamw, observation=0.1),
        entrant(
            "Schedule-free AdamW", "schedule_free_adamw", (0.01,), "constant", b2=0.99
        ),
        # The two constant step sizes are those that `today-points` chose.
        entrant("ORSG, averaged remotely", "averaged_orsg", (0.08,), "constant"),
        entrant(
            *("ORSG, average 0.999", "smoothed_orsg", (0.01,), "constant"),
            average=0.999,
        ),
    )
    protocol = Size("at the step sizes of shorter runs; three seeds", 3, 3, True)
    sizes, baselines = {"full": protocol}, ("AdamW", "Muon")
    return evidence("today-long", "python", entrants, sizes, baselines, epochs=80)


_OF_ORSG, _OF_ARSGW = _ablation_of_orsg(), _ablation_of_arsgw()
VARIANTS = (
    _drop_in("python"),
    _drop_in("wikitext2"),
    _OF_ORSG,
    _OF_ARSGW,
    _points(),
    _long(),
)
# Of the ablations, but for the methods as they are.
VARIANTS_OF = {
    found.baselines[0]: tuple(each.label for each in found.entrants[1:])
    for found in (_OF_ORSG, _OF_ARSGW)
}
