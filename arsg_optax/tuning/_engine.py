"""Many trainings at once: compiled functions for a group of candidates.

A group's carry holds the states of its candidates. *Together*, they are stacked along a
leading axis and one step is vmapped over it, so that small matrix products of many
candidates become large ones. *Apart*, the carry is a list and the compiled step goes
through it; a group of one is then a training by itself. Batches depend on the seed and
not on the candidate, so all candidates share what is read.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arsg_optax._hyperparameters import default_float
from arsg_optax.tuning._batches import Batches
from arsg_optax.tuning._meshes import shard_map, use_mesh
from arsg_optax.tuning._training import (
    Hyperparameters,
    Training,
    TrainingState,
    init,
    step,
)


class Run(NamedTuple):
    """What is trained, on what, from where and for how long.

    Attributes:
      training: the pure functions.
      batches: the batches by seed and step.
      params: initial parameters, with a leading axis of seeds if there are several.
      aux: initial model state, the same for all seeds.
      seeds: number of seeds.
      steps: length of the whole training.
    """

    training: Training
    batches: Batches
    params: Any
    aux: Any
    seeds: int
    steps: int


class Plan(NamedTuple):
    """How candidates are run.

    Attributes:
      together: vmapped, else one after the other in the compiled step.
      size: candidates of a group; groups run one after the other.
      looped: whether steps run in a compiled loop, else each is a call.
    """

    together: bool
    size: int
    looped: bool

    @property
    def name(self) -> str:
        """What the plan does with the candidates of a group."""
        if self.together:
            return "vmapped"
        return "unrolled" if self.size > 1 else "sequential"


Carry = Any  # a stacked TrainingState, or a list of them


class Group:
    """Compiled functions for groups of `plan.size` candidates.

    Args:
      run: what is trained.
      plan: how.
      names: names of the hyper-parameters.
      mesh: stacked candidates spread over its devices; None for one device.
    """

    def __init__(
        self, run: Run, plan: Plan, names: Sequence[str], mesh: Any | None = None
    ):
        self.plan = plan
        self._run = run
        self._mesh = mesh and jax.sharding.Mesh(mesh.devices, mesh.axis_names)
        with self._context():
            self._compile(names)

    def _compile(self, names: Sequence[str]) -> None:
        run, plan, mesh = self._run, self.plan, self._mesh
        outcomes = functools.partial(_outcomes, seeds=run.seeds)
        # Data are arguments, so that the program holds no constants.
        self._fixed = (run.params, run.aux, run.batches.arrays)
        if mesh is None:
            start: Any = jax.jit(self._start, keep_unused=True)
            advance: Any = jax.jit(self._advance, donate_argnums=0)
            self._outcomes: Any = jax.jit(outcomes)
        else:
            start, advance = _spread(mesh, self._start, self._advance)
            whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
            self._outcomes = jax.jit(outcomes, out_shardings=whole)
            self._fixed = jax.device_put(self._fixed, whole)
        shape = jax.ShapeDtypeStruct((plan.size,), default_float())
        hypers = {name: shape for name in names}
        self._compiled_start: Any = start.lower(hypers, *self._fixed).compile()
        carry = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=sharding
            ),
            jax.eval_shape(start, hypers, *self._fixed),
            self._compiled_start.output_shardings,
        )
        bounds = (jax.ShapeDtypeStruct((), jnp.int32),) * 2
        lowered = advance.lower(carry, hypers, *bounds, self._fixed[2])
        self._compiled_advance: Any = lowered.compile()

    def memory(self) -> tuple[int, int]:
        """Bytes that a device needs: in all, and what does not grow with the group."""
        shared, starts = map(_bytes, (self._fixed, self._fixed[:2]))
        found = self._compiled_advance.memory_analysis()
        if found is None:  # Some backends do not tell.
            return shared, shared
        kinds = ("argument", "output", "temp")
        total = sum(getattr(found, f"{kind}_size_in_bytes") for kind in kinds)
        return total + starts - found.alias_size_in_bytes, shared

    def start(self, hypers: Hyperparameters) -> Carry:
        """The states before the first step; `hypers` are float [size] by name."""
        return self._compiled_start(hypers, *self._fixed)

    def restore(self, states: Sequence[TrainingState]) -> Carry:
        """A carry with one state per candidate."""
        carry: Any = list(states)
        if self.plan.together:
            carry = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return jax.device_put(carry, self._compiled_start.output_shardings)

    def advance(
        self, carry: Carry, hypers: Hyperparameters, start: int, stop: int
    ) -> Carry:
        """The states after the steps from `start` to before `stop`."""
        bounds = [(start, stop)]
        if not self.plan.looped:
            bounds = [(index, index + 1) for index in range(start, stop)]
        for pair in bounds:
            numbers = map(np.int32, pair)
            carry = self._compiled_advance(carry, hypers, *numbers, self._fixed[2])
        return carry

    def outcomes(self, carry: Carry) -> tuple[np.ndarray, np.ndarray]:
        """Losses and what diverged.

        Returns:
          float32 [size, seeds, steps], and bool [size, seeds].
        """
        with self._context():
            losses, diverged = self._outcomes(carry)
        return np.asarray(losses), np.asarray(diverged)

    def states(self, carry: Carry, count: int) -> Iterator[list[TrainingState]]:
        """The states of the first `count` candidates, one per seed, copied in turn."""
        several = self._run.seeds
        for i in range(count):
            held = isinstance(carry, list)
            one = carry[i] if held else jax.tree.map(lambda leaf, i=i: leaf[i], carry)
            yield unstacked(one, several) if several > 1 else [one]

    def _context(self) -> Any:
        """A context of the mesh without typed axes, whatever mesh the caller is in."""
        return nullcontext() if self._mesh is None else use_mesh(self._mesh)

    def _start(
        self, hypers: Hyperparameters, params: Any, aux: Any, arrays: Any
    ) -> Carry:
        del arrays  # Given, so that the states lie where the data do.
        run = self._run

        def of_seed(params: Any, hyper: Hyperparameters) -> TrainingState:
            return init(run.training, hyper, params, aux, run.steps)

        over_seeds = self._over_seeds(of_seed, (0, None))
        return self._over_candidates(functools.partial(over_seeds, params), hypers)

    def _advance(
        self,
        carry: Carry,
        hypers: Hyperparameters,
        start: jax.Array,
        stop: jax.Array,
        arrays: Any,
    ) -> Carry:
        run, several = self._run, self._run.seeds > 1
        seeds = jnp.arange(run.seeds, dtype=jnp.uint32) if several else jnp.uint32(0)

        def body(index: jax.Array, carry: Carry) -> Carry:
            batch = self._over_seeds(run.batches.at, (None, 0, None))(
                arrays, seeds, index
            )

            def of_seed(state: Any, batch: Any, hyper: Hyperparameters) -> Any:
                return step(run.training, state, hyper, batch, index)

            def of_candidate(state: Any, hyper: Hyperparameters) -> Any:
                return self._over_seeds(of_seed, (0, 0, None))(state, batch, hyper)

            return self._over_candidates(of_candidate, carry, hypers)

        if self.plan.looped:
            return jax.lax.fori_loop(start, stop, body, carry)
        return body(start, carry)

    def _over_seeds(self, function: Any, axes: tuple[int | None, ...]) -> Any:
        return jax.vmap(function, in_axes=axes) if self._run.seeds > 1 else function

    def _over_candidates(self, function: Any, *trees: Any) -> Any:
        if self.plan.together:
            return jax.vmap(function)(*trees)
        parts = [
            tree if isinstance(tree, list) else unstacked(tree, self.plan.size)
            for tree in trees
        ]
        return [function(*each) for each in zip(*parts, strict=True)]


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def unstacked(tree: Any, size: int) -> list[Any]:
    """The trees that were stacked along a leading axis of that length."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(size)]


def _spread(mesh: Any, start: Any, advance: Any) -> tuple[Any, Any]:
    """Both functions, jitted, with the candidates split over all axes of a mesh.

    Each device trains its own candidates, so nothing passes between devices.
    """
    spec = jax.sharding.PartitionSpec
    split, whole = spec(mesh.axis_names), spec()

    def mapped(function: Any, specs: tuple[Any, ...], **options: Any) -> Any:
        inside = shard_map(function, mesh, specs, split)
        place = functools.partial(jax.sharding.NamedSharding, mesh)
        shardings = tuple(place(each) for each in specs)
        return jax.jit(
            inside, in_shardings=shardings, out_shardings=place(split), **options
        )

    return (
        mapped(start, (split, whole, whole, whole)),
        mapped(advance, (split, split, whole, whole, whole), donate_argnums=0),
    )


def _outcomes(carry: Carry, seeds: int) -> tuple[jax.Array, jax.Array]:
    if isinstance(carry, list):
        parts = [
            _outcomes(jax.tree.map(lambda x: x[None], one), seeds) for one in carry
        ]
        losses, diverged = zip(*parts, strict=True)
        return jnp.concatenate(losses), jnp.concatenate(diverged)
    finite = carry.alive
    for leaf in jax.tree.leaves(carry.params):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            own = tuple(range(finite.ndim, leaf.ndim))
            finite &= jnp.all(jnp.isfinite(leaf), axis=own)
    count, steps = carry.losses.shape[0], carry.losses.shape[-1]
    losses = carry.losses.reshape(count, seeds, steps)
    return losses, ~finite.reshape(count, seeds)
