"""Several hyper-parameters, by successive halving."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from arsg_optax._validation import check, check_number
from arsg_optax.tuning._arguments import check_engine, hypers_of, make_run
from arsg_optax.tuning._cohort import Cohort, Options, share_counter
from arsg_optax.tuning._plans import Engine
from arsg_optax.tuning._training import count_candidates
from arsg_optax.tuning.learning_rate_search import smoothed
from arsg_optax.tuning.space import Space, configurations


class Search(NamedTuple):
    """What a search found; n candidates, those that lasted longest first.

    Attributes:
      best: hyper-parameters by name of the candidate that lasted longest and has the
        smallest loss, among those that did not diverge; empty if all diverged.
      hyperparameters: float64 [n] by name.
      steps: int64 [n], how long each was trained.
      final_losses: float64 [n], means of the last tenth of a candidate's own losses;
        inf for those that diverged.
      diverged: bool [n].
      losses: float32 [n, steps], means over the seeds; NaN after a candidate's last
        step, inf from the first loss on that was not finite.
      spread: float64 [n], standard deviation of the seeds' final losses.
    """

    best: dict[str, float]
    hyperparameters: dict[str, np.ndarray]
    steps: np.ndarray
    final_losses: np.ndarray
    diverged: np.ndarray
    losses: np.ndarray
    spread: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per candidate: settings, steps, loss, spread, diverged."""
        rows = []
        for i, steps in enumerate(self.steps):
            row: dict[str, Any] = {
                name: float(values[i]) for name, values in self.hyperparameters.items()
            }
            row |= {"steps": int(steps), "final_loss": float(self.final_losses[i])}
            row |= {"spread": float(self.spread[i])}
            rows.append(row | {"diverged": bool(self.diverged[i])})
        return rows

    def to_csv(self, path: str | Path) -> None:
        """Writes :meth:`rows` to a file, with a header."""
        rows = self.rows()
        with Path(path).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def __str__(self) -> str:
        rows = self.rows()
        lines = ["  ".join(f"{name:>13}" for name in rows[0])]
        for row in rows:
            cells = (
                f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values()
            )
            lines.append("  ".join(f"{cell:>13}" for cell in cells))
        if not self.best:
            lines.append("all diverged: search smaller learning rates")
        return "\n".join(lines)


def search(
    make_optimizer: Callable[..., optax.GradientTransformation],
    space: Space,
    loss_fn: Callable[..., Any],
    params: Any,
    batches: Any,
    *,
    steps: int,
    samples: int = 1,
    keep: float = 1 / 3,
    min_steps: int | None = None,
    seed: int = 0,
    aux: Any = None,
    seeds: int = 1,
    mesh: jax.sharding.Mesh | None = None,
    engine: Engine = "auto",
    memory_limit: int | None = None,
    gradient_point: Callable[[Any], Any] = lambda params: params,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Search:
    """Trains candidates from a space at once and lets the worse ones go early.

    Successive halving: all candidates are trained for ``min_steps`` or more; the share
    ``keep`` with the smallest losses goes on to ``1 / keep`` times as many steps, and
    so on up to ``steps``. Each of these rounds takes about as long as the one before.

    Args:
      make_optimizer: called with the names of the space, traced () floats:
        ``make_optimizer(learning_rate=..., b1=...)``; any Optax factory, or
        ``functools.partial`` of one.
      space: by name, a sequence of numbers, :class:`Uniform` or :class:`LogUniform`.
      loss_fn, params, batches: as :func:`search_learning_rate` takes them.
      steps: how long those train that stay to the end.
      samples: draws from the ranges for each combination of the grids.
      keep: share of the candidates that go on, in (0, 1]; 1 keeps all to the end.
      min_steps: the least steps of the first round; None makes as many rounds as leave
        one candidate for the last.
      seed: seed of the draws.
      aux, seeds, mesh, engine, memory_limit, gradient_point, on_progress: as
        :func:`search_learning_rate` takes them.

    Returns:
      The best candidate, with a row for each.

    Raises:
      ValueError: if an argument is out of range; as :func:`search_learning_rate`.

    References:
      Jamieson, Talwalkar, `Non-stochastic Best Arm Identification and Hyperparameter
      Optimization <https://arxiv.org/abs/1502.07943>`_, 2016
    """
    check_engine(engine, memory_limit, mesh)
    _check(steps, samples, keep, min_steps)
    values = configurations(space, int(samples), seed)
    run = make_run(
        lambda hypers: make_optimizer(**hypers),
        loss_fn,
        params,
        batches,
        steps=steps,
        aux=aux,
        seeds=seeds,
        gradient_point=gradient_point,
    )
    rounds = plan_rounds(count_candidates(values), int(steps), keep, min_steps)
    total = sum(
        count * (stop - start)
        for (count, stop), start in zip(
            rounds, [0, *(r[1] for r in rounds)], strict=False
        )
    )
    options = Options(engine, memory_limit, mesh, share_counter(total, on_progress))
    return _halve(Cohort(run, hypers_of(values), options), values, rounds, int(steps))


def _check(steps: Any, samples: Any, keep: Any, min_steps: Any) -> None:
    check("steps", steps)
    check("samples", samples)
    check_number("keep", keep, 0, "(]", 1, "1/3 is the default.")
    if min_steps is None:
        return
    check("min_steps", min_steps)
    if min_steps > steps:
        raise ValueError(
            f"min_steps must be at most steps, {steps}, got {min_steps}; the first "
            "round is no longer than the whole training."
        )


def plan_rounds(
    count: int, steps: int, keep: float, min_steps: int | None
) -> list[tuple[int, int]]:
    """Candidates and last step of each round.

    The last round has `steps`; the one before, that times `keep`, down to `min_steps`,
    or to as many rounds as leave one candidate.
    """
    counts, stops = [count], [steps]
    while keep < 1:
        earlier = math.ceil(stops[0] * keep)
        fewer = max(1, math.floor(counts[-1] * keep))
        enough = counts[-1] == 1 if min_steps is None else earlier < min_steps
        if enough or earlier in (0, stops[0]):
            break
        counts.append(fewer)
        stops.insert(0, earlier)
    return list(zip(counts, stops, strict=True))


def _halve(
    cohort: Cohort,
    values: dict[str, np.ndarray],
    rounds: list[tuple[int, int]],
    steps: int,
) -> Search:
    count = rounds[0][0]
    alive = np.arange(count)
    losses = np.full((count, steps), np.nan, np.float32)
    final, spread = np.empty(count), np.empty(count)
    lasted, diverged = np.zeros(count, np.int64), np.zeros(count, bool)
    for number, (_, stop) in enumerate(rounds):
        last = number == len(rounds) - 1
        outcome = cohort.advance(stop, keep=not last)
        losses[alive, :stop] = outcome.losses.mean(axis=1)
        final[alive], spread[alive] = smoothed(outcome)
        lasted[alive], diverged[alive] = stop, outcome.diverged.any(axis=1)
        if not last:
            order = np.argsort(final[alive], kind="stable")[: rounds[number + 1][0]]
            cohort, alive = cohort.select(order.tolist()), alive[order]
    order = np.lexsort((final, -lasted))
    kept = order[np.isfinite(final[order])]
    best = {n: float(v[kept[0]]) for n, v in values.items()} if kept.size else {}
    named = {name: each[order] for name, each in values.items()}
    return Search(
        best=best,
        hyperparameters=named,
        steps=lasted[order],
        final_losses=final[order],
        diverged=diverged[order],
        losses=losses[order],
        spread=spread[order],
    )
