"""What the tests of the published corruptions share: photographs and the other implementation."""

from __future__ import annotations

import functools
import warnings
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from seedzoo.stress import Condition, get_condition
from seedzoo.stress.corruptions.imagenet_c import kind_name
from seedzoo.stress.corruptions.imagenet_c.constants import COMMON, EXTRA

ALL = (*COMMON, *EXTRA)


def condition(name: str, severity: int, suite: str = "imagenet-c") -> Condition:
    return get_condition(f"{kind_name(suite, name)}-{severity}")


@functools.cache
def _squares(side: int) -> NDArray[np.uint8]:
    squares = []
    for photograph in load_sample_images().images:
        picture = Image.fromarray(photograph)
        width = round(picture.width * side / picture.height)
        left = (width - side) // 2
        squares.append(np.asarray(picture.resize((width, side)).crop((left, 0, left + side, side))))
    return np.stack(squares)


def photographs(count: int, side: int, channels: int = 3) -> NDArray[np.uint8]:
    """A temple and a flower in turn: real colour photographs, uint8 [count, side, side, channels]."""
    images = _squares(side)[np.arange(count) % 2]
    return images if channels == 3 else images.mean(axis=3, keepdims=True).astype(np.uint8)


@functools.cache
def package() -> ModuleType:
    """imagecorruptions-imaug with one thread; the test is skipped where it is not installed."""
    reason = "needs the package imagecorruptions-imaug (pip install imagecorruptions-imaug)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("cv2", reason=reason).setNumThreads(1)
        module: ModuleType = pytest.importorskip("imagecorruptions", reason=reason)
    return module


def from_package(name: str, severity: int, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The package's output for each image, drawn from numpy's global generator after a fixed seed."""
    theirs = package()
    np.random.seed(20260 + severity)  # noqa: NPY002 - that is what the package draws from
    # These two draw from generators of their own.
    seeds = [{"seed": number} if name in {"impulse_noise", "glass_blur"} else {} for number in range(len(images))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [
            theirs.corrupt(image, corruption_name=name, severity=severity, **seed)
            for image, seed in zip(images, seeds, strict=True)
        ]
    return np.stack(made).astype(np.float64)


def octaves(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power of each image's grey values by octave of frequency, float64 [n, 6]; the mean is left out."""
    side = images.shape[1]
    power = np.abs(np.fft.rfft2(images.mean(axis=3), axes=(1, 2))) ** 2
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    edges = [1 / side, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2]
    return np.stack(
        [power[:, (frequency >= low) & (frequency < high)].mean(axis=1) for low, high in pairwise(edges)], axis=1
    )
