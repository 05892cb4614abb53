"""The pixels of the conditions: stored profiles rest on them, so they never change.

Those of the starter family's suite on three grey images, those of the published suites on one colour image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.stress.conftest import made_images

from seedzoo.stress import get_condition, suite
from seedzoo.stress.corruptions.imagenet_c import PUBLISHED_KINDS
from seedzoo.stress.corruptions.mnist_c import SHAPE_KINDS

with np.load(Path(__file__).parent / "pinned_pixels.npz") as found:
    PINNED = dict(found)
with np.load(Path(__file__).parent / "published_pixels.npz") as found:
    PUBLISHED = dict(zip(found["names"].tolist(), found["pixels"], strict=True))


def test_all_conditions_of_the_starter_are_pinned() -> None:
    assert {condition.name for condition in suite("small-images")} <= set(PINNED)


@pytest.mark.parametrize("name", list(PINNED))
def test_pixels_are_those_of_the_stored_profile(name: str) -> None:
    images = made_images(3, 28, 28, 1)
    _same(get_condition(name).apply(images, np.arange(3)), PINNED[name])


def test_all_published_conditions_are_pinned() -> None:
    assert {condition.name for kind in (*PUBLISHED_KINDS, *SHAPE_KINDS) for condition in kind.conditions()} == set(
        PUBLISHED
    )


def test_published_pixels() -> None:
    images = made_images(1, 20, 24, 3)
    for name, pixels in PUBLISHED.items():
        _same(get_condition(name).apply(images, [5])[0], pixels, name)


def _same(made: NDArray[np.uint8], pinned: NDArray[np.uint8], name: str = "") -> None:
    # Other processors round some last digits otherwise, which moves a pixel here and there by a level.
    distance = np.abs(made.astype(int) - pinned)
    assert (distance > 0).mean() <= 0.005, name
    assert distance.mean() <= 0.02, name
