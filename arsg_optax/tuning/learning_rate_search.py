"""The step size, found by training with all candidates at once."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from arsg_optax._validation import check_number, is_number
from arsg_optax.tuning._arguments import check_engine, hypers_of, make_run
from arsg_optax.tuning._cohort import Cohort, Options, Outcome, share_counter
from arsg_optax.tuning._plans import Engine


class LearningRateSearch(NamedTuple):
    """What a search of the step size found; n candidates in the order given.

    Attributes:
      learning_rate: the best one, NaN if all diverged.
      losses: float32 [n, steps], means over the seeds; inf from the first loss on that
        was not finite.
      final_losses: float64 [n], means of the last tenth of the losses, or of the
        scores; inf for those that diverged.
      diverged: bool [n], whether a loss or a parameter stopped being finite with any
        seed.
      learning_rates: float64 [n]; with `refine`, those of the second round follow.
      spread: float64 [n], standard deviation of the seeds' final losses: 0 for one
        seed, inf for those that diverged.
      engine: how candidates were run: "vmapped", "unrolled" or "sequential".
      group: candidates that were run at once.
    """

    learning_rate: float
    losses: np.ndarray
    final_losses: np.ndarray
    diverged: np.ndarray
    learning_rates: np.ndarray
    spread: np.ndarray
    engine: str
    group: int

    def __str__(self) -> str:
        order = np.argsort(self.learning_rates, kind="stable")
        lines = ["learning rate   final loss   spread"]
        for i in order:
            rate, loss = self.learning_rates[i], self.final_losses[i]
            text = "diverged" if self.diverged[i] else f"{loss:.6g}"
            mark = "  <- best" if rate == self.learning_rate else ""
            lines.append(f"{rate:<13.6g}   {text:<10}   {self.spread[i]:.2g}{mark}")
        if math.isnan(self.learning_rate):
            lines.append("all diverged: search smaller learning rates")
        return "\n".join(lines)


def search_learning_rate(
    make_optimizer: Callable[[Any], optax.GradientTransformation],
    loss_fn: Callable[..., Any],
    params: Any,
    batches: Any,
    learning_rates: Sequence[float],
    *,
    steps: int,
    aux: Any = None,
    seeds: int = 1,
    refine: bool = False,
    margin: float = 0.0,
    mesh: jax.sharding.Mesh | None = None,
    engine: Engine = "auto",
    memory_limit: int | None = None,
    gradient_point: Callable[[Any], Any] = lambda params: params,
    score: Callable[[Any, Any, Any], Any] | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> LearningRateSearch:
    """Trains with each learning rate, all of them at once, and picks the best.

    One compiled step trains all candidates: the batch is read once, and the small
    matrix products of many candidates become large ones. The best has the smallest
    mean loss over the last tenth of the steps, or the smallest score.

    Args:
      make_optimizer: from a learning rate, a traced () float, to an optimizer; any
        Optax factory, e.g. ``lambda rate: arsg_optax.arsg(rate, b1=0.99)``. A schedule
        is made of the rate inside.
      loss_fn: ``loss_fn(params, batch)`` returns a real scalar; with ``aux``,
        ``loss_fn(params, aux, batch)`` returns ``(loss, next aux)``.
      params: initial parameters, a tree of arrays; or a function, without arrays among
        its leaves, that makes them from a Python int: ``params(seed)``, so that
        seeds differ in them as well.
      batches: tree of arrays with a leading axis of batches, gone through over and
        over: in the order given with seed 0, shuffled anew each time with the others.
        Or ``batches(seed, step)``, traceable, of a uint32 and an int32 (); a
        ``jax.tree_util.Partial`` keeps large arrays out of the compiled program.
      learning_rates: the candidates, positive.
      steps: length of each training; a tenth of what the whole training will take is
        often enough.
      aux: the model's state beside its parameters, such as statistics of batch norm,
        at the beginning of every training; None if there is none.
      seeds: trainings of each candidate, with seeds 0 to ``seeds`` - 1.
      margin: the best is the smallest learning rate whose final loss exceeds the
        smallest one by at most this share of it. A training that goes on for longer
        than the search leaves a smaller step more time and its noise less room: 0.02
        suits a tenth of the steps (measured in docs/tuning.md); 0 takes the smallest
        loss.
      refine: whether as many candidates (an even number) are tried between the
        neighbours of the best one; at an end of the grid, as far beyond it.
      mesh: the candidates spread over its devices; parameters and data are copied to
        each.
      engine: "vmapped" trains candidates stacked, "unrolled" one after the other
        in one compiled step, "sequential" each by itself. "auto" vmaps; for
        convolutions on the CPU, where that does not pay, it measures the three on a few
        steps.
      memory_limit: bytes that a device may spend, None for 80 % of what is free. Where
        the compiled program needs more, candidates run in groups.
      gradient_point: where gradients are taken, from what the optimizer is given as
        parameters; for ``optax.lookahead``, ``lambda pair: pair.fast``.
      score: ``score(params, opt_state, aux)`` judges what a training ends with: a real
        number that is compared in place of its last losses, such as the loss on
        held-out data at ``arsg_optax.eval_params(opt_state, params)``. It is called
        once per candidate and seed, and is not traced.
      on_progress: called about once a second with the share of the steps done.

    Returns:
      The best learning rate, with all curves. A candidate whose loss stops being finite
      stays where it is, is reported as diverged, and is never the best.

    Raises:
      ValueError: if an argument is out of range, if the loss is not a real scalar, or
        if batches have no common leading axis.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp
      >>> x = jax.random.normal(jax.random.key(0), (8, 32, 4))  # 8 batches
      >>> y = x @ jnp.array([1.0, -2.0, 3.0, 0.5])
      >>> def loss(params, batch):
      ...     x, y = batch
      ...     return jnp.mean((x @ params - y) ** 2)
      >>> found = arsg_optax.tuning.search_learning_rate(
      ...     lambda rate: arsg_optax.rsg(rate, b1=0.9), loss, jnp.zeros(4), (x, y),
      ...     [0.001, 0.01, 0.1, 100.0], steps=100)
      >>> print(f"{found.learning_rate:.2g}", found.diverged)
      0.1 [False False False  True]
    """
    rates = _checked(learning_rates)
    check_engine(engine, memory_limit, mesh)
    check_number("margin", margin, 0, "[)", math.inf, "0.02 is two per cent.")
    run = make_run(
        lambda hypers: make_optimizer(hypers["learning_rate"]),
        loss_fn,
        params,
        batches,
        steps=steps,
        aux=aux,
        seeds=seeds,
        gradient_point=gradient_point,
    )
    rounds = len(rates) + (_finer_count(len(rates)) if refine else 0)
    on_steps = share_counter(rounds * run.steps, on_progress)
    options = Options(engine, memory_limit, mesh, on_steps, score)
    cohort = Cohort(run, hypers_of({"learning_rate": rates}), options)
    found = _result(rates, cohort.advance(run.steps), cohort, margin)
    if not refine or math.isnan(found.learning_rate):
        return found
    finer = refined(rates, found.learning_rate)
    cohort = Cohort(run, hypers_of({"learning_rate": finer}), options, cohort.group)
    finer_found = _result(finer, cohort.advance(run.steps), cohort, margin)
    return _joined(found, finer_found, margin)


def smoothed(outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Means of the scores, or of the last tenth of the losses.

    Returns:
      float64 [candidates], means over the seeds and their standard deviation; inf for
      those that diverged with any seed.
    """
    of_seeds = outcome.scores
    if of_seeds is None:
        window = max(1, outcome.losses.shape[-1] // 10)
        of_seeds = np.mean(outcome.losses[..., -window:], axis=-1, dtype=np.float64)
    lost = np.any(outcome.diverged | ~np.isfinite(of_seeds), axis=1)
    of_seeds = np.where(lost[:, None], 0.0, of_seeds)
    mean, spread = of_seeds.mean(axis=1), of_seeds.std(axis=1)
    return np.where(lost, np.inf, mean), np.where(lost, np.inf, spread)


def refined(rates: np.ndarray, best: float) -> np.ndarray:
    """Rates between the neighbours of the best one, by equal factors.

    As many as there were, or one fewer: an even number, so that the best one, in the
    middle, is not tried again. At
    an end of the grid the missing neighbour is as far away as the other one; a single
    rate has neighbours at half and twice of it.
    """
    grid = np.unique(rates)
    at = int(np.argmin(np.abs(np.log(grid / best))))
    if len(grid) == 1:
        lower, upper = best / 2, best * 2
    elif at == 0:
        lower, upper = best**2 / grid[1], grid[1]
    elif at == len(grid) - 1:
        lower, upper = grid[-2], best**2 / grid[-2]
    else:
        lower, upper = grid[at - 1], grid[at + 1]
    return np.geomspace(lower, upper, _finer_count(len(rates)) + 2)[1:-1]


def _finer_count(count: int) -> int:
    return max(2, count - count % 2)


def _checked(learning_rates: Sequence[float]) -> np.ndarray:
    values = list(np.ravel(learning_rates)) if np.size(learning_rates) else []
    if not values:
        raise ValueError(
            "learning_rates must not be empty; a decade in steps of 1, 2, 5 is usual."
        )
    for value in values:
        if not is_number(value) or not 0 < value < math.inf:
            raise ValueError(
                f"learning_rates must be finite and positive, got {value}; leave it "
                "out."
            )
    return np.asarray(values, np.float64)


def _result(
    rates: np.ndarray, outcome: Outcome, cohort: Cohort, margin: float
) -> LearningRateSearch:
    final, spread = smoothed(outcome)
    plan = cohort.group.plan
    return LearningRateSearch(
        learning_rate=_best(rates, final, margin),
        losses=outcome.losses.mean(axis=1),
        final_losses=final,
        diverged=np.isinf(final),
        learning_rates=rates,
        spread=spread,
        engine=plan.name,
        group=plan.size,
    )


def _joined(
    one: LearningRateSearch, other: LearningRateSearch, margin: float
) -> LearningRateSearch:
    arrays = {
        name: np.concatenate([getattr(one, name), getattr(other, name)])
        for name in ("losses", "final_losses", "diverged", "learning_rates", "spread")
    }
    best = _best(arrays["learning_rates"], arrays["final_losses"], margin)
    return one._replace(learning_rate=best, **arrays)


def _best(rates: np.ndarray, final: np.ndarray, margin: float) -> float:
    smallest = np.min(final)
    if not np.isfinite(smallest):
        return math.nan
    return float(np.min(rates[final <= smallest + margin * abs(smallest)]))
