"""What is made of a photograph, against Pillow and NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arsg_optax.demos.image_examples import draw_crop
from arsg_optax.demos.imagenet import (
    FolderSplit,
    evaluation_batches,
    load_imagenet,
    training_batches,
)
from tests.demos.photographs import write_folder


def normalized(pixels: Any) -> np.ndarray:
    """In float64, and with the constants of the published networks."""
    scaled = np.asarray(pixels, np.float64) / 255
    return (scaled - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1"])
def test_images_of_other_colours_are_made_rgb(mode: str, tmp_path: Path):
    file = tmp_path / ("image.jpg" if mode in ("L", "CMYK") else "image.png")
    Image.new("RGB", (9, 8), (255, 255, 255)).convert(mode).save(file)
    image = FolderSplit([str(file)], [0], ["a"]).image(0)
    assert (image.mode, image.size) == ("RGB", (9, 8))
    assert np.asarray(image).min() == 255


def test_training_example_is_pillow_s(tmp_path: Path):
    write_folder(tmp_path)
    train = load_imagenet(tmp_path).train
    batches = list(training_batches(train, batch_size=4, size=24, seed=3, epoch=2))
    assert len(batches) == 5
    order = np.random.default_rng((0, 3, 2)).permutation(21)[:20].reshape(5, 4)
    coins = []
    for (images, labels), rows in zip(batches, order, strict=True):
        assert images.shape == (4, 24, 24, 3) and images.dtype == np.float32
        assert labels.shape == (4,) and labels.dtype == np.int32
        for image, label, row in zip(images, labels, rows, strict=True):
            random = np.random.default_rng((1, 3, 2, int(row)))
            assert label == train.labels[row]
            with Image.open(train.files[row]) as file:
                part = file.crop(draw_crop(random, file.size))
            part = np.asarray(part.resize((24, 24), Image.Resampling.BILINEAR))
            coins.append(random.random() < 0.5)
            expected = normalized(part[:, ::-1] if coins[-1] else part)
            np.testing.assert_allclose(image, expected, atol=1e-6)
    assert 0 < sum(coins) < 20


@pytest.mark.parametrize("shape", [(60, 48), (224, 224), (375, 500)])
def test_evaluation_example_is_pillow_s(shape: tuple[int, int], tmp_path: Path):
    pixels = np.random.default_rng(0).integers(256, size=(*shape, 3), dtype=np.uint8)
    file = tmp_path / "image.png"
    Image.fromarray(pixels).save(file)
    split = FolderSplit([str(file)], [0], ["a"])
    ((images, _, _),) = evaluation_batches(split, batch_size=1)
    # 256 pixels the shorter side, then 224 x 224 in the middle.
    sides = [round(side * 256 / min(shape)) for side in shape]
    with Image.open(file) as image:
        whole = image.resize(sides[::-1], Image.Resampling.BILINEAR)
    top, left = (sides[0] - 224) // 2, (sides[1] - 224) // 2
    expected = normalized(whole)[top : top + 224, left : left + 224]
    assert images.shape == (1, 224, 224, 3) and images.dtype == np.float32
    np.testing.assert_allclose(images[0], expected, atol=1e-6)


def test_crops_have_the_area_and_proportions():
    random = np.random.default_rng(0)
    boxes = np.array([draw_crop(random, (400, 300)) for _ in range(2_000)])
    left, upper, right, lower = boxes.T
    assert left.min() == 0 == upper.min()
    assert right.max() == 400 and lower.max() == 300
    across, down = right - left, lower - upper
    share, ratio = across * down / (400 * 300), across / down
    # Sides are whole pixels.
    assert 0.079 < share.min() < 0.09 and 0.9 < share.max() <= 1
    assert 0.74 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.345


@pytest.mark.parametrize(
    "shape, box", [((1000, 3), (498, 0, 502, 3)), ((3, 1000), (0, 498, 3, 502))]
)
def test_crop_of_an_extreme_shape_is_its_middle(shape, box):
    assert draw_crop(np.random.default_rng(0), shape) == box
