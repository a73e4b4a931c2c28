"""Chains on one gradient, and links declared to keep the size of a step."""

from typing import Any, NamedTuple

import optax

from arsg_optax._trees import check_updates
from arsg_optax._validation import check_transforms


def chain_on_gradient(
    *transforms: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Chains transforms, and hands each one the gradient that entered the chain.

    Like :func:`optax.chain`, but each link also receives the updates that entered the
    chain as the extra argument ``raw_gradient``. A preconditioner behind a momentum can
    then take its statistics from the gradient itself:
    ``chain_on_gradient(remote_observation(), scale_by_nonincreasing_rms())``. In nested
    chains the innermost decides, but inside :func:`arsg_optax.remote_chain` all see the
    gradient that entered there. :func:`optax.masked` and :func:`optax.partition` inside
    need ``mask_compatible_extra_args=True``, which masks the raw gradient too.

    Args:
      *transforms: one or more transforms, applied in order. The state is the tuple of
        their states.

    Raises:
      ValueError: if no transform is given, or something else.
    """
    if not transforms:
        raise ValueError(
            "transforms must hold at least one transform, got none; optax.identity() "
            "is the transform that changes nothing."
        )
    check_transforms("transforms", *transforms)
    links = optax.chain(*transforms)

    def update_fn(updates, state, params=None, **extra_args):
        # A remote_chain around it, which passes a step, has given the true gradient.
        if "shared_step" not in extra_args:
            extra_args["raw_gradient"] = updates
        return links.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(links.init, update_fn)


class DeclareElementwiseState(NamedTuple):
    """State of :func:`declare_elementwise`: that of the link, not looked into."""

    link_state: Any

    elementwise = True  # What `remote_chain` asks of a link.


def declare_elementwise(
    link: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Lets :func:`arsg_optax.remote_chain` take a link that it doesn't recognise.

    It declares that the link only multiplies each element by a factor of its own near
    1, on average. In the concise form the iterate is defined without that factor, as it
    is for :func:`arsg_optax.scale_by_resilience`; the exact form stores what the link
    made. A true preconditioner, whose factors are far from 1, needs a state with a
    method ``denominator()`` instead.

    Args:
      link: any transform, such as ``optax.add_noise(0.1, 0.55, 0)``.

    Raises:
      ValueError: if it is none.
    """
    check_transforms("link", link)
    link = optax.with_extra_args_support(link)

    def init_fn(params):
        return DeclareElementwiseState(link.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        updates, link_state = link.update(
            updates, state.link_state, params, **extra_args
        )
        return updates, DeclareElementwiseState(link_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def gradient_for_statistics(
    updates: optax.Updates, raw_gradient: optax.Updates | None, moment: optax.Updates
) -> optax.Updates:
    """What a link takes statistics of: the raw gradient if given, else the updates."""
    check_updates("updates", updates, moment)
    if raw_gradient is None:
        return updates
    check_updates("raw_gradient", raw_gradient, moment)
    return raw_gradient
