"""What an experiment is made of: who takes part, with which settings, how often."""

from collections.abc import Mapping
from typing import NamedTuple

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.tasks import find_task
from arsg_optax.demos.tasks.configuration import NO_PRESET, RunConfig
from arsg_optax.demos.tasks.settings import Settings

# Where a setting comes from: the paper's authors chose it; training loss chooses it
# from the paper's grid (or held-out accuracy, see `Entrant.held_out`); the method's own
# authors recommend it; it is chosen alike among as many candidates as every other
# method gets; no source gives a value, and our presets stand in.
PUBLISHED, GRID, RECOMMENDED, BUDGET, ASSUMED = KINDS = (
    "published",
    "grid",
    "recommended",
    "budget",
    "assumed",
)
SEARCHED = (GRID, BUDGET)


class Entrant(NamedTuple):
    """A method in an experiment.

    Attributes:
        label: what tables call it.
        optimizer: its name in the registry or among the recipes.
        fixed: settings by kind, "published", "recommended" and "assumed".
        searched: candidates by kind, "grid" and "budget".
        schedule: of the step size, "task", "cosine" or "constant".
        held_out: whether accuracy on a held-out part of the training set chooses, and
            not training loss.
        first_rank: whether it gets all seeds where others get one.
        task: what is trained, None for the experiment's.
        own_decay: whether the task's L2 decay is left out, for a method whose authors
            decay the parameters otherwise.
        shortened: whether it is run at the shorter lengths of a size, too.
    """

    label: str
    optimizer: str
    fixed: Mapping[str, Settings] = {}
    searched: Mapping[str, tuple[Settings, ...]] = {}
    schedule: str = "task"
    held_out: bool = False
    first_rank: bool = True
    task: str | None = None
    own_decay: bool = False
    shortened: bool = False


class Size(NamedTuple):
    """How much of an experiment is run.

    Attributes:
        runs: what of the paper's protocol that is, in a sentence.
        seeds: of each setting that is reported.
        other_seeds: the same of entrants that are not of first rank.
        searches: whether settings are searched at all.
        epochs: of each run, None for the protocol's.
        examples: of training, None for all.
        batch_size: None for the protocol's.
        shares: shorter lengths, as shares of the whole one, each with its own complete
            schedule.
    """

    runs: str
    seeds: int
    other_seeds: int
    searches: bool = False
    epochs: int | None = None
    examples: int | None = None
    batch_size: int | None = None
    shares: tuple[float, ...] = ()


class Experiment(NamedTuple):
    """A comparison that a paper reports.

    Attributes:
        name: on the command line.
        task: what is trained.
        source: where the paper has it.
        entrants: who takes part.
        sizes: by name; "full" is the paper's protocol.
        loss_panel: title of the paper's panel of training losses.
        test_panel: title of its panel of validation scores.
        at_x: whether settings are chosen by the training loss where each method is
            evaluated; the papers' plots are of minibatch losses.
        preset: of the task, where it changes the network or the length.
        epochs: of each run, None for the task's.
        baselines: labels of those from which the table of final losses takes
            differences; without any there is no such table.
        curves: whether its picture shows curves, and not the final losses less that of
            the first baseline.
    """

    name: str
    task: str
    source: str
    entrants: tuple[Entrant, ...]
    sizes: Mapping[str, Size]
    loss_panel: str
    test_panel: str
    at_x: bool = False
    preset: str = NO_PRESET
    epochs: int | None = None
    baselines: tuple[str, ...] = ()
    curves: bool = True

    def size(self, name: str) -> Size:
        """The size of that name.

        Raises:
            UsageError: if there is none; it lists those that there are.
        """
        if name not in self.sizes:
            raise UsageError(
                f"size must be one of {', '.join(self.sizes)}, got {name!r}"
            )
        return self.sizes[name]

    def entrant(self, label: str) -> Entrant:
        """The entrant of that label.

        Raises:
            KeyError: if there is none.
        """
        return {each.label: each for each in self.entrants}[label]

    def trial(
        self,
        entrant: Entrant,
        settings: Settings,
        size: Size,
        seed: int,
        share: float = 1.0,
    ) -> RunConfig:
        """One run of one method, to be reported, at a share of the length."""
        name = entrant.task or self.task
        task = find_task(name).varied(self.preset)
        return RunConfig(
            task=name,
            optimizer=entrant.optimizer,
            preset=self.preset,
            learning_rate=settings.learning_rate,
            epochs=round(share * (size.epochs or self.epochs or task.epochs)),
            batch_size=size.batch_size or task.batch_size,
            options=settings.options,
            seed=seed,
            examples=size.examples,
            schedule=entrant.schedule,
            l2=0.0 if entrant.own_decay and task.l2 else None,
        )

    def candidates(self, entrant: Entrant, kind: str, size: Size) -> list[RunConfig]:
        """What a choice of that kind is made from, by seed 0.

        None without a search, nor where there is nothing to choose.
        """
        settings = entrant.searched.get(kind, ()) if size.searches else ()
        if len(settings) == 1:
            return []
        trials = [self.trial(entrant, each, size, 0) for each in settings]
        return [each.holding_out() for each in trials] if entrant.held_out else trials

    def every_length(
        self, entrant: Entrant, settings: Settings, kind: str, size: Size
    ) -> list[RunConfig]:
        """All seeds of one setting, of the whole length and of the shorter ones."""
        shorter = self.shorter(entrant, settings, kind, size).values()
        return sum(shorter, self.repeated(entrant, settings, kind, size))

    def shorter(
        self, entrant: Entrant, settings: Settings, kind: str, size: Size
    ) -> dict[float, list[RunConfig]]:
        """All seeds of one setting at the shorter lengths, by their shares."""
        shares = size.shares if entrant.shortened else ()
        return {
            share: self.repeated(entrant, settings, kind, size, share)
            for share in shares
        }

    def repeated(
        self,
        entrant: Entrant,
        settings: Settings,
        kind: str,
        size: Size,
        share: float = 1.0,
    ) -> list[RunConfig]:
        """All seeds of one setting, to be reported.

        Seed 0 chose among candidates, so that it is not reported of what was chosen.
        """
        count = size.seeds if entrant.first_rank else size.other_seeds
        first = 1 if kind in SEARCHED else 0
        seeds = range(first, first + count)
        return [self.trial(entrant, settings, size, seed, share) for seed in seeds]
