"""The pixels of the starter family's conditions: its stored profile rests on them, so they never change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.stress.conftest import made_images

from seedzoo.stress import get_condition, suite

with np.load(Path(__file__).parent / "pinned_pixels.npz") as found:
    PINNED = dict(found)


def test_all_conditions_of_the_starter_are_pinned() -> None:
    assert {condition.name for condition in suite("small-images")} <= set(PINNED)


@pytest.mark.parametrize("name", list(PINNED))
def test_pixels_are_those_of_the_stored_profile(name: str) -> None:
    images = made_images(3, 28, 28, 1)
    made = get_condition(name).apply(images, np.arange(3)).astype(int)
    # Other processors round some last digits otherwise, which moves a pixel here and there by a level.
    distance = np.abs(made - PINNED[name])
    assert (distance > 0).mean() <= 0.005
    assert distance.mean() <= 0.02
