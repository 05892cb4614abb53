"""The published corruptions against the plain, slow form of their definitions."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from scipy import ndimage, stats
from tests.unit.stress.published import photographs

from seedzoo.stress import Draws
from seedzoo.stress.corruptions.imagenet_c import blur, digital, frost, glass, noise, spatter, tone, weather


def _draws(count: int) -> Draws:
    return Draws("test", np.arange(count))


def _chances(table):
    """P(output byte | input byte) that an alias table draws from, [256, 256]."""
    entries = table.reshape(256, 256)
    keep, alias = (entries >> 8) / 2**24, entries & 255
    chances = keep / 256
    np.add.at(chances, (np.arange(256)[:, None], alias), (1 - keep) / 256)
    return chances


def _bytes(values):
    """The original's way to uint8; the least addition undoes the rounding of v / 255."""
    return (np.clip(values, 0, 1) * 255 + 1e-9).astype(int)


@pytest.mark.parametrize("sd", [0.04, 0.08, 0.38])
def test_gaussian_noise_table(sd):
    chances = _chances(noise._gaussian_table(sd))
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-6)
    for value in (0, 3, 128, 255):
        edges = np.append(np.arange(1, 256) / 255, np.inf)
        expected = np.diff(stats.norm(value / 255, sd).cdf(edges), prepend=0)
        np.testing.assert_allclose(chances[value], expected, atol=1e-6)


@pytest.mark.parametrize("photons", [3, 60, 500])
def test_shot_noise_table(photons):
    chances = _chances(noise._shot_table(photons))
    counts = np.arange(2000)
    for value in (0, 1, 100, 255):
        expected = np.bincount(
            _bytes(counts / photons), stats.poisson(value / 255 * photons).pmf(counts), minlength=256
        )
        np.testing.assert_allclose(chances[value], expected, atol=1e-6)


def test_impulse_and_speckle_tables():
    impulse = _chances(noise._impulse_table(0.06))
    assert impulse[77, [0, 77, 255]] == pytest.approx([0.03, 0.94, 0.03], abs=1e-6)
    assert impulse[0, [0, 255]] == pytest.approx([0.97, 0.03], abs=1e-6)
    speckle = _chances(noise._speckle_table(0.35))
    assert speckle[0, 0] == pytest.approx(1)
    expected = stats.norm(0.4, 0.35 * 0.4)
    assert speckle[102, :50].sum() == pytest.approx(expected.cdf(50 / 255), abs=1e-6)
    assert speckle[102, 255] == pytest.approx(expected.sf(1), abs=1e-6)


def test_noise_draws_from_its_table():
    image = np.full((20, 64, 64, 1), 51, np.uint8)
    drawn = np.bincount(noise.shot_noise(image, _draws(20), photons=60).ravel(), minlength=256)
    expected = _chances(noise._shot_table(60))[51] * image.size
    often = expected > 20
    assert drawn[expected < 1e-3].sum() == 0
    scale = drawn[often].sum() / expected[often].sum()
    assert stats.chisquare(drawn[often], expected[often] * scale).pvalue > 1e-4
    neighbours = (
        noise.gaussian_noise(np.full((1, 64, 64, 3), 128, np.uint8), _draws(1), sd=0.1)[0].astype(float) - 127.5
    )
    for axis in range(3):
        shifted = np.roll(neighbours, 1, axis=axis)
        assert abs((neighbours * shifted).mean()) / neighbours.var() < 5 / neighbours.size**0.5


@pytest.mark.parametrize("sigma", [0.4, 1, 1.5, 2, 6])
def test_gaussian_is_scipy_s(sigma):
    images = photographs(2, 48)
    expected = ndimage.gaussian_filter(images.astype(float), (0, sigma, sigma, 0), mode="nearest")
    assert np.abs(blur.gaussian(images, sigma) - expected).max() < 1e-3 * 255


@pytest.mark.parametrize(("radius", "alias"), [(0.5, 0.6), (3, 0.1), (10, 0.5)])
def test_defocus_is_a_correlation_with_the_disc(radius, alias):
    disc = blur._disc(radius, alias)
    # The largest disc touches the rim of its array, where the published smoothing reflects: a sum of 1.011.
    assert disc.sum() == pytest.approx(1, abs=0.011)
    assert len(disc) == (17 if radius <= 8 else 21)
    images = photographs(2, 40)
    expected = np.minimum(ndimage.correlate(images.astype(float), disc[None, :, :, None], mode="mirror"), 255)
    assert np.abs(blur.defocus_blur(images, _draws(2), radius=radius, alias_blur=alias) - expected).max() < 1.01


@pytest.mark.parametrize("angle", [-45.0, -10.0, 0.0, 33.0, -135.0, -60.0])
def test_motion_blur_is_a_sum_of_shifts(angle):
    image = photographs(1, 40)[0]
    kernel, padding = blur.motion_kernel(10, 3, angle)
    step = np.arange(21)
    weight = np.exp(-0.5 * (step / 3) ** 2) / np.exp(-0.5 * (step / 3) ** 2).sum()
    expected = np.zeros(image.shape)
    row, column = np.arange(40)[:, None], np.arange(40)
    for i in step:
        down = int(np.ceil(i * np.sin(np.deg2rad(angle)) - 0.5))
        right = int(np.ceil(i * np.cos(np.deg2rad(angle)) - 0.5))
        expected += weight[i] * image[np.clip(row + down, 0, 39), np.clip(column + right, 0, 39)]
    after = blur.correlated(blur.padded_planes(image, padding, "edge"), kernel)
    assert np.abs(np.moveaxis(after, 0, 2) - expected).max() < 1e-3 * 255


@pytest.mark.parametrize("size", [8, 33, 224])
@pytest.mark.parametrize("factor", [1.0, 1.01, 1.26, 3, 4.5])
def test_enlarging_is_scipy_s_zoom(size, factor):
    line = np.sin(np.arange(int(np.ceil(size / factor))) * 1.7)
    zoomed = ndimage.zoom(line, factor, order=1)
    trim = (len(zoomed) - size) // 2
    # The last pixel of scipy's zoom may read past the end by rounding.
    np.testing.assert_allclose((blur.enlarging(size, factor) @ line)[:-1], zoomed[trim : trim + size - 1], atol=1e-5)


def test_zoom_blur_is_the_mean_of_zooms():
    image = photographs(1, 48)[0].astype(float)
    total = image.copy()
    for factor in 1 + 0.03 * np.arange(11):
        crop = int(np.ceil(48 / factor))
        top = (48 - crop) // 2
        zoomed = ndimage.zoom(image[top : top + crop, top : top + crop], (factor, factor, 1), order=1)
        trim = (len(zoomed) - 48) // 2
        total += zoomed[trim : trim + 48, trim : trim + 48]
    after = blur.zoom_blur(photographs(1, 48), _draws(1), layers=11, step=0.03)[0]
    assert np.abs(after[:-1, :-1] - total[:-1, :-1] / 12).max() < 1.01


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_shuffles_from_the_last_pixel_to_the_first(reach):
    height, width = 20, 17
    words = Draws("glass", np.arange(1)).words(np.uint16, height - 2 * reach, width - 2 * reach)[0]
    image = np.arange(height * width).reshape(height, width)
    for h in range(height - reach, reach, -1):
        for w in range(width - reach, reach, -1):
            choice = int(words[h - reach - 1, w - reach - 1]) * 4 * reach * reach >> 16
            down, right = divmod(choice, 2 * reach)
            image[h, w] = image[h + down - reach, w + right - reach]
    np.testing.assert_array_equal(glass._sources(words, height, width, reach), image.ravel())


def test_plasma_is_diamond_square():
    size, decay = 16, 1.7
    noise_ = (2 * _draws(1).coarse_uniform(size * size)[0] - 1).tolist()
    height = np.zeros((size, size))
    bound, step = 100.0, size

    def set_mean(rows, columns, neighbours):
        for y in rows:
            for x in columns:
                four = [height[(y + dy) % size, (x + dx) % size] for dy, dx in neighbours]
                new[y, x] = sum(four) / 4 + bound**2 * noise_.pop(0)

    while step >= 2:
        half = step // 2
        corners, middles = range(0, size, step), range(half, size, step)
        new: dict[tuple[int, int], float] = {}
        set_mean(middles, middles, [(-half, -half), (-half, half), (half, -half), (half, half)])
        for place, value in new.items():
            height[place] = value
        new = {}
        cross = [(-half, 0), (half, 0), (0, -half), (0, half)]
        set_mean(corners, middles, cross)
        set_mean(middles, corners, cross)
        for place, value in new.items():
            height[place] = value
        bound, step = bound / decay, half
    expected = (height - height.min()) / (height.max() - height.min())
    np.testing.assert_allclose(weather.plasma(_draws(1), size, decay)[0], expected, atol=1e-4)


def test_fog_keeps_the_brightest_value_in_reach():
    images = photographs(2, 32)
    clouds = weather.plasma(_draws(2), 32, 2.0)[..., None]
    most = images.max(axis=(1, 2, 3), keepdims=True) / 255
    expected = (images / 255 + 1.5 * clouds) * most / (most + 1.5)
    after = weather.fog(images, _draws(2), amount=1.5, decay=2.0)
    assert np.abs(after - 255 * expected).max() < 1.01


@pytest.mark.parametrize(("alpha", "sigma", "affine"), [(97.6, 34.2, 4.9), (12.2, 2.44, 4.88)])
def test_elastic_is_scipy_s_interpolation(alpha, sigma, affine):
    side = 44
    images = photographs(2, side)
    draws, row, column = _draws(2), *np.mgrid[:side, :side]
    moves = min(affine, side // 3 * 2 / 3) * (2 * draws.uniform(3, 2) - 1)
    fields = 2 * draws.coarse_uniform(2, side, side) - 1
    after = digital.elastic_transform(images, _draws(2), alpha=alpha, sigma=sigma, affine=affine, side=side)
    middle, reach = side // 2, side // 3
    old = np.array([[middle + reach] * 2, [middle + reach, middle - reach], [middle - reach] * 2], float)
    for image, move, field, out in zip(images, moves, fields, after, strict=True):
        # The affine map of (x, y) that takes the old points to the new ones, inverted.
        forward = np.linalg.solve(np.column_stack([old, np.ones(3)]), old + move)
        x, y = np.linalg.solve(forward[:2].T, np.stack([column.ravel(), row.ravel()]) - forward[2][:, None])
        smooth = alpha * ndimage.gaussian_filter(field.astype(float), (0, sigma, sigma), mode="reflect", truncate=3)
        for channel in range(3):
            turned = ndimage.map_coordinates(image[..., channel].astype(float), [y, x], order=1, mode="mirror")
            bent = ndimage.map_coordinates(
                turned.reshape(side, side), [row + smooth[1], column + smooth[0]], order=1, mode="reflect"
            )
            assert np.abs(out[..., channel] - bent).max() < 1.1


def test_brightness_and_saturation_are_those_of_hsv():
    colours = np.array([[200, 100, 50], [20, 40, 10], [0, 0, 0], [250, 250, 250], [90, 90, 90]], np.uint8)
    images = np.tile(colours[:, None, None, :], (1, 8, 8, 1))
    bright = tone.brightness(images, _draws(5), amount=0.1)[:, 0, 0]
    vivid = tone.saturate(images, _draws(5), factor=2, offset=0.1)[:, 0, 0]
    for old, brighter, colourful in zip(colours, bright, vivid, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(old / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.1)))
        assert np.abs(brighter - expected).max() < 1.01
        expected = 255 * np.array(colorsys.hsv_to_rgb(hue, min(1, 2 * saturation + 0.1), value))
        assert np.abs(colourful - expected).max() < 1.01


def test_contrast_truncates():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, :4] = [100, 40, 255]  # means 50, 20, 127.5
    after = tone.contrast(image, _draws(1), factor=0.05)
    np.testing.assert_array_equal(after[0, 0, 0], [52, 21, 133])
    np.testing.assert_array_equal(after[0, 7, 7], [47, 19, 121])


def test_distance_to_edges():
    edges = np.random.default_rng(3).random((50, 37)) < 0.004
    expected = np.minimum(ndimage.distance_transform_edt(~edges), 20)
    np.testing.assert_allclose(spatter.distance_to(edges), expected, rtol=1e-6)
    assert (spatter.distance_to(np.zeros((9, 9), bool)) == 20).all()


def test_equalised_levels():
    image = np.array([[3, 3, 3, 3], [7, 7, 9, 200]], np.uint8)
    # 4 pixels lie above the lowest level: 2, 3 and 4 of them up to 7, 9 and 200.
    np.testing.assert_array_equal(spatter.equalised(image), [[0, 0, 0, 0], [128, 128, 191, 255]])
    np.testing.assert_array_equal(spatter.equalised(image[:1]), image[:1])


def test_frost_textures():
    for number in range(6):
        texture, style = frost.frost_texture(number).astype(float), frost._STYLES[number]
        np.testing.assert_allclose(texture.mean(axis=(0, 1)), style.mean, atol=1.5)
        np.testing.assert_allclose(texture.std(axis=(0, 1)), style.sd, rtol=0.08)
        # The tile goes on at the opposite side: its seam is no rougher than its inside.
        seam, inside = np.abs(texture[-1] - texture[0]).mean(), np.abs(np.diff(texture, axis=0)).mean()
        assert seam < 1.5 * inside
