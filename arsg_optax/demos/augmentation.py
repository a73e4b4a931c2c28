"""Random crops and flips inside `jit`, each image of a batch on its own."""

import jax
import jax.numpy as jnp

CIFAR_CROP = 28
_PADDING = 4


def draw_crops(key: jax.Array, images: jax.Array, size: int) -> jax.Array:
    """Uniform places of crops.

    Args:
        key: of the draw.
        images: `[batch, height, width, channels]`, for their size.
        size: height and width of a crop.

    Returns:
        int32 `[batch, 2]`: the first row and column of each crop.

    Raises:
        ValueError: if a crop is larger than the images.
    """
    batch, height, width = images.shape[:3]
    if not 0 < size <= min(height, width):
        raise ValueError(
            f"size must be from 1 to that of the images, {height}x{width}, got {size}"
        )
    limits = jnp.array([height - size + 1, width - size + 1], jnp.int32)[None]
    return jax.random.randint(key, (batch, 2), 0, limits, jnp.int32)


def draw_flips(key: jax.Array, images: jax.Array) -> jax.Array:
    """Fair coins, bool `[batch]`."""
    return jax.random.bernoulli(key, 0.5, (images.shape[0],))


def crop(images: jax.Array, places: jax.Array, size: int) -> jax.Array:
    """Crops `[batch, size, size, channels]` that begin at `places` `[batch, 2]`."""

    # Slices took 0.3 ms for 256 images of CIFAR-10 on two cores, one gather 0.5 ms and
    # products with one-hot rows 4 ms.
    def one(image: jax.Array, place: jax.Array) -> jax.Array:
        start = (place[0], place[1], jnp.int32(0))
        return jax.lax.dynamic_slice(image, start, (size, size, image.shape[-1]))

    return jax.vmap(one)(images, places)


def flip(images: jax.Array, flips: jax.Array) -> jax.Array:
    """Left and right exchanged where `flips` `[batch]` is true."""
    return jnp.where(flips[:, None, None, None], images[:, :, ::-1], images)


def random_crop(key: jax.Array, images: jax.Array, size: int) -> jax.Array:
    """Crops `[batch, size, size, channels]` at places of :func:`draw_crops`.

    Raises:
        ValueError: if a crop is larger than the images.
    """
    return crop(images, draw_crops(key, images, size), size)


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Exchanges left and right by coins of :func:`draw_flips`."""
    return flip(images, draw_flips(key, images))


def augment_padded(key: jax.Array, images: jax.Array) -> jax.Array:
    """CIFAR-10's usual augmentation: 4 zeros around, a crop of the old size, a flip.

    Args:
        key: of the draws.
        images: `[batch, size, size, channels]`, standardized, so that zero is the mean.
    """
    around = ((0, 0), (_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0))
    crop_key, flip_key = jax.random.split(key)
    cropped = random_crop(crop_key, jnp.pad(images, around), images.shape[1])
    return random_flip(flip_key, cropped)


def augment_cifar(key: jax.Array, images: jax.Array) -> jax.Array:
    """The ARSG paper's augmentation: random crops of 28x28, half of them flipped.

    Args:
        key: of the draws.
        images: `[batch, height, width, channels]`, at least 28 high and wide.

    Returns:
        `[batch, 28, 28, channels]`.
    """
    crop_key, flip_key = jax.random.split(key)
    return random_flip(flip_key, random_crop(crop_key, images, CIFAR_CROP))
