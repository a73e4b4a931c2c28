"""Which arrays of a model are hidden matrices, by their names and shapes."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import optax

from arsg_optax.transforms.orthogonalization import MatrixAxes

# Names of modules and parameters in Flax, Haiku and the models written with them.
_OUTSIDE = re.compile(
    r"embed|(^|_)(wte|wpe|vocab|logits|readout|classifier|head|cls|class_token)_?\d*$"
    r"|(^|_)pos(ition(al|s)?)?(_|$)"
)
_VECTOR = re.compile(r"(^|_)(b|bias|scale|offset|gain|gamma|beta|norm\w*)\d*$")
# Equinox's name; its layers multiply from the left, (output, input).
_FROM_THE_LEFT = "weight"


def hidden_matrices(
    params: optax.Params, rules: Mapping[str, Any] | None = None
) -> optax.Params:
    """Says of each array which matrix it is, or that it is none.

    An array of two axes is a matrix, input first (or output first if its name is
    ``weight``, as in Equinox), unless a name in its path says that it is an embedding,
    a position, an output head (``head``, ``logits``, ``classifier``, ...), a bias or a
    scale. These, vectors and scalars are no matrices. Arrays with more axes are not
    guessed: Flax's attention has (d, heads, head_dim) and (heads, head_dim, d), and a
    stack of layers looks the same.

    Args:
      params: tree of arrays.
      rules: by a regular expression that is searched in the path, such as
        ``"attention/query/kernel"``: True (a matrix, input first), False (none) or
        :class:`arsg_optax.MatrixAxes`. The first one found decides, before all names.

    Returns:
      Tree as ``params``, of :class:`arsg_optax.MatrixAxes` and None: what
      ``matrices`` of :func:`arsg_optax.orsg` takes.

    Raises:
      ValueError: if an array has three axes and more and no rule says what it is.

    Examples:
      >>> import arsg_optax, jax.numpy as jnp
      >>> params = {
      ...     "embed": jnp.ones((50, 8)),
      ...     "mlp": {"kernel": jnp.ones((8, 32)), "bias": jnp.ones(32)},
      ...     "query": jnp.ones((8, 2, 4)),
      ... }
      >>> found = arsg_optax.hidden_matrices(
      ...     params, {"query": arsg_optax.MatrixAxes(0, (1, 2))}
      ... )
      >>> found["mlp"]["kernel"], found["embed"], found["mlp"]["bias"]
      (MatrixAxes(input=0, output=1), None, None)
    """

    def judge(path, leaf):
        names = [_name(key) for key in path]
        joined = "/".join(names)
        for pattern, verdict in (rules or {}).items():
            if re.search(pattern, joined):
                return _verdict(pattern, verdict)
        words = [_snake(name) for name in names]
        if leaf.ndim < 2 or any(_OUTSIDE.search(word) for word in words):
            return None
        if any(_VECTOR.search(word) for word in words):
            return None
        if leaf.ndim > 2:
            raise ValueError(
                f"matrices must say what '{joined}' of shape {leaf.shape} is, got "
                "nothing for it: with more than two axes input, output and batch "
                "cannot be told; pass for example matrices=lambda params: "
                f"hidden_matrices(params, {{{joined!r}: MatrixAxes(input=0, "
                "output=(1, 2))}), or False in the place of the axes."
            )
        own = [name for name in names if name != "value"]  # Of Flax NNX's variables.
        return MatrixAxes(1, 0) if own[-1:] == [_FROM_THE_LEFT] else MatrixAxes(0, 1)

    return jax.tree_util.tree_map_with_path(judge, params)


def _verdict(pattern: str, verdict: Any) -> MatrixAxes | None:
    if isinstance(verdict, MatrixAxes):
        return verdict
    if verdict is True:
        return MatrixAxes()
    if verdict is False or verdict is None:
        return None
    raise ValueError(
        f"rules must be True, False or MatrixAxes, got {verdict!r} for {pattern!r}; "
        "True is MatrixAxes(input=0, output=1)."
    )


def _name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def _snake(name: str) -> str:
    """In lower case, and words of CamelCase apart."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
