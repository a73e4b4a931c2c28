"""From a photograph to an input of an ImageNet network."""

import math

import numpy as np
from PIL import Image

# Mean and standard deviation of each colour, in [0, 1]; the ones in common use.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_RESIZE = 256 / 224  # Shorter side over crop, in evaluation.


def training_example(
    image: Image.Image, size: int, random: np.random.Generator
) -> np.ndarray:
    """A random part, in half of the cases flipped: float32 `[size, size, 3]`.

    Args:
        image: in RGB.
        size: height and width of the result.
        random: draws the part, then the flip.
    """
    image = image.crop(draw_crop(random, image.size))
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return normalized(image)


def evaluation_example(image: Image.Image, size: int) -> np.ndarray:
    """The middle of an image in RGB: float32 `[size, size, 3]`."""
    return normalized(centre(image, size))


def draw_crop(
    random: np.random.Generator, shape: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A random part of an image: 8 to 100 % of its area, sides 3:4 to 4:3.

    Ten tries, then the largest part in the middle within those proportions.

    Args:
        random: source of the draws.
        shape: width and height of the image.

    Returns:
        Left, upper, right and lower border, as Pillow's `crop` takes them.
    """
    width, height = shape
    low, high = math.log(3 / 4), math.log(4 / 3)
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        ratio = math.exp(random.uniform(low, high))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left = int(random.integers(width - across + 1))
            upper = int(random.integers(height - down + 1))
            return left, upper, left + across, upper + down
    across = min(width, round(height * 4 / 3))
    down = min(height, round(width * 4 / 3))
    left, upper = (width - across) // 2, (height - down) // 2
    return left, upper, left + across, upper + down


def centre(image: Image.Image, size: int) -> Image.Image:
    """The middle, after the shorter side was made 256/224 of `size`."""
    width, height = image.size
    factor = size * _RESIZE / min(width, height)
    across, down = (max(size, round(side * factor)) for side in (width, height))
    image = image.resize((across, down), Image.Resampling.BILINEAR)
    left, upper = (across - size) // 2, (down - size) // 2
    return image.crop((left, upper, left + size, upper + size))


def normalized(image: Image.Image) -> np.ndarray:
    """float32 `[height, width, 3]`, mean 0 and deviation 1 over ImageNet's colours."""
    return (np.asarray(image, np.float32) / np.float32(255) - _MEAN) / _DEVIATION
