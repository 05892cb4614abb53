"""The published corruptions against the package imagecorruptions-imaug at 224 px.

Where nothing is random, all pixels agree to one level: both cut off fractions, and a value that lies on a whole level
may fall to either side. Where something is random, statistics of images made by either are two samples: their means
may differ by 6 standard errors of the difference, plus 0.1 level for what the cut does to values near whole levels.
Elastic transform is left out: the package has another formula than ImageNet-C. Frost is another texture, so only its
brightness is compared.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.stress.published import condition, from_package, octaves, package, photographs

from seedzoo.stress.corruptions.imagenet_c import blur, spatter

SEVERITIES = (1, 2, 3, 4, 5)
FIXED = (
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
)
RANDOM = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "glass_blur",
    "motion_blur",
    "snow",
    "fog",
    "spatter",
)


def _agree(ours, theirs, slack):
    """Two samples [n, statistics]: the means agree within 6 standard errors and the slack."""
    error = np.sqrt(ours.var(axis=0, ddof=1) / len(ours) + theirs.var(axis=0, ddof=1) / len(theirs))
    difference = np.abs(ours.mean(axis=0) - theirs.mean(axis=0))
    assert (difference <= 6 * error + slack).all(), (difference, error)


@pytest.mark.parametrize("name", FIXED)
def test_fixed_corruptions_agree_in_every_pixel(name):
    images = photographs(2, 224)
    for severity in SEVERITIES:
        difference = np.abs(condition(name, severity).apply(images, [0, 1]) - from_package(name, severity, images))
        assert difference.max() <= 1
        assert difference.mean() < 0.2


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("name", RANDOM)
def test_random_corruptions_agree_in_distribution(name, severity):
    count = 24 if name in {"fog", "motion_blur"} else 8
    images = np.repeat(photographs(1, 224), count, axis=0)
    theirs = from_package(name, severity, images)
    ours = condition(name, severity).apply(images, np.arange(count)).astype(np.float64)
    _agree(ours.mean(axis=(1, 2)), theirs.mean(axis=(1, 2)), 0.1)
    _agree(ours.std(axis=(1, 2)), theirs.std(axis=(1, 2)), 0.1)
    distance = [np.sqrt(((made - images) ** 2).mean(axis=(1, 2))) for made in (ours, theirs)]
    _agree(*distance, 0.1)
    # Power per octave in logarithms; a level in a thousand of it is the rounding of the mean power.
    _agree(np.log(octaves(ours)), np.log(octaves(theirs)), 0.01)


def test_frost_agrees_in_brightness():
    images = np.full((60, 224, 224, 3), 128, np.uint8)
    for severity in (1, 5):
        theirs = from_package("frost", severity, images)
        ours = condition("frost", severity).apply(images, np.arange(60)).astype(np.float64)
        _agree(ours.mean(axis=(1, 2)), theirs.mean(axis=(1, 2)), 0.1)
        ratio = octaves(ours).mean(axis=0) / octaves(theirs).mean(axis=0)
        assert ratio.min() > 1 / 3
        assert ratio.max() < 3


def test_where_severity_falls_it_falls_in_the_package_too():
    images = photographs(2, 224)
    for name, mild, strong in (("glass_blur", 1, 2), ("glass_blur", 3, 4), ("saturate", 2, 3)):
        change = [((from_package(name, severity, images) - images) ** 2).mean() for severity in (mild, strong)]
        assert change[1] < change[0]


@pytest.mark.parametrize("angle", [-45.0, -20.0, 0.0, 30.0, -90.0])
def test_motion_blur_along_one_angle(angle):
    from_package("contrast", 1, photographs(1, 224))  # skips here without the package
    image = photographs(1, 224)[0]
    theirs = package().corruptions._motion_blur(image, 15, 8, angle)
    kernel, padding = blur.motion_kernel(15, 8, angle)
    ours = np.moveaxis(blur.correlated(blur.padded_planes(image, padding, "edge"), kernel), 0, 2)
    assert np.abs(ours - theirs).max() < 0.01


def test_outlines_are_opencv_s():
    package()
    import cv2

    for sigma, seed in ((4, 1), (3, 2), (2, 3), (1, 4)):
        noise = np.random.default_rng(seed).normal(0.65, 0.3, (120, 90, 1)).astype(np.float32)
        liquid = blur.gaussian(noise[None], sigma)[0, ..., 0]
        level = np.where(liquid < 0.68, 0, np.clip(liquid, 0, 1) * 255).astype(np.uint8)
        edges = spatter.canny(level, low=50, high=150)
        np.testing.assert_array_equal(edges, cv2.Canny(level, 50, 150) > 0)
        away = cv2.distanceTransform(255 - 255 * edges.astype(np.uint8), cv2.DIST_L2, 5)
        np.testing.assert_allclose(spatter.distance_to(edges), np.minimum(away, 20), rtol=0.03)
        np.testing.assert_array_equal(spatter.equalised(level), cv2.equalizeHist(level))
