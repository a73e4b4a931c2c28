"""A chain whose links all see the gradient that entered it."""

import optax

from arsg_optax._trees import check_updates


def chain_on_gradient(
    *transforms: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Chains transforms, and hands each one the gradient that entered the chain.

    Like :func:`optax.chain`, but each link also receives the updates that entered
    the chain as the extra argument ``raw_gradient``. A preconditioner behind a
    momentum can so take its statistics from the gradient itself:
    ``chain_on_gradient(remote_observation(), scale_by_nonincreasing_rms())``.
    Links that know no ``raw_gradient`` ignore it. Of nested chains the innermost
    decides.

    Inside, :func:`optax.masked` and :func:`optax.partition` must be given
    ``mask_compatible_extra_args=True``, so that the raw gradient is masked as the
    updates are.

    Args:
      *transforms: one or more transforms, applied in order.

    Returns:
      An :class:`optax.GradientTransformationExtraArgs`; its state is the tuple of
      the links' states.

    Raises:
      ValueError: if no transform is given.

    Examples:
      >>> import arsg_optax, jax.numpy as jnp
      >>> direction = arsg_optax.chain_on_gradient(
      ...     arsg_optax.remote_observation(b1=0.9),
      ...     arsg_optax.scale_by_nonincreasing_rms(b2=0.5),
      ... )
      >>> state = direction.init(jnp.zeros(2))
      >>> updates, state = direction.update(jnp.array([2.0, -4.0]), state)
      >>> print(updates)
      [ 0.26870057 -0.26870057]
    """
    if not transforms:
        raise ValueError(
            "transforms must hold at least one transform, got none; optax.identity() "
            "is the transform that changes nothing."
        )
    links = optax.chain(*transforms)

    def update_fn(updates, state, params=None, **extra_args):
        extra_args["raw_gradient"] = updates
        return links.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(links.init, update_fn)


def gradient_for_statistics(
    updates: optax.Updates,
    raw_gradient: optax.Updates | None,
    moment: optax.Updates,
) -> optax.Updates:
    """The gradient that a link takes statistics of, checked against a moment.

    Args:
      updates: what reaches the link.
      raw_gradient: what entered its :func:`chain_on_gradient`, or None outside one.
      moment: a moment from the link's state, for structure and shapes.

    Returns:
      The raw gradient where there is one, else the updates.

    Raises:
      ValueError: if either does not fit the moment.
    """
    check_updates("updates", updates, moment)
    if raw_gradient is None:
        return updates
    check_updates("raw_gradient", raw_gradient, moment)
    return raw_gradient
