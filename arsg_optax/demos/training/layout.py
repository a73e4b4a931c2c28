"""How a run lies on several devices: its parameters, the optimizer's state, a batch."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from arsg_optax.demos.errors import UsageError
from arsg_optax.demos.training.processes import is_alone

AXES = ("data", "fsdp")
# Of an array that is worth splitting, in elements.
_SMALLEST = 1024

_Tree = TypeVar("_Tree")


class Layout(NamedTuple):
    """Devices in a grid, and what is split among them.

    Every batch is split over all devices. Parameters and what the optimizer keeps of
    their shape are split over the axis `fsdp`, along the largest of their axes that it
    divides, and are the same along the axis `data`. What the optimizer keeps of a
    stack of matrices is split by matrix instead where the devices divide their number,
    and so is the update: a device orthogonalizes whole matrices and asks nobody.
    Parameters are not: the network's loop over layers would gather the stack each time.

    Attributes:
        mesh: of the axes `data` and `fsdp`.
        split_state: whether the optimizer's arrays are split over `data`, too (ZeRO-1).
    """

    mesh: Mesh
    split_state: bool = False

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.mesh.size

    def everywhere(self, tree: _Tree) -> _Tree:
        """The arrays, whole on every device."""
        return jax.tree.map(lambda array: _put(array, self.replicated()), tree)

    def over_rows(self, tree: _Tree) -> _Tree:
        """The arrays of batches, split along their first axis where that goes."""

        def placed(array: Any) -> jax.Array:
            whole = array.ndim == 0 or array.shape[0] % self.devices
            return _put(array, self.replicated() if whole else self.rows())

        return jax.tree.map(placed, tree)

    def own_rows(self, size: int) -> np.ndarray | None:
        """Numbers of those rows of a batch that this process's devices take.

        None for all: the process is alone, or the devices do not divide the size, so
        that the batch lies whole on each.
        """
        if is_alone() or size % self.devices:
            return None
        parts = self.rows().addressable_devices_indices_map((size,))
        return np.unique([np.arange(size)[index] for index in parts.values()])

    def from_own_rows(self, tree: _Tree, size: int) -> _Tree:
        """A batch of which each process holds its :meth:`own_rows`."""
        if self.own_rows(size) is None:
            return self.over_rows(tree)

        def placed(array: np.ndarray) -> jax.Array:
            whole = (size, *array.shape[1:])
            return jax.make_array_from_process_local_data(self.rows(), array, whole)

        return jax.tree.map(placed, tree)

    def batch(self, tree: _Tree) -> _Tree:
        """A batch inside `jit`, split along its first axis."""
        return jax.tree.map(
            lambda array: jax.lax.with_sharding_constraint(array, self.rows()), tree
        )

    def of_state(self, state: Any) -> Any:
        """Shardings of a :class:`TrainState` of arrays or their shapes."""
        return state._replace(
            held=self.of_params(state.held),
            opt_state=self.of_optimizer(state.opt_state),
            model_state=jax.tree.map(lambda _: self.replicated(), state.model_state),
            losses=self.replicated(),
        )

    def of_params(self, tree: Any) -> Any:
        """Shardings of parameters as the network takes them."""
        return self._split(tree, AXES[1:])

    def of_gradients(self, tree: Any) -> Any:
        """Shardings of gradients as the network's loop over layers sums them."""
        return self._split(tree, self._optimizer_axes)

    def of_optimizer(self, tree: Any) -> Any:
        """Shardings of the optimizer's arrays, and of all that its update works on."""
        return self._split(tree, self._optimizer_axes, by_matrix=True)

    @property
    def _optimizer_axes(self) -> tuple[str, ...]:
        return AXES if self.split_state else AXES[1:]

    def _split(self, tree: Any, over: tuple[str, ...], by_matrix: bool = False) -> Any:
        count = math.prod(self.mesh.shape[name] for name in over)

        def sharding(leaf: Any) -> NamedSharding:
            sizes = [size if size % count == 0 else 0 for size in leaf.shape]
            if math.prod(leaf.shape) < _SMALLEST or not any(sizes):
                return self.replicated()
            # Three axes are a stack of matrices, as for the trainer's optimizers.
            stacked = by_matrix and len(sizes) == 3 and sizes[0]
            axis = 0 if stacked else int(np.argmax(sizes))
            return NamedSharding(self.mesh, PartitionSpec(*axis * (None,), over))

        return jax.tree.map(sharding, tree)

    def rows(self) -> NamedSharding:
        """Split along the first axis over all devices."""
        return NamedSharding(self.mesh, PartitionSpec(AXES))

    def replicated(self) -> NamedSharding:
        """Whole on every device."""
        return NamedSharding(self.mesh, PartitionSpec())


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
    if is_alone():
        return jax.device_put(array, sharding)
    # Every process has the whole array, and keeps its devices' part.
    whole = np.asarray(jnp.asarray(array))
    return jax.make_array_from_callback(whole.shape, sharding, whole.__getitem__)


def read_mesh(text: str) -> dict[str, int]:
    """The sizes of the axes that `data=4,fsdp=2` names; an axis left out is 1.

    Raises:
        UsageError: if it is written otherwise.
    """
    sizes: dict[str, int] = dict.fromkeys(AXES, 1)
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\w+)=([1-9]\d*)\s*", part)
        if not found or found[1] not in sizes:
            raise UsageError(
                "mesh must name the axes data and fsdp with their sizes, got "
                f"{text!r}; write for example data=8 or data=4,fsdp=2"
            )
        sizes[found[1]] = int(found[2])
    return sizes


def make_layout(sizes: Mapping[str, int], split_state: bool = False) -> Layout:
    """The layout on all devices of all processes.

    Raises:
        UsageError: if there are fewer or more.
    """
    wanted, found = math.prod(sizes.values()), jax.device_count()
    if wanted != found:
        raise UsageError(
            f"mesh must cover the {found} devices that JAX finds, got {wanted}; on a "
            "CPU set XLA_FLAGS=--xla_force_host_platform_device_count="
            f"{wanted}, or choose other sizes"
        )
    devices = np.array(jax.devices()).reshape(tuple(sizes.values()))
    return Layout(Mesh(devices, tuple(sizes)), split_state)
