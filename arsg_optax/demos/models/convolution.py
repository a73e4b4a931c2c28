"""Convolution whose kernel gradient is a matrix product on the CPU.

XLA:CPU computes the gradient with respect to the kernel as a convolution with a
window as large as the image, several times slower than the other two convolutions of
a training step together. Here it is one product of matrices, on the CPU only; this is
the one place where that is decided.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_NUMBERS = ("NHWC", "HWIO", "NHWC")
# Up to so many channels, patches are cheaper than shifting both sides.
_FEW_CHANNELS = 3

Padding = tuple[tuple[int, int], tuple[int, int]]


class _Window(NamedTuple):
    strides: tuple[int, int]
    padding: Padding
    precision: Any


def convolve(
    images: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int],
    padding: Any,
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, for :class:`flax.nnx.Conv` to call.

    Gradients can be differentiated again, in either direction; the convolution itself
    in reverse only (no `jax.jvp`), as of all that has a gradient of its own.

    Args:
        images: `[batch, height, width, channels]`.
        kernel: `[height, width, channels, features]`.
        window_strides: of height and width.
        padding: `"SAME"`, `"VALID"`, or a pair of numbers for height and for width.
        lhs_dilation: of the images; other than 1, everything is the plain convolution.
        rhs_dilation: of the kernel, likewise.
        dimension_numbers: None for channels last; with others likewise.
        feature_group_count: groups of channels; more than one likewise.
        precision: of the products.
        preferred_element_type: of the result; other than None likewise.
        **options: further ones of `conv_general_dilated`, likewise.

    Returns:
        `[batch, height, width, features]`.
    """
    if dimension_numbers is None and kernel.ndim == 4:
        dimension_numbers = _NUMBERS
    dilations = (*(lhs_dilation or ()), *(rhs_dilation or ()))
    ordinary = (
        feature_group_count == 1
        and all(dilation == 1 for dilation in dilations)
        and all(
            option is None for option in (preferred_element_type, *options.values())
        )
        and _channels_last(images, kernel, dimension_numbers)
    )
    if not ordinary:
        return lax.conv_general_dilated(
            images,
            kernel,
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
            **options,
        )
    strides = (window_strides[0], window_strides[1])
    pads = _explicit(images.shape, kernel.shape, strides, padding)
    return _convolve(images, kernel, _Window(strides, pads, precision))


def _channels_last(images: jax.Array, kernel: jax.Array, numbers: Any) -> bool:
    if kernel.ndim != 4:
        return False
    shapes = images.shape, kernel.shape
    given, own = (lax.conv_dimension_numbers(*shapes, n) for n in (numbers, _NUMBERS))
    return given == own


def _explicit(
    images: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, int],
    padding: Any,
) -> Padding:
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(images[1:3], kernel[:2], strides, padding)
    (top, bottom), (left, right) = padding
    return (int(top), int(bottom)), (int(left), int(right))


def _plain(images: jax.Array, kernel: jax.Array, window: _Window) -> jax.Array:
    return lax.conv_general_dilated(
        images,
        kernel,
        window.strides,
        window.padding,
        dimension_numbers=_NUMBERS,
        precision=window.precision,
    )


_convolve = jax.custom_vjp(_plain, nondiff_argnums=(2,))


def _forward(images: jax.Array, kernel: jax.Array, window: _Window):
    return _plain(images, kernel, window), (images, kernel)


def _backward(window: _Window, held: tuple[jax.Array, jax.Array], gradient: jax.Array):
    images, kernel = held
    plain = partial(_plain, window=window)
    (to_images,) = jax.vjp(lambda images: plain(images, kernel), images)[1](gradient)

    def by_convolution(images: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: plain(images, kernel), kernel)[1](gradient)[0]

    to_kernel = lax.platform_dependent(
        images,
        gradient,
        cpu=partial(kernel_gradient, size=kernel.shape[:2], window=window),
        default=by_convolution,
    )
    return to_images, to_kernel


_convolve.defvjp(_forward, _backward)


def kernel_gradient(
    images: jax.Array, gradient: jax.Array, size: tuple[int, ...], window: _Window
) -> jax.Array:
    r"""Gradient with respect to the kernel, as one matrix product.

    .. math:: \partial_{ijco} = \sum_{nyx} p_{n, sy+i, sx+j, c}\, g_{nyxo},

    with the padded images p. Shifting p by all i and j takes many copies of it;
    here p is shifted along the width only, and g, against it, along the height. With
    few channels or a stride, shifted images are small enough by themselves.

    Args:
        images: `[batch, height, width, channels]`.
        gradient: of the convolution's result.
        size: height and width of the kernel.
        window: strides and padding.

    Returns:
        `[height, width, channels, features]`, in the dtype of the images.
    """
    if gradient.size == 0:
        return jnp.zeros((*size, images.shape[-1], gradient.shape[-1]), images.dtype)
    # Not jnp.pad, which refuses negative numbers.
    edges = ((0, 0, 0), *((*side, 0) for side in window.padding), (0, 0, 0))
    padded = lax.pad(images, jnp.zeros((), images.dtype), edges)
    few = images.shape[-1] <= _FEW_CHANNELS
    if few or max(window.strides) > 1 or size == (1, 1):
        return _from_patches(padded, gradient, size, window)
    return _from_shifts(padded, gradient, size, window)


def _from_patches(
    padded: jax.Array, gradient: jax.Array, size: tuple[int, ...], window: _Window
) -> jax.Array:
    down, across = window.strides
    height, width, features = gradient.shape[1:]
    patches = jnp.concatenate(
        [
            padded[
                :,
                i : i + down * (height - 1) + 1 : down,
                j : j + across * (width - 1) + 1 : across,
            ]
            for i in range(size[0])
            for j in range(size[1])
        ],
        axis=-1,
    )
    product = _product(patches, gradient, window.precision)
    return product.reshape(*size, padded.shape[-1], features)


def _from_shifts(
    padded: jax.Array, gradient: jax.Array, size: tuple[int, ...], window: _Window
) -> jax.Array:
    rows, columns = size
    width, features = gradient.shape[2:]
    channels = padded.shape[-1]
    shifted = [padded[:, :, j : j + width] for j in range(columns)]
    against = [
        jnp.pad(gradient, ((0, 0), (i, rows - 1 - i), (0, 0), (0, 0)))
        for i in range(rows)
    ]
    product = _product(
        jnp.concatenate(shifted, axis=-1),
        jnp.concatenate(against, axis=-1),
        window.precision,
    )
    product = product.reshape(columns, channels, rows, features)
    return product.transpose(2, 0, 1, 3)


def _product(one: jax.Array, other: jax.Array, precision: Any) -> jax.Array:
    """Sum over all axes but the last: `[a, b]`."""
    one, other = (array.reshape(-1, array.shape[-1]) for array in (one, other))
    numbers = (((0,), (0,)), ((), ()))
    return lax.dot_general(one, other, numbers, precision=precision)
