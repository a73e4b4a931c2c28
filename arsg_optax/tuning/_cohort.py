"""Candidates that train on, group after group, until some of them are let go."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arsg_optax.tuning._engine import Group, Run, unstacked
from arsg_optax.tuning._plans import Engine, make_group, padded
from arsg_optax.tuning._training import Hyperparameters, count_candidates

# Between two calls of a compiled loop the host can be interrupted, and reports.
_CHUNK_SECONDS = 1.0


class Options(NamedTuple):
    """How a search runs; see :func:`arsg_optax.tuning.search_learning_rate`."""

    engine: Engine = "auto"
    memory_limit: int | None = None
    mesh: Any | None = None
    on_steps: Callable[[int], None] = lambda count: None  # Candidates times steps.
    score: Callable[[Any, Any, Any], Any] | None = None


def share_counter(
    total: int, on_progress: Callable[[float], None]
) -> Callable[[int], None]:
    """An `on_steps` that passes on the share of all steps of all candidates."""
    done = 0

    def on_steps(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done / total)

    return on_steps


class Outcome(NamedTuple):
    """What candidates came to.

    Attributes:
      losses: float32 [candidates, seeds, steps so far], inf from the first on that was
        not finite.
      diverged: bool [candidates, seeds].
      scores: float64 [candidates, seeds], None where nothing scores.
    """

    losses: np.ndarray
    diverged: np.ndarray
    scores: np.ndarray | None = None


class Cohort:
    """Candidates at one step of their training.

    Args:
      run: what is trained.
      hypers: [candidates] by name.
      options: how.
      group: compiled for such candidates, None to make it.
    """

    def __init__(
        self,
        run: Run,
        hypers: Hyperparameters,
        options: Options,
        group: Group | None = None,
    ):
        self.hypers = hypers
        self._run, self._options = run, options
        self.group = group or make_group(
            run, hypers, options.engine, options.memory_limit, options.mesh
        )
        size, count = self.group.plan.size, count_candidates(hypers)
        self._rows = [
            range(first, min(first + size, count)) for first in range(0, count, size)
        ]
        self._states: dict[int, Any] = {}  # By candidate; those that have begun.
        self._step = 0

    def advance(self, stop: int, keep: bool = False) -> Outcome:
        """Trains all candidates up to a step.

        Args:
          stop: the step.
          keep: whether the states are needed later, by :meth:`select`.
        """
        found, scores, score = [], [], self._options.score
        for rows in self._rows:
            hypers = padded(self.hypers, rows, self.group.plan.size)
            carry = self._begin(rows, hypers)
            carry = self._advance(carry, hypers, len(rows), stop)
            losses, diverged = self.group.outcomes(carry)
            found.append((losses[: len(rows), :, :stop], diverged[: len(rows)]))
            if score is not None:
                scores += [
                    [float(score(s.params, s.opt_state, s.aux)) for s in seeds]
                    for seeds in self.group.states(carry, len(rows))
                ]
            if keep:
                self._keep(rows, carry)
        self._step = stop
        losses, diverged = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Outcome(losses, diverged, np.array(scores) if scores else None)

    def select(self, rows: Sequence[int]) -> "Cohort":
        """The same candidates, only some of them; the others are forgotten."""
        hypers = {name: np.asarray(v)[list(rows)] for name, v in self.hypers.items()}
        chosen = Cohort(self._run, hypers, self._options)
        chosen._states = {new: self._states[old] for new, old in enumerate(rows)}
        chosen._step = self._step
        return chosen

    def _begin(self, rows: Sequence[int], hypers: Hyperparameters) -> Any:
        if not self._step:
            return self.group.start(hypers)
        states = [self._states.pop(row) for row in rows]
        missing = self.group.plan.size - len(states)
        # Copies, because the compiled step is given its buffers for good.
        fill = [jax.tree.map(jnp.copy, states[-1]) for _ in range(missing)]
        return self.group.restore([*states, *fill])

    def _advance(
        self, carry: Any, hypers: Hyperparameters, count: int, stop: int
    ) -> Any:
        at, seconds_a_step = self._step, 0.0
        while at < stop:
            chunk = int(_CHUNK_SECONDS / seconds_a_step) if seconds_a_step else 1
            target = min(stop, at + max(1, chunk))
            began = time.perf_counter()
            carry = self.group.advance(carry, hypers, at, target)
            jax.block_until_ready(carry)
            seconds_a_step = (time.perf_counter() - began) / (target - at)
            self._options.on_steps(count * (target - at))
            at = target
        return carry

    def _keep(self, rows: Sequence[int], carry: Any) -> None:
        if not isinstance(carry, list):
            carry = unstacked(carry, len(rows))
        if len(self._rows) > 1:  # What does not fit at once must not stay.
            carry = jax.device_put(carry, jax.local_devices(backend="cpu")[0])
        self._states |= dict(zip(rows, carry, strict=False))
