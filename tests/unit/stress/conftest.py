"""Images for the stress tests."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

_FASHION = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")


def made_images(count: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Bright striped ellipses on black, every one different."""
    number = np.arange(count)[:, None, None, None]
    y = ((np.arange(height) + 0.5) / height - 0.5)[None, :, None, None]
    x = ((np.arange(width) + 0.5) / width - 0.5)[None, None, :, None]
    channel = np.arange(channels)[None, None, None, :]
    inside = (x / (0.2 + 0.02 * (number % 7))) ** 2 + (y / (0.25 + 0.02 * (number % 5))) ** 2 < 1
    tone = 150 + 80 * np.sin(25 * x + 9 * y + number + channel)
    return np.where(inside, tone, 0).astype(np.uint8)


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """200 real 28 x 28 grey images where Fashion-MNIST is installed, else made ones."""
    if not _FASHION.exists():
        return made_images(200, 28, 28, 1)
    with gzip.open(_FASHION) as file:
        raw = file.read(16 + 200 * 28 * 28)
    return np.frombuffer(raw, np.uint8, offset=16).reshape(200, 28, 28, 1).copy()


@pytest.fixture(
    scope="session",
    params=[(8, 8, 1), (28, 28, 1), (64, 64, 3), (12, 31, 3), (40, 9, 1)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def shaped(request: pytest.FixtureRequest) -> NDArray[np.uint8]:
    """Six made images of each shape."""
    return made_images(6, *request.param)
