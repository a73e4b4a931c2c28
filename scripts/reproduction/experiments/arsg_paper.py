"""The ARSG paper's experiments: figure 2 and Table A1, and what came after them."""

from collections.abc import Mapping

from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.tasks.settings import AtEpoch, Settings
from scripts.reproduction.experiments import grids
from scripts.reproduction.experiments.entrants import (
    ASSUMED,
    BUDGET,
    GRID,
    PUBLISHED,
    RECOMMENDED,
    Entrant,
    Experiment,
    Size,
)

_PUBLISHED_ONLY = (
    "the settings that authors chose, at the protocol's length; three of five seeds, "
    "one of NAdam, Ranger, and today's methods but schedule-free"
)
_SECOND = ("NAdam", "Ranger", "AdamW", "AdEMAMix", "Prodigy", "Muon")


def _of_the_paper(
    selected: Mapping[str, Settings],
    steps: tuple[float, ...],
    ten: tuple[float, ...],
    held_out: bool,
) -> list[Entrant]:
    """The paper's eight methods.

    Args:
        selected: Table A1.
        steps: of SGD and RSG.
        ten: of them where every method gets as many.
        held_out: whether accuracy on held-out examples chooses.
    """
    arsg, ten_arsg = grids.ARSG_STEPS, grids.TEN_ARSG
    rows = (
        ("SGD", "sgd", grids.sgd(steps), grids.sgd(ten, (0.9,))),
        ("Adam", "adam", grids.adaptive(), grids.adaptive_steps()),
        (
            "NAdam",
            "nadam",
            grids.adaptive((0.9, 0.99, 0.999)),
            grids.adaptive_steps(),
        ),
        ("AMSGrad", "amsgrad", grids.adaptive(), grids.adaptive_steps()),
        ("Ranger", "ranger", grids.ranger(), grids.ranger_steps()),
        *(
            (label, name, grids.steps_only(selected[name], all_steps), budget)
            for label, name, all_steps, budget in (
                ("RSG", "rsg", steps, grids.steps_only(selected["rsg"], ten)),
                ("ARSG", "arsg", arsg, grids.steps_only(selected["arsg"], ten_arsg)),
                ("ARSGB", "arsgb", arsg, grids.steps_only(selected["arsgb"], ten_arsg)),
            )
        ),
    )
    return [
        Entrant(
            label,
            name,
            {PUBLISHED: selected[name]},
            {GRID: grid, BUDGET: budget},
            held_out=held_out,
            first_rank=label not in _SECOND,
        )
        for label, name, grid, budget in rows
    ]


def _of_today(epochs: int, hidden_layers: bool, held_out: bool) -> list[Entrant]:
    """What people would pick today, as its authors recommend.

    AdamW as in its paper with a cosine; schedule-free's default and a warm-up, which
    its README asks for; AdEMAMix, Prodigy and Muon as in their READMEs.

    Args:
        epochs: of the protocol.
        hidden_layers: whether there is something for Muon.
        held_out: whether accuracy on held-out examples chooses.
    """
    adamw = Settings(0.001, {"weight_decay": 0.01})
    free = Settings(0.0025, {"warmup_steps": AtEpoch(2)})
    ademamix = Settings(0.001, {"warmup": AtEpoch(epochs + 1)})
    prodigy, muon = Settings(1.0), Settings(0.02)
    # The learning rate stays 1; its authors turn this coefficient, of default 1.
    turned = tuple(
        prodigy if factor == 1 else Settings(1.0, {"estim_lr_coef": factor})
        for factor in grids.FACTORS
    )
    rows = [
        ("AdamW", "adamw", adamw, grids.around(adamw), "cosine"),
        (
            "Schedule-free",
            "schedule_free_adamw",
            free,
            grids.around(free),
            "constant",
        ),
        ("AdEMAMix", "ademamix", ademamix, grids.around(ademamix), "cosine"),
        ("Prodigy", "prodigy", prodigy, turned, "cosine"),
    ]
    if hidden_layers:
        rows.append(("Muon", "hidden_muon", muon, grids.around(muon), "cosine"))
    return [
        Entrant(
            label,
            name,
            {RECOMMENDED: settings},
            {BUDGET: budget},
            schedule,
            held_out,
            first_rank=label not in _SECOND,
            own_decay=True,
        )
        for label, name, settings, budget, schedule in rows
    ]


def _entrants(
    task: str,
    preset: str = "fast",
    steps: tuple[float, ...] = grids.IMAGE_STEPS,
    ten: tuple[float, ...] = grids.TEN_IMAGE,
    hidden_layers: bool = True,
) -> tuple[Entrant, ...]:
    protocol = find_task(task)
    # The fine mode is the one that is chosen to generalize.
    held_out = preset == "fine"
    paper = _of_the_paper(protocol.preset(preset), steps, ten, held_out)
    return (*paper, *_of_today(protocol.epochs, hidden_layers, held_out))


def _sizes(small: Size) -> Mapping[str, Size]:
    return {
        "full": Size("all of the protocol", 5, 5, searches=True),
        "published": Size(_PUBLISHED_ONLY, 3, 1),
        "small": small,
    }


def _resnet20(preset: str, loss_panel: str, test_panel: str) -> Experiment:
    small = Size(
        "no grids; 10,000 of 50,000 images, 8 of 80 epochs, one of five seeds",
        1,
        1,
        epochs=8,
        examples=10_000,
    )
    return Experiment(
        f"cifar10-resnet20-{preset}",
        "cifar10-resnet20",
        f"ARSG paper, figure 2 ({loss_panel}, {test_panel})",
        _entrants("cifar10-resnet20", preset),
        _sizes(small),
        loss_panel,
        test_panel,
    )


def _imagenet() -> tuple[Entrant, ...]:
    options = find_task("imagenet-resnet50").settings["arsg"].options
    rows = (
        # The paper does not give SGD's; these are the usual ones of ResNet-50.
        ("SGD", "sgd", ASSUMED, Settings(0.1, {"momentum": 0.9})),
        ("Adam1", "adam", PUBLISHED, Settings(0.0001)),
        ("Adam2", "adam", PUBLISHED, Settings(0.0002)),
        ("ARSG1", "arsg", PUBLISHED, Settings(0.01, options)),
        ("ARSG2", "arsg", PUBLISHED, Settings(0.02, options)),
    )
    return tuple(
        Entrant(label, name, {kind: settings}) for label, name, kind, settings in rows
    )


ARSG_PAPER = (
    Experiment(
        "mnist-logreg",
        "mnist-logreg",
        "ARSG paper, figure 2 (a, b)",
        _entrants("mnist-logreg", hidden_layers=False),
        _sizes(
            Size(
                "no grids; 10,000 of 60,000 images, 5 of 20 epochs, three of "
                "five seeds",
                3,
                3,
                epochs=5,
                examples=10_000,
            )
        ),
        "a",
        "b",
    ),
    Experiment(
        "mnist-cnn",
        "mnist-cnn",
        "ARSG paper, figure 2 (c, d)",
        _entrants("mnist-cnn"),
        _sizes(Size("no grids; one of five seeds", 1, 1)),
        "c",
        "d",
    ),
    Experiment(
        "wikitext2-lstm",
        "wikitext2-lstm",
        "ARSG paper, figure 2 (e, f)",
        _entrants("wikitext2-lstm", steps=grids.TEXT_STEPS, ten=grids.TEN_TEXT),
        _sizes(
            Size(
                "no grids; 150,000 of 2,088,628 tokens, batches of 32 instead of 128, "
                "3 of 40 epochs, one of five seeds",
                1,
                1,
                epochs=3,
                examples=150_000,
                batch_size=32,
            )
        ),
        "e",
        "f",
    ),
    _resnet20("fast", "g", "h"),
    _resnet20("fine", "i", "j"),
    Experiment(
        "imagenet-resnet50",
        "imagenet-resnet50",
        "ARSG paper, figure 2 (k, l)",
        _imagenet(),
        {"full": Size("all of the protocol", 1, 1)},
        "k",
        "l",
    ),
)
