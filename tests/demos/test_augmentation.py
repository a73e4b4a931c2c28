"""Random crops and flips: against NumPy, and how the draws are distributed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from arsg_optax.demos.augmentation import (
    augment_cifar,
    augment_padded,
    crop,
    draw_crops,
    draw_flips,
    flip,
    random_crop,
    random_flip,
)


def images_of(batch: int, height: int, width: int, dtype: str = "float32"):
    """Different everywhere, so that a pixel tells where it came from."""
    count = batch * height * width * 3
    return (np.arange(count) % 251).reshape(batch, height, width, 3).astype(dtype)


def cropped(images: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    return np.stack(
        [
            image[row : row + size, column : column + size]
            for image, (row, column) in zip(images, places, strict=True)
        ]
    )


def flipped(images: np.ndarray, flips: np.ndarray) -> np.ndarray:
    pairs = zip(images, flips, strict=True)
    return np.stack([image[:, ::-1] if turn else image for image, turn in pairs])


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_crops_are_numpy_s(dtype: str):
    size, images = 5, jnp.asarray(images_of(9, 7, 12, dtype))
    key = jax.random.key(1)
    places = np.asarray(draw_crops(key, images, size))
    assert places.dtype == np.int32 and len(np.unique(places, axis=0)) > 3
    result = jax.jit(crop, static_argnums=2)(images, places, size)
    assert result.dtype == images.dtype
    np.testing.assert_array_equal(result, cropped(np.asarray(images), places, size))
    np.testing.assert_array_equal(random_crop(key, images, size), result)


def test_crops_reach_the_corners():
    images = images_of(2, 6, 9)
    result = crop(jnp.asarray(images), jnp.array([[0, 0], [2, 5]]), 4)
    np.testing.assert_array_equal(result[0], images[0, :4, :4])
    np.testing.assert_array_equal(result[1], images[1, -4:, -4:])


def test_flips_are_numpy_s():
    images = images_of(16, 5, 4)
    key = jax.random.key(2)
    flips = np.asarray(draw_flips(key, images))
    assert flips.dtype == bool and 0 < flips.sum() < 16
    result = jax.jit(flip)(images, flips)
    np.testing.assert_array_equal(result, flipped(images, flips))
    np.testing.assert_array_equal(random_flip(key, images), result)


def test_cifar_images_are_cropped_and_flipped():
    images = images_of(12, 32, 32)
    key = jax.random.key(3)
    crop_key, flip_key = jax.random.split(key)
    places = np.asarray(draw_crops(crop_key, images, 28))
    expected = flipped(cropped(images, places, 28), draw_flips(flip_key, images))
    with jax.numpy_dtype_promotion("strict"):
        result = jax.jit(augment_cifar)(key, images)
    assert result.shape == (12, 28, 28, 3) and result.dtype == jnp.float32
    np.testing.assert_array_equal(result, expected)
    other = jax.jit(augment_cifar)(jax.random.key(4), images)
    assert (np.asarray(other) != expected).any()


def test_padded_images_keep_their_size():
    key, images = jax.random.key(3), images_of(12, 9, 9)
    crop_key, flip_key = jax.random.split(key)
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    places = np.asarray(draw_crops(crop_key, jnp.asarray(padded), 9))
    flips = np.asarray(draw_flips(flip_key, jnp.asarray(images)))
    expected = flipped(cropped(padded, places, 9), flips)
    result = jax.jit(augment_padded)(key, jnp.asarray(images))
    np.testing.assert_array_equal(result, expected)


def chi_square(counts: np.ndarray) -> float:
    """Probability that fair draws differ at least as much."""
    expected = counts.sum() / counts.size
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(stats.chi2.sf(statistic, counts.size - 1))


def test_places_are_uniform():
    # Neither axis alone, nor the two together; 3 x 6 places.
    images = jax.ShapeDtypeStruct((9_000, 30, 33, 3), jnp.float32)
    places = np.asarray(draw_crops(jax.random.key(5), images, 28))
    assert places.min() == 0 and list(places.max(0)) == [2, 5]
    counts = np.zeros((3, 6))
    np.add.at(counts, tuple(places.T), 1)
    assert chi_square(counts) > 0.01
    # Nor an image's place with the next one's.
    steps = (places[1:, 1] - places[:-1, 1]) % 6
    assert chi_square(np.bincount(steps, minlength=6)) > 0.01


def test_flips_are_fair():
    images = jax.ShapeDtypeStruct((9_000, 2, 2, 1), jnp.float32)
    flips = np.asarray(draw_flips(jax.random.key(6), images))
    assert chi_square(np.bincount(flips, minlength=2)) > 0.01
    same = flips[1:] == flips[:-1]
    assert chi_square(np.bincount(same, minlength=2)) > 0.01


@pytest.mark.parametrize("size", [0, 29])
def test_size_is_checked(size: int):
    images = jnp.zeros((1, 32, 28, 3))
    with pytest.raises(ValueError, match=rf"size must be .*32x28, got {size}"):
        random_crop(jax.random.key(0), images, size)
