"""A training state for Flax Linen that fits the optimizers here."""

from typing import Any

import optax
from flax import core, struct
from flax.training import train_state


class TrainState(train_state.TrainState):
    """Flax's `TrainState` with running statistics and the loss for the optimizer.

    Flax's own does not forward extra arguments, so an automatic observation boost
    (`arsgb` without ``boost_at``) would never see the loss. Use::

        state = TrainState.create(
            apply_fn=model.apply, params=variables["params"], tx=arsgb(0.1),
            batch_stats=variables.get("batch_stats"),
        )

        def loss_fn(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            logits, updated = state.apply_fn(
                variables, images, train=True, mutable=["batch_stats"]
            )
            return cross_entropy(logits, labels), updated

        (loss, updated), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        state = state.apply_gradients(
            grads=grads, value=loss, batch_stats=updated["batch_stats"]
        )

    :func:`arsg_optax.demos.iterate.iterate_variables` evaluates it.

    Attributes:
        batch_stats: running statistics of batch normalization, None without.
    """

    batch_stats: core.FrozenDict[str, Any] | dict[str, Any] | None = struct.field(
        default=None
    )

    def apply_gradients(
        self, *, grads: optax.Updates, value: Any = None, **changes: Any
    ) -> "TrainState":
        """One update.

        Args:
            grads: gradients, a tree as `params`.
            value: the loss they belong to, () float32, or None; optimizers that watch
                it get it as the extra argument `value`.
            **changes: other fields to replace, such as `batch_stats`.
        """
        extra = {} if value is None else {"value": value}
        update = optax.with_extra_args_support(self.tx).update
        updates, opt_state = update(grads, self.opt_state, self.params, **extra)
        params = optax.apply_updates(self.params, updates)
        return self.replace(
            step=self.step + 1, params=params, opt_state=opt_state, **changes
        )
