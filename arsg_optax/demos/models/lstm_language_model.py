"""The LSTM language model of the ARSG paper's WikiText-2 experiment."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

Carry = tuple[tuple[jax.Array, jax.Array], ...]
Initializer = Callable[..., jax.Array]

_VOCABULARY_RANGE = 0.1
# So that the cell remembers from the start (Jozefowicz et al., 2015).
_FORGET_BIAS = 1.0


class LSTM(nnx.Module):
    """One layer of long short-term memory, over all time steps of a segment.

        i, f, g, o = split(x_t input_kernel + h_{t-1} hidden_kernel + bias)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)

    The four gates lie side by side in the last axis, in the order input, forget, cell,
    output, so that they are one product. Gates and cell are computed in the cell's
    dtype, which should be float32 if `dtype` is narrower.

    Args:
        inputs: width of the inputs.
        width: of the hidden state and of the cell.
        dtype: dtype of the products and of the outputs, None for `param_dtype`.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial kernels, uniform within 1 / sqrt(width). The biases
            are 0, but for the forget gate's, which are 1.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        uniform = _uniform(width**-0.5)
        bias = jnp.zeros((4, width), param_dtype).at[1].set(_FORGET_BIAS)
        self.input_kernel = nnx.Param(
            uniform(rngs.params(), (inputs, 4 * width), param_dtype)
        )
        self.hidden_kernel = nnx.Param(
            uniform(rngs.params(), (width, 4 * width), param_dtype)
        )
        self.bias = nnx.Param(bias.reshape(-1))
        self.dtype = param_dtype if dtype is None else dtype

    def __call__(
        self, inputs: jax.Array, hidden: jax.Array, cell: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Maps a segment `[time, batch, inputs]` to outputs `[time, batch, width]`.

        Args:
            inputs: of all steps. Their share of the gates is one product.
            hidden: of the step before the first, `[batch, width]`.
            cell: likewise, `[batch, width]`.

        Returns:
            The outputs, and hidden state and cell of the last step.
        """
        input_kernel, hidden_kernel, bias = (
            parameter[...].astype(self.dtype)
            for parameter in (self.input_kernel, self.hidden_kernel, self.bias)
        )
        steps, batch, _ = inputs.shape
        flat = inputs.astype(self.dtype).reshape(steps * batch, -1)
        of_inputs = (flat @ input_kernel + bias[None]).reshape(steps, batch, -1)

        def step(carry: tuple[jax.Array, jax.Array], of_input: jax.Array):
            hidden, cell = carry
            gates = (of_input + hidden @ hidden_kernel).astype(cell.dtype)
            hidden, cell = _memory(gates, cell)
            hidden = hidden.astype(self.dtype)
            return (hidden, cell), hidden

        # Not unrolled: on CPU each of 2, 5, 7 and 35 steps at a time measured slower.
        start = (hidden.astype(self.dtype), cell)
        last, outputs = jax.lax.scan(step, start, of_inputs)
        return outputs, last


class LSTMLanguageModel(nnx.Module):
    """Embedding, LSTM layers and a softmax over the vocabulary, all of one width.

    Dropout acts on the embedding, between the layers and on the last layer's outputs.
    Its random numbers come from the call, so the module's state is parameters alone;
    `train()` (the mode at first) and `eval()` switch it on and off.

    The carried state is an ordinary argument and result: a gradient reaches an earlier
    segment only if the caller differentiates through both.

    Args:
        vocabulary_size: number of words.
        features: width of the embedding and of each layer.
        layers: number of LSTM layers.
        dropout: share of the activations that is set to zero in training, in [0, 1).
        tie_weights: whether the embedding is the softmax's kernel too.
        dtype: dtype of the computation, None for `param_dtype`.
        param_dtype: dtype in which the parameters are stored.
        rngs: source of the initial weights: embedding and softmax kernel uniform within
            0.1, the softmax's bias 0, the layers as in :class:`LSTM`.

    Raises:
        ValueError: if `dropout` is not in [0, 1) or there is no layer.
    """

    def __init__(
        self,
        vocabulary_size: int,
        features: int = 200,
        layers: int = 2,
        dropout: float = 0.2,
        tie_weights: bool = False,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        uniform = _uniform(_VOCABULARY_RANGE)
        self.embedding = nnx.Param(
            uniform(rngs.params(), (vocabulary_size, features), param_dtype)
        )
        self.layers = nnx.List(
            LSTM(features, features, dtype=dtype, param_dtype=param_dtype, rngs=rngs)
            for _ in range(layers)
        )
        self.tie_weights = tie_weights
        if not tie_weights:
            self.kernel = nnx.Param(
                uniform(rngs.params(), (features, vocabulary_size), param_dtype)
            )
        self.bias = nnx.Param(jnp.zeros(vocabulary_size, param_dtype))
        self.dropout = nnx.Dropout(dropout)
        self.width = features
        self.dtype = param_dtype if dtype is None else dtype

    def initial_carry(self, batch: int) -> Carry:
        """The state before a text's first word: zeros.

        Returns:
            For each layer the hidden state in the dtype of the computation and the cell
            in float32 (float64 if the computation is), both `[batch, features]`.
        """
        shape = (batch, self.width)
        cell_dtype = jnp.promote_types(self.dtype, jnp.float32)
        return tuple(
            (jnp.zeros(shape, self.dtype), jnp.zeros(shape, cell_dtype))
            for _ in self.layers
        )

    def features(
        self, tokens: jax.Array, carry: Carry, *, rngs: nnx.Rngs | None = None
    ) -> tuple[jax.Array, Carry]:
        """What the softmax is applied to; its logits can then be computed in chunks.

        Args:
            tokens: int32 `[batch, time]`, in [0, vocabulary size).
            carry: as :meth:`initial_carry` gives it, or the segment before this one.
            rngs: `nnx.Rngs(dropout=key)`, in training with dropout.

        Returns:
            `[batch, time, features]` in the dtype of the computation, and the state
            after the last word.

        Raises:
            ValueError: in training with dropout without `rngs`.
        """
        if self.dropout.rate > 0 and not self.dropout.deterministic and rngs is None:
            raise ValueError(
                "rngs must be given in training with dropout, got None; pass "
                "rngs=nnx.Rngs(dropout=key), or call the model's eval() first"
            )
        # Time first, as the scan takes its steps along the first axis.
        outputs = self.embedding[...][tokens.T].astype(self.dtype)
        outputs = self.dropout(outputs, rngs=rngs)
        after = []
        for layer, (hidden, cell) in zip(self.layers, carry, strict=True):
            outputs, last = layer(outputs, hidden, cell)
            outputs = self.dropout(outputs, rngs=rngs)
            after.append(last)
        return outputs.swapaxes(0, 1), tuple(after)

    def output(self) -> tuple[jax.Array, jax.Array]:
        """Kernel `[features, vocabulary]` and bias `[vocabulary]` of the softmax.

        Both are in `param_dtype`; a tied kernel is the embedding's transpose.
        """
        kernel = self.embedding[...].T if self.tie_weights else self.kernel[...]
        return kernel, self.bias[...]

    def __call__(
        self, tokens: jax.Array, carry: Carry, rngs: nnx.Rngs | None = None
    ) -> tuple[jax.Array, Carry]:
        """Logits `[batch, time, vocabulary]` and the state after the last word.

        The logits are stored whole: for large vocabularies use :meth:`features` and
        :func:`arsg_optax.demos.models.softmax_loss.softmax_cross_entropy`. Arguments
        and errors are those of :meth:`features`.
        """
        features, carry = self.features(tokens, carry, rngs=rngs)
        kernel, bias = (array.astype(self.dtype) for array in self.output())
        return features @ kernel + bias[None, None], carry


def _memory(gates: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Hidden state and cell after one step, from gates `[batch, 4 width]`."""
    write, keep, candidate, read = jnp.split(gates, 4, axis=-1)
    cell = nnx.sigmoid(keep) * cell + nnx.sigmoid(write) * jnp.tanh(candidate)
    return nnx.sigmoid(read) * jnp.tanh(cell), cell


def _uniform(limit: float) -> Initializer:
    def draw(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return draw
