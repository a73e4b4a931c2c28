"""What is trained: pure functions of parameters, model state and a batch."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from arsg_optax.demos.models.softmax_loss import scores as softmax_scores
from arsg_optax.demos.models.softmax_loss import softmax_cross_entropy

Params = Any
ModelState = Any
Batch = tuple[jax.Array, ...]


class Totals(NamedTuple):
    """Sums over examples, () float32: losses in nats, right answers, examples."""

    loss: jax.Array
    right: jax.Array
    count: jax.Array

    def add(self, other: "Totals") -> "Totals":
        """The sums over both."""
        return Totals(*(a + b for a, b in zip(self, other, strict=True)))


class Problem(Protocol):
    """A network with its loss.

    `model_state` is what a network carries beside its parameters: running statistics
    of batch normalization, the state of a recurrent network.
    """

    def init(self, seed: int | jax.Array) -> tuple[Params, ModelState]:
        """Initial parameters, nested dictionaries, and model state."""
        ...

    def start_epoch(self, model_state: ModelState) -> ModelState:
        """The model state with which an epoch begins."""
        ...

    def start_evaluation(self, model_state: ModelState, batch: Batch) -> ModelState:
        """The model state with which the evaluation of a set begins."""
        ...

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, ModelState]:
        """Mean loss of a batch in training mode, () float32, and the next state."""
        ...

    def totals(
        self, params: Params, model_state: ModelState, batch: Batch
    ) -> tuple[Totals, ModelState]:
        """Sums over a batch `(inputs, labels, weights)` in evaluation mode."""
        ...

    def has_statistics(self, model_state: ModelState) -> bool:
        """Whether the state holds running statistics that belong to parameters."""
        ...


class ClassificationProblem:
    """Classification of images, or of the token after each of a text.

    Args:
        make_model: makes a network of :mod:`arsg_optax.demos.models` from its source of
            random numbers. Called with images, it gives class scores
            `[batch, classes]`; with tokens, `[batch, time, classes]`. Its state beside
            the parameters is running statistics.
    """

    def __init__(self, make_model: Callable[[nnx.Rngs], nnx.Module]):
        self._make_model = make_model
        model = nnx.eval_shape(lambda: make_model(nnx.Rngs(0)))
        model.train()
        self._train_graph = nnx.graphdef(model)
        model.eval()
        self._eval_graph = nnx.graphdef(model)

    def init(self, seed: int | jax.Array) -> tuple[Params, ModelState]:
        """Initial parameters and running statistics."""
        model = self._make_model(nnx.Rngs(seed))
        _, params, statistics = nnx.split(model, nnx.Param, ...)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)

    def start_epoch(self, model_state: ModelState) -> ModelState:
        """The same: statistics go on."""
        return model_state

    def start_evaluation(self, model_state: ModelState, batch: Batch) -> ModelState:
        """The same: evaluation reads the statistics."""
        del batch
        return model_state

    def forward(
        self, params: Params, statistics: ModelState, inputs: jax.Array
    ) -> jax.Array:
        """Class scores in evaluation mode."""
        return _merged(self._eval_graph, params, statistics)(inputs)

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, ModelState]:
        """Mean cross entropy of `(inputs, labels)`, and the next statistics."""
        del key
        inputs, labels = batch
        model = _merged(self._train_graph, params, model_state)
        losses = cross_entropies(model(inputs), labels)
        _, _, statistics = nnx.split(model, nnx.Param, ...)
        return jnp.mean(losses), nnx.to_pure_dict(statistics)

    def totals(
        self, params: Params, model_state: ModelState, batch: Batch
    ) -> tuple[Totals, ModelState]:
        """Sums over `(inputs, labels, weights)`; a weight of 0 leaves a label out."""
        inputs, labels, weights = batch
        logits = self.forward(params, model_state, inputs)
        right = jnp.argmax(logits, axis=-1) == labels
        losses = cross_entropies(logits, labels)
        # Not `losses @ weights`: what is left out may be no number.
        loss = jnp.sum(jnp.where(weights > 0, losses, 0))
        right = jnp.sum(right * weights)
        return Totals(loss, right, jnp.sum(weights)), model_state

    def has_statistics(self, model_state: ModelState) -> bool:
        """Whether there is batch normalization in the network."""
        return bool(jax.tree.leaves(model_state))


class LanguageProblem:
    """Prediction of the next token by a recurrent network, its state carried over.

    Args:
        make_model: makes a network as
            :class:`arsg_optax.demos.models.LSTMLanguageModel` is one.
        batch_size: rows of text in training.
    """

    def __init__(self, make_model: Callable[[nnx.Rngs], Any], batch_size: int):
        self._make_model = make_model
        model = nnx.eval_shape(lambda: make_model(nnx.Rngs(0)))
        self._initial_carry = model.initial_carry
        self._batch_size = batch_size
        model.train()
        self._train_graph = nnx.graphdef(model)
        model.eval()
        self._eval_graph = nnx.graphdef(model)

    def init(self, seed: int | jax.Array) -> tuple[Params, ModelState]:
        """Initial parameters, and the recurrent state zero."""
        params = nnx.state(self._make_model(nnx.Rngs(seed)), nnx.Param)
        return nnx.to_pure_dict(params), self._initial_carry(self._batch_size)

    def start_epoch(self, model_state: ModelState) -> ModelState:
        """Zero: the text begins anew."""
        return jax.tree.map(jnp.zeros_like, model_state)

    def start_evaluation(self, model_state: ModelState, batch: Batch) -> ModelState:
        """Zero, for as many rows as the batch has."""
        del model_state
        return self._initial_carry(batch[0].shape[0])

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, ModelState]:
        """Mean cross entropy of `(tokens, next tokens)`, each `[batch, time]`."""
        tokens, targets = batch
        model = _merged(self._train_graph, params, {})
        rngs = nnx.Rngs(dropout=key)
        features, carry = model.features(tokens, model_state, rngs=rngs)
        features = features.reshape(-1, features.shape[-1])
        kernel, bias = model.output()
        loss = softmax_cross_entropy(features, kernel, bias, targets.reshape(-1))
        return loss, carry

    def totals(
        self, params: Params, model_state: ModelState, batch: Batch
    ) -> tuple[Totals, ModelState]:
        """Sums over `(tokens, next tokens, weights)`; the weights must be 1."""
        tokens, targets, _ = batch
        model = _merged(self._eval_graph, params, {})
        features, carry = model.features(tokens, model_state)
        features = features.reshape(-1, features.shape[-1])
        kernel, bias = model.output()
        loss, right = softmax_scores(features, kernel, bias, targets.reshape(-1))
        count = jnp.float32(targets.size)
        return Totals(loss, right.astype(jnp.float32), count), carry

    def has_statistics(self, model_state: ModelState) -> bool:
        """No: a recurrent state begins anew in each evaluation."""
        del model_state
        return False


def cross_entropies(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropies `[...]`, in float32 at least, of scores `[..., classes]`."""
    exact = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return optax.softmax_cross_entropy_with_integer_labels(exact, labels)


def _merged(graph: Any, params: Mapping[str, Any], rest: Mapping[str, Any]) -> Any:
    # A copy, because a merged module may not be shared between traces, and the loss
    # is traced again inside loops and vmap.
    return nnx.merge(graph, _joined(params, rest), copy=True)


def _joined(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> dict[Any, Any]:
    """Two nested dictionaries in one; no leaf is in both."""
    joined = dict(one)
    for key, value in other.items():
        joined[key] = _joined(joined[key], value) if key in joined else value
    return joined
