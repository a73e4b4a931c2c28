"""States as files: `python -m tests.states.files` writes those of a new format."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import arsg_optax
from arsg_optax._states import by_path
from tests.states.optimizers import OPTIMIZERS, STEPS, advance, start

FOLDER = Path(__file__).parent
Stored = dict[str, dict[str, Any]]


def path_of(state_format: int) -> Path:
    return FOLDER / f"format-{state_format}.json"


def encoded(tree: Any) -> Stored:
    """Each leaf by its path: dtype, shape and numbers, of which no bit is lost."""
    return {path: _encoded(np.asarray(leaf)) for path, leaf in by_path(tree).items()}


def _encoded(leaf: np.ndarray) -> dict[str, Any]:
    kept = leaf if leaf.dtype.kind in "biu" else leaf.astype(np.float32)
    numbers = [
        # Nine digits give every float32 back.
        each if isinstance(each, int) else float(f"{each:.9g}")
        for each in kept.ravel().tolist()
    ]
    return {"dtype": f"{leaf.dtype}", "shape": list(leaf.shape), "numbers": numbers}


def layout(stored: Stored) -> dict[str, tuple[str, list[int]]]:
    """Dtype and shape of each leaf."""
    return {path: (leaf["dtype"], leaf["shape"]) for path, leaf in stored.items()}


def decoded(stored: Stored, like: Any) -> Any:
    """The tree, in the structure of another one with the same paths."""
    leaves = [
        jnp.asarray(np.reshape(leaf["numbers"], leaf["shape"]), leaf["dtype"])
        for leaf in (stored[path] for path in by_path(like))
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def write(path: Path) -> None:
    """Writes every optimizer's state, and the parameters that it leads to.

    Raises:
        FileExistsError: if there are states of the format.
    """
    optimizers = {}
    for name in OPTIMIZERS:
        before = advance(name, *start(name), first=0)
        after, _ = advance(name, *before, first=STEPS)
        optimizers[name] = {"before": encoded(before), "after": encoded(after)}
    head = {"state_format": arsg_optax.STATE_FORMAT, "jax": jax.__version__}
    head["arsg_optax"] = arsg_optax.__version__
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in optimizers.items()]
    text = json.dumps({**head, "optimizers": {}}).removesuffix("}}")
    with path.open("x") as file:
        file.write(text + "\n" + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    write(path_of(arsg_optax.STATE_FORMAT))
