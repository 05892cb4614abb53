"""Each corruption against numbers worked out by hand or in another way."""

from __future__ import annotations

import colorsys
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from seedzoo.stress import Draws, get_condition
from seedzoo.stress.corruptions import noise, photometric
from seedzoo.stress.corruptions.blur import _line, gaussian_blur
from seedzoo.stress.corruptions.geometric import moved, rotation, translation, zoom_out
from seedzoo.stress.corruptions.images import (
    background_colour,
    bilinear_weights,
    box_weights,
    separable,
    smooth_field,
)
from seedzoo.stress.corruptions.resolution import downscale, pixelate
from seedzoo.stress.corruptions.shape import thick, thin

PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "data" / "corruption_severities.json"


def _draws(count: int) -> Draws:
    return Draws("test", np.arange(count))


def _grey(rows) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)[None, :, :, None]


def _square() -> np.ndarray:
    """A bright 4 x 4 square in the middle of a dark 12 x 12 image."""
    image = np.full((12, 12), 10)
    image[4:8, 4:8] = 210
    return _grey(image)


def test_pixelate_means_of_four_blocks():
    image = np.zeros((8, 8))
    image[:4, :4] = np.arange(16).reshape(4, 4) * 10  # mean 75
    image[:4, 4:] = 200
    image[4:, :4] = np.eye(4) * 100  # mean 25
    blocks = pixelate(_grey(image), _draws(1), scale=0.25)[0, :, :, 0]
    np.testing.assert_array_equal(blocks, np.kron([[75, 200], [25, 0]], np.ones((4, 4))))


def test_pixelate_cells_that_do_not_divide_the_side():
    # 9 pixels in 2 cells of 4.5: the middle pixel belongs half to either mean, and shows the right cell.
    row = np.array([0, 0, 0, 0, 90, 180, 180, 180, 180])
    blocks = pixelate(_grey(np.tile(row, (9, 1))), _draws(1), scale=0.25)[0, 0, :, 0]
    np.testing.assert_array_equal(blocks, [10, 10, 10, 10, 170, 170, 170, 170, 170])


def test_downscale_interpolates_between_means():
    image = np.zeros((8, 8))
    image[:, 4:] = 160
    small = downscale(_grey(image), _draws(1), scale=0.25)[0, 0, :, 0]
    np.testing.assert_array_equal(small, [0, 0, 20, 60, 100, 140, 160, 160])


def test_weights_sum_to_one():
    np.testing.assert_allclose(box_weights(np.linspace(0, 28, 6), 28).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(bilinear_weights(28, 5).sum(axis=1), 1, rtol=1e-6)


def test_separable_is_one_map_along_each_side():
    rows, columns = np.float32([[1, 2, 0], [0, 1, 1]]), np.float32([[0.5, 0.5], [1, 0], [0, 3]])
    image = np.arange(12).reshape(1, 3, 2, 2)
    expected = np.einsum("ih,nhwc,jw->nijc", rows, image, columns)
    np.testing.assert_allclose(separable(image, rows, columns), expected)


def test_brightness_keeps_hue_and_saturation():
    colours = np.array([[200, 100, 50], [20, 40, 10], [0, 0, 0], [250, 250, 250]], np.uint8)
    image = np.tile(colours[:, None, None, :], (1, 8, 8, 1))
    after = photometric.brightness(image, _draws(4), amount=0.1)[:, 0, 0]
    for old, new in zip(colours, after, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(old / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.1)))
        assert np.abs(new - expected).max() <= 0.5001


def test_brightness_adds_to_grey():
    image = _grey(np.full((8, 8), 60))
    assert (get_condition("brightness-3").apply(image, [0]) == round(60 + 127.5)).all()
    assert (get_condition("brightness-3").apply(image + np.uint8(150), [0]) == 255).all()


def test_darkness_and_inversion():
    image = _grey(np.arange(64).reshape(8, 8) * 4)
    np.testing.assert_array_equal(photometric.darkness(image, _draws(1), factor=0.25)[0, 0, :3, 0], [0, 1, 2])
    inverted = get_condition("inversion").apply(image, [0])
    np.testing.assert_array_equal(inverted.astype(int), 255 - image.astype(int))
    np.testing.assert_array_equal(get_condition("inversion").apply(inverted, [0]), image)


def test_contrast_around_each_channel_s_mean():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, :4] = [100, 40, 255]  # means 50, 20, 127.5
    after = photometric.contrast(image, _draws(1), factor=0.2)
    np.testing.assert_array_equal(after[0, 0, 0], [60, 24, 153])
    np.testing.assert_array_equal(after[0, 7, 7], [40, 16, 102])


def test_gaussian_noise_has_its_sd():
    image = np.full((50, 28, 28, 1), 128, np.uint8)
    change = noise.gaussian_noise(image, _draws(50), sd=0.08).astype(float) - 128
    assert abs(change.mean()) < 0.5
    assert change.std() == pytest.approx(0.08 * 255, rel=0.02)


def test_shot_noise_is_poisson():
    image = np.full((50, 28, 28, 1), 51, np.uint8)  # a fifth of full brightness: 12 of 60 photons
    counts = noise.shot_noise(image, _draws(50), photons=60.0).astype(float) / 255 * 60
    assert np.abs(counts - np.rint(counts)).max() < 0.13, "whole photons up to uint8 rounding"
    seen = np.bincount(np.rint(counts).astype(int).ravel(), minlength=30)[:30]
    expected = stats.poisson(12).pmf(np.arange(30)) * counts.size
    often = expected > 20
    assert stats.chisquare(seen[often], expected[often] * seen[often].sum() / expected[often].sum()).pvalue > 1e-4
    assert (noise.shot_noise(np.zeros((1, 8, 8, 1), np.uint8), _draws(1), photons=3.0) == 0).all()


def test_impulse_noise_hits_its_share():
    image = np.full((50, 28, 28, 1), 100, np.uint8)
    after = noise.impulse_noise(image, _draws(50), share=0.2)
    assert (after == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (after == 255).mean() == pytest.approx(0.1, abs=0.01)
    assert set(np.unique(after)) == {0, 100, 255}


def test_gaussian_blur_against_scipy(images):
    after = gaussian_blur(images[:3], _draws(3), sigma=0.05)
    for old, new in zip(images, after, strict=False):
        expected = ndimage.gaussian_filter(old[..., 0].astype(float), 0.05 * 28, mode="nearest")
        assert np.abs(new[..., 0] - expected).max() <= 0.51


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2, 2.5])
def test_motion_line(angle):
    weights = _line(6.0, angle)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-12)
    y, x = np.mgrid[: len(weights), : len(weights)] - len(weights) // 2
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    assert (weights * along**2).sum() > 6**2 / 12
    assert (weights * across**2).sum() < 0.5


def test_rotation_by_a_quarter_turn_is_exact():
    image = _grey(np.arange(64).reshape(8, 8))
    after = rotation(np.repeat(image, 12, axis=0), _draws(12), degrees=90.0)
    turns = [np.rot90(image[0], k).tobytes() for k in (1, 3)]
    assert {one.tobytes() for one in after} == set(turns)


def test_moved_right_and_down():
    image = _square()
    after = moved(image, angles=np.zeros(1), down=np.array([2.0]), right=np.array([-3.0]))
    expected = np.full((12, 12), 10)
    expected[6:10, 1:5] = 210
    np.testing.assert_array_equal(after[0, :, :, 0], expected)


def test_moved_by_half_a_pixel_averages():
    after = moved(_square(), angles=np.zeros(1), down=np.array([0.0]), right=np.array([0.5]))
    np.testing.assert_array_equal(after[0, 5, 3:10, 0], [10, 110, 210, 210, 210, 110, 10])


def test_translation_is_a_whole_shift_of_about_that_length():
    image = np.repeat(_square(), 20, axis=0)
    after = translation(image, _draws(20), length=0.25)
    places = set()
    for one in after[..., 0]:
        rows, columns = np.nonzero(one == 210)
        assert len(rows) == 16
        assert (one[one != 210] == 10).all()
        down, right = int(rows.min()) - 4, int(columns.min()) - 4
        assert np.hypot(down, right) == pytest.approx(3, abs=0.71)
        places.add((down, right))
    assert len(places) > 5


def test_zoom_out_by_half():
    after = zoom_out(_square(), _draws(1), scale=0.5)
    expected = np.full((12, 12), 10)
    expected[5:7, 5:7] = 210
    np.testing.assert_array_equal(after[0, :, :, 0], expected)


def test_flip():
    image = _grey(np.arange(80).reshape(8, 10))
    after = get_condition("flip").apply(image, [0])
    np.testing.assert_array_equal(after[0, 0, :, 0], np.arange(9, -1, -1))
    np.testing.assert_array_equal(get_condition("flip").apply(after, [0]), image)


def test_background_colour_is_the_border_s_median():
    image = np.full((1, 8, 8, 3), 200, np.uint8)
    image[0, 0] = image[0, -1] = [1, 2, 3]  # 16 of 28 border pixels
    np.testing.assert_array_equal(background_colour(image)[0, 0, 0], [1, 2, 3])


def test_thick_and_thin_of_a_dot():
    image = np.zeros((9, 9))
    image[4, 4] = 200
    cross = np.zeros((9, 9))
    cross[3:6, 4] = cross[4, 3:6] = 200
    grown = thick(_grey(image), _draws(1), radius=0.036)
    np.testing.assert_array_equal(grown[0, :, :, 0], cross)
    np.testing.assert_array_equal(thin(grown, _draws(1), radius=0.036), _grey(image))
    np.testing.assert_array_equal(255 - thick(255 - grown, _draws(1), radius=0.1), thin(grown, _draws(1), radius=0.1))


def test_occlusion_covers_one_grey_square(images):
    after = get_condition("occlusion-2").apply(images, np.arange(200))
    for old, new in zip(images[..., 0], after[..., 0], strict=True):
        rows, columns = np.nonzero(old != new)
        assert max(np.ptp(rows), np.ptp(columns)) < round(0.4 * 28)
        assert len(set(new[old != new].tolist())) == 1
        assert 64 <= new[rows[0], columns[0]] <= 192


def test_background_leaves_bright_parts_alone(images):
    after = get_condition("background-2").apply(images, np.arange(200))
    bright = images > 40
    np.testing.assert_array_equal(after[bright], images[bright])
    dark = images == 0
    assert after[dark].mean() > 40
    assert after.max() <= 255


def test_smooth_field_does_not_depend_on_the_resolution():
    small = smooth_field(_draws(3), (28, 28), fields=2, knots=6)
    large = smooth_field(_draws(3), (224, 224), fields=2, knots=6)
    assert small.shape == (3, 2, 28, 28)
    assert small.min() == 0
    assert small.max() == 1
    assert np.abs(large.reshape(3, 2, 28, 8, 28, 8).mean(axis=(3, 5)) - small).max() < 0.05
    assert np.abs(np.diff(small, axis=2)).max() < 0.35


def test_jpeg_is_pillow_s(images):
    after = get_condition("jpeg-2").apply(images[:1], [0])
    stored = io.BytesIO()
    Image.fromarray(images[0, ..., 0]).save(stored, "JPEG", quality=10)
    np.testing.assert_array_equal(after[0, ..., 0], np.asarray(Image.open(stored)))


def test_a_larger_copy_is_changed_alike(images):
    # Lengths are shares of the side: where nothing is random, enlarging and the condition commute roughly.
    large = images[:4].repeat(4, axis=1).repeat(4, axis=2)
    for name in ("gaussian-blur-2", "zoom-out-2", "thick-2", "contrast-2", "flip"):
        small = get_condition(name).apply(images[:4], np.arange(4)).astype(float)
        after = get_condition(name).apply(large, np.arange(4)).astype(float)
        difference = np.abs(after.reshape(4, 28, 4, 28, 4, 1).mean(axis=(2, 4)) - small).mean()
        assert difference < 0.15 * np.abs(small - images[:4]).mean(), name


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published constants are not on this machine")
def test_published_constants():
    published = json.loads(PUBLISHED.read_text())["imagenet_c"]

    def levels(kind: str) -> list[float]:
        kinds = {one.name: one for one in (*noise.KINDS, *photometric.KINDS)}
        return [next(iter(level.values())) for level in kinds[kind].levels]

    for ours, theirs in [
        ("gaussian-noise", "gaussian_noise"),
        ("shot-noise", "shot_noise"),
        ("impulse-noise", "impulse_noise"),
        ("brightness", "brightness"),
    ]:
        assert levels(ours) == published[theirs][::2]
    assert levels("contrast")[1:] == [published["contrast"][k] for k in (0, 2, 3)]
