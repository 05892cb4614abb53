"""MNIST-C's shapes: the published constants, pixels by hand, and another implementation of the edges."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tests.unit.stress.conftest import made_images

from seedzoo.stress import get_condition, suite
from seedzoo.stress.corruptions.mnist_c import SHAPE_KINDS

PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "data" / "corruption_severities.json"
NAMES = [condition.name for kind in SHAPE_KINDS for condition in kind.conditions()]


def apply(name: str, images: np.ndarray) -> np.ndarray:
    return get_condition(f"mnist-c-{name}").apply(images, np.arange(len(images)))


def square(side: int = 28, channels: int = 1) -> np.ndarray:
    """A white square off the middle, on black, eight times."""
    image = np.zeros((side, side, channels), np.uint8)
    image[side // 4 : side // 2, side // 4 : side // 2] = 255
    return np.repeat(image[None], 8, axis=0)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published constants are not on this machine")
@pytest.mark.parametrize("name", ["shear", "rotate", "scale", "translate"])
def test_constants(name):
    (kind,) = (kind for kind in SHAPE_KINDS if kind.name == f"mnist-c-{name}")
    ours = [next(iter(level.values())) for level in kind.levels]
    theirs = json.loads(PUBLISHED.read_text())["mnist_c_functions"][name]
    assert ours == pytest.approx([one[0] if isinstance(one, list) else one for one in theirs])


def test_the_suite_holds_all_of_them():
    assert [condition.name for condition in suite("mnist-c-shapes")] == ["id", *NAMES]
    assert len(NAMES) == 4 * 5 + 4


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (9, 17, 1), (17, 9, 3), (28, 28, 1), (64, 64, 3)])
def test_any_shape_and_any_batch(shape):
    images = made_images(4, *shape)
    order, indices = np.array([2, 0, 3, 1]), np.array([4, 0, 2**40, 7])
    for name in NAMES:
        one = get_condition(name)
        together = one.apply(images, indices)
        assert together.dtype == np.uint8
        assert together.shape == images.shape
        np.testing.assert_array_equal(one.apply(images[order], indices[order]), together[order])
        np.testing.assert_array_equal(one.apply(images[2:3], indices[2:3]), together[2:3])


def test_translate_shifts_both_axes():
    after = apply("translate-3", square())
    for image in after[..., 0]:
        rows, columns = np.nonzero(image)
        assert image[image > 0].min() == 255
        assert (len(set(rows)), len(set(columns))) == (7, 7)
        assert {int(abs(rows.min() - 7)), int(abs(columns.min() - 7))} == {3}
    assert len({image.tobytes() for image in after}) > 1


def test_rotation_by_hand():
    # A point 5 to the right of the middle goes along a circle; the middle of 29 px is pixel 14.
    images = np.zeros((8, 29, 29, 1), np.uint8)
    images[:, 13:16, 23:26] = 255
    y, x = np.mgrid[:29, :29] - 14
    for image in apply("rotate-5", images)[..., 0].astype(float):
        middle = (image * y).sum() / image.sum(), (image * x).sum() / image.sum()
        assert math.atan2(abs(middle[0]), middle[1]) == pytest.approx(1.0, abs=0.01)
        assert math.hypot(*middle) == pytest.approx(10, abs=0.1)


def test_scale_by_hand():
    images = np.zeros((1, 28, 28, 1), np.uint8)
    images[:, 4:24, 4:24] = 255
    after = apply("scale-5", images)[0, ..., 0]
    assert after.astype(float).sum() / 255 == pytest.approx(100, abs=1)  # half the side, a quarter of the area
    assert np.array_equal(after, after[::-1])
    assert np.array_equal(after, after.T)


def test_shear_by_hand():
    # A row y above the middle of what comes out is read at cos(a) y, moved across by sin(a) y.
    images = np.zeros((8, 29, 29, 1), np.uint8)
    images[:, :, 13:16] = 255
    for image in apply("shear-1", images)[..., 0].astype(float):
        columns = (image * np.arange(29)).sum(axis=1) / np.maximum(image.sum(axis=1), 1)
        assert columns[14] == pytest.approx(14)
        assert abs(columns[24] - 14) == pytest.approx(10 * math.sin(0.2), abs=0.02)
        assert columns[4] - 14 == pytest.approx(14 - columns[24], abs=0.02)


def test_stripe_by_hand():
    after = apply("stripe", square())
    assert (after[:, :, :7] == 255 - square()[:, :, :7]).all()
    assert (after[:, :, 7:21] == square()[:, :, 7:21]).all()
    assert (after[:, :, 21:] == 255 - square()[:, :, 21:]).all()


def test_lines_by_hand():
    black = np.zeros((50, 28, 28, 1), np.uint8)
    dotted = apply("dotted-line", black)[..., 0]
    assert not dotted[:, :, np.arange(28) % 4 < 2].any()
    assert not dotted[:, :, 27].any()
    drawn = [column for column in range(27) if column % 4 >= 2]
    # The nearest pixel of the line is at most half a cell away: 1 + log(1 - 0.5 / 2.3) of full brightness.
    assert (dotted[:, :, drawn].max(axis=1) >= int(255 * (1 + math.log(1 - 0.5 / 2.3))) - 1).all()
    zigzag = apply("zigzag", black)[..., 0]
    assert not zigzag[:, :, :2].any()
    shown = zigzag[zigzag[:, 4:24].any(axis=(1, 2))]
    assert len(shown) > 40
    assert all(zigzag[number].any() for number in range(50))
    assert len({image.tobytes() for image in zigzag}) > 40


def test_canny_edges():
    images = made_images(12, 28, 28, 1)
    after = apply("canny-edges", images)[..., 0]
    assert set(np.unique(after)) == {0, 255}
    assert not apply("canny-edges", np.full((1, 28, 28, 1), 90, np.uint8)).any()
    feature = pytest.importorskip("skimage.feature", reason="needs scikit-image (it comes with imagecorruptions-imaug)")
    theirs = np.stack([feature.canny(image[..., 0] / 255) for image in images])
    assert ((after > 0) != theirs).mean() <= 0.001
