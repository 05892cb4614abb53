"""What every published corruption promises, whatever it does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.stress.conftest import made_images
from tests.unit.stress.published import ALL, condition, photographs

from seedzoo.stress.corruptions.imagenet_c.constants import TABLES

SEVERITIES = (1, 2, 3, 4, 5)
SHAPES = ((8, 8, 1), (8, 8, 3), (33, 17, 3), (17, 33, 1), (64, 64, 3))
each = pytest.mark.parametrize("name", ALL)

# Severities that change an image no more than the one below, by the published constants themselves: milder shuffling
# in fewer passes (glass), the blend of frost that keeps less of the image under equal frost, local waves after whole
# tilts (elastic), more colour after less (saturate), mud after water (spatter), a longer line with the same weights
# (motion), and blocks that nearly fit the pixels (pixelate at 32 px).
DOWN = {
    "imagenet-c": {
        "glass_blur": {(1, 2), (3, 4)},
        "frost": {(3, 4)},
        "elastic_transform": {(2, 3), (3, 4), (4, 5)},
        "saturate": {(2, 3)},
    },
    "cifar-c": {
        "glass_blur": {(1, 2), (2, 3), (4, 5)},
        "motion_blur": {(3, 4)},
        "frost": {(3, 4), (4, 5)},
        "elastic_transform": set(pairwise(SEVERITIES)),
        "pixelate": {(1, 2)},
        "spatter": {(3, 4)},
        "saturate": {(2, 3)},
    },
}


@each
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_shape_dtype_and_any_batch(name, shape):
    images = made_images(4, *shape)
    before = images.copy()
    indices, order = np.array([4, 0, 2**40, 7]), np.array([2, 0, 3, 1])
    for suite in TABLES:
        for severity in SEVERITIES:
            one = condition(name, severity, suite)
            together = one.apply(images, indices)
            assert together.dtype == np.uint8
            assert together.shape == images.shape
            assert not np.shares_memory(together, images)
            np.testing.assert_array_equal(images, before)
            np.testing.assert_array_equal(one.apply(images[order], indices[order]), together[order])
            np.testing.assert_array_equal(one.apply(images[2:3], indices[2:3]), together[2:3])


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_batching_gives_the_same_pixels(data):
    one = condition(
        data.draw(st.sampled_from(ALL)), data.draw(st.sampled_from(SEVERITIES)), data.draw(st.sampled_from([*TABLES]))
    )
    height, width = data.draw(st.integers(8, 40)), data.draw(st.integers(8, 40))
    images = made_images(10, height, width, data.draw(st.sampled_from([1, 3])))
    order = np.array(data.draw(st.permutations(range(10))))
    cuts = sorted(data.draw(st.sets(st.integers(1, 9), max_size=4)))
    whole = one.apply(images, np.arange(10))
    parts = [one.apply(images[part], part) for part in np.split(order, cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[order])


@each
def test_large_photographs_in_any_batch(name):
    images = photographs(8, 224)  # more than one chunk of `Condition.apply`
    whole = condition(name, 3).apply(images, np.arange(8))
    np.testing.assert_array_equal(condition(name, 3).apply(images[7:], [7]), whole[7:])
    np.testing.assert_array_equal(condition(name, 3).apply(images[[5, 1]], [5, 1]), whole[[5, 1]])


@each
@pytest.mark.parametrize("channels", [1, 3])
def test_black_and_white_images(name, channels):
    images = np.stack([np.zeros((16, 24, channels), np.uint8), np.full((16, 24, channels), 255, np.uint8)])
    plain = "_blur" in name or name in {"contrast", "pixelate", "jpeg_compression", "elastic_transform", "saturate"}
    for severity in SEVERITIES:
        after = condition(name, severity).apply(images, [0, 1])
        if plain:
            assert (after == after[:, :1, :1]).all(), "a plain image has to stay plain"
            # JPEG keeps a grey value to its own steps alone; an offset of the saturation turns white into red.
            if name not in {"jpeg_compression", "saturate"}:
                np.testing.assert_array_equal(after, images)


@each
@pytest.mark.parametrize(("suite", "side", "count"), [("imagenet-c", 224, 12), ("cifar-c", 32, 120)])
def test_severity_grows(suite, side, count, name):
    images = photographs(count, side)
    # Frost draws one of six textures: a few hundred small images tell the severities apart better than 12 large.
    if name in {"frost", "fog"} and side == 224:
        images = photographs(400, 64)
    clean, index = images.astype(np.float32), np.arange(len(images))
    changes = [
        float(((condition(name, severity, suite).apply(images, index) - clean) ** 2).mean()) for severity in SEVERITIES
    ]
    for (mild, strong), (less, more) in zip(pairwise(SEVERITIES), pairwise(changes), strict=True):
        if (mild, strong) not in DOWN[suite].get(name, set()):
            assert more > less, (mild, strong, changes)
    assert changes[0] > 0
    if name not in {"elastic_transform", "saturate"}:
        assert changes[4] > changes[0]


@pytest.mark.parametrize("name", ["shot_noise", "glass_blur", "motion_blur", "snow", "frost", "fog", "spatter"])
def test_examples_differ_in_their_randomness(name):
    same = np.repeat(photographs(1, 64), 6, axis=0)
    one = condition(name, 3)
    after = one.apply(same, np.arange(6))
    assert len({image.tobytes() for image in after}) == 6
    np.testing.assert_array_equal(one.apply(same, np.full(6, 5)), np.repeat(after[5:6], 6, axis=0))


def test_saturation_means_nothing_to_grey_images():
    images = photographs(2, 32, channels=1)
    np.testing.assert_array_equal(condition("saturate", 5).apply(images, [0, 1]), images)


def test_grey_images_agree_with_grey_colour_images():
    # Where channels are treated alike, one channel and three equal ones come out equal.
    grey = photographs(2, 48, channels=1)
    for name in (
        "fog",
        "snow",
        "glass_blur",
        "defocus_blur",
        "brightness",
        "contrast",
        "elastic_transform",
        "pixelate",
    ):
        one = condition(name, 2).apply(grey, [0, 1]).astype(int)
        three = condition(name, 2).apply(grey.repeat(3, axis=3), [0, 1]).astype(int)
        assert np.abs(three - one).max() <= 1, name
