"""Which arrays of a model are hidden matrices, by their names and shapes."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from arsg_optax.transforms.orthogonalization import MatrixAxes, as_matrix_axes

# Names of modules and parameters in Flax, Haiku, Equinox and models written with them.
_OUTSIDE = re.compile(
    r"emb(ed|$|_)|logit|(^|_)pos(ition(al|s)?)?(_(?!wise)|$)|(^|_)\w*tokens?$"
    r"|(^|_)(wte|wpe|vocab|readout|classifier|(?<!multi_)(?<!attention_)head|cls)_?\d*$"
    r"|^(output_layer|vocab_proj|predictions|score|qa_outputs|a_log|codebook|latents)$"
)
_NORM = re.compile(r"norm|(^|_)ln(_\w+)?\d*$")
_VECTOR = re.compile(r"^(\w*_)?(b|bias|scale|offset|gain|gamma|beta)\d*$")
_PAIRS = re.compile(r"^lora_")  # Two factors of one matrix.
# Names in Equinox, whose layers multiply from the left, (output, input).
_FROM_THE_LEFT = ("weight", "weight_ih", "weight_hh")


def hidden_matrices(
    params: optax.Params, rules: Mapping[str, Any] | None = None
) -> optax.Params:
    """Finds a model's hidden matrices, and which of their axes are input and output.

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
        :class:`arsg_optax.MatrixAxes`. The first one found decides, before all names;
        vectors stay vectors.

    Returns:
      Tree as ``params``, of :class:`arsg_optax.MatrixAxes` and None: what
      ``matrices`` of :func:`arsg_optax.orsg` takes. To map over it, call both leaves.

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
    given: Any = params
    scalar = isinstance(given, jax.Array) and given.ndim == 0
    if scalar and jnp.issubdtype(given.dtype, jnp.integer):
        raise ValueError(
            f"params must be a tree of arrays, got {params}; inject_hyperparams takes "
            "a callable for a schedule: name it there, static_args=('matrices',)."
        )

    def judge(path, leaf):
        joined, axes = "/".join(map(_name, path)), jnp.ndim(leaf)
        if axes < 2:
            return None
        for pattern, verdict in (rules or {}).items():
            if re.search(pattern, joined):
                return as_matrix_axes("rules must be", verdict, f" for {pattern!r}")
        # Haiku joins names of modules, Flax NNX's variables add one.
        own = [name for name in joined.split("/") if name not in ("~", "value")]
        words = [_snake(name) for name in own]
        if any(_OUTSIDE.search(word) or _NORM.search(word) for word in words):
            return None
        last = "".join(words[-1:])
        if _VECTOR.search(last) and not _PAIRS.search(last):
            return None
        if axes > 2:
            raise ValueError(
                f"matrices must say what '{joined}' of shape {jnp.shape(leaf)} is, got "
                "nothing for it: with more than two axes it is unclear which ones are "
                "input, output and batch; pass for example matrices=lambda params: "
                f"hidden_matrices(params, {{{joined!r}: MatrixAxes(input=0, "
                "output=(1, 2))}), or False in the place of the axes."
            )
        left = own and own[-1] in _FROM_THE_LEFT
        return MatrixAxes(1, 0) if left else MatrixAxes(0, 1)

    return jax.tree_util.tree_map_with_path(judge, params)


def _name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def _snake(name: str) -> str:
    """The name in lower case, with the words of CamelCase apart."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
