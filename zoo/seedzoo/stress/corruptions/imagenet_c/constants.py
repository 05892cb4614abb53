"""The published severities, data only: one table per data set, severity 1 to 5 for every corruption.

Parsed from the original code (Apache-2.0): hendrycks/robustness @ 8190fe32 ``create_c/make_imagenet_c.py`` and
``make_cifar_c.py``; google-research/mnist-c @ bba57e4c ``corruptions.py``. Lengths are in pixels of 224, 32 and
28 px images and are not scaled for other sizes, as in the packages that others use; elastic transform alone is
scaled, because its published constants are multiples of the side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["COMMON", "EXTRA", "TABLES", "Table"]

Table = Mapping[str, tuple[Mapping[str, Any], ...]]

# The 15 corruptions of mCE, then the 4 that Hendrycks & Dietterich (2019) keep for validation.
COMMON = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")

# Names of the published tuples' members, in their order.
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "gaussian_noise": ("sd",),
    "shot_noise": ("photons",),
    "impulse_noise": ("share",),
    "speckle_noise": ("sd",),
    "gaussian_blur": ("sigma",),
    "defocus_blur": ("radius", "alias_blur"),
    "glass_blur": ("sigma", "reach", "passes"),
    "motion_blur": ("radius", "sigma"),
    "zoom_blur": ("layers", "step"),
    "snow": ("mean", "sd", "zoom", "threshold", "radius", "sigma", "kept"),
    "frost": ("kept", "frost", "scale"),
    "fog": ("amount", "decay"),
    "brightness": ("amount",),
    "contrast": ("factor",),
    "saturate": ("factor", "offset"),
    "elastic_transform": ("alpha", "sigma", "affine", "side"),
    "pixelate": ("scale",),
    "jpeg_compression": ("quality",),
    "spatter": ("mean", "sd", "sigma", "threshold", "amount", "mud"),
}


def _table(**rows: tuple[tuple[float, ...], ...]) -> Table:
    return {
        name: tuple(dict(zip(_PARAMETERS[name], level, strict=True)) for level in levels)
        for name, levels in rows.items()
    }


IMAGENET_C = _table(
    gaussian_noise=((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    shot_noise=((60,), (25,), (12,), (5,), (3,)),
    impulse_noise=((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    speckle_noise=((0.15,), (0.2,), (0.35,), (0.45,), (0.6,)),
    gaussian_blur=((1,), (2,), (3,), (4,), (6,)),
    glass_blur=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    defocus_blur=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    motion_blur=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    # Zoom factors 1, 1 + step, ...: numpy's arange(1, 1.11, 0.01) has 12 of them, its end comes in by rounding.
    zoom_blur=((12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)),
    fog=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    # The third number is the size at which the frost is shown (CIFAR-C shrinks its photographs to a fifth).
    frost=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    snow=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    spatter=(
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    contrast=((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    brightness=((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    saturate=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    jpeg_compression=((25,), (18,), (15,), (10,), (7,)),
    pixelate=((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    # The original multiplies by 244 where it means 224; the published images have 244.
    elastic_transform=(
        (244 * 2, 244 * 0.7, 244 * 0.1, 224),
        (244 * 2, 244 * 0.08, 244 * 0.2, 224),
        (244 * 0.05, 244 * 0.01, 244 * 0.02, 224),
        (244 * 0.07, 244 * 0.01, 244 * 0.02, 224),
        (244 * 0.12, 244 * 0.01, 244 * 0.02, 224),
    ),
)

CIFAR_C = _table(
    gaussian_noise=((0.04,), (0.06,), (0.08,), (0.09,), (0.1,)),
    shot_noise=((500,), (250,), (100,), (75,), (50,)),
    impulse_noise=((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
    speckle_noise=((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)),
    gaussian_blur=((0.4,), (0.6,), (0.7,), (0.8,), (1,)),
    glass_blur=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    defocus_blur=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    motion_blur=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    zoom_blur=((7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)),
    fog=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    frost=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    snow=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    spatter=(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    contrast=((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
    brightness=((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
    saturate=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    jpeg_compression=((80,), (65,), (58,), (50,), (40,)),
    pixelate=((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
    elastic_transform=(
        (0, 0, 32 * 0.08, 32),
        (32 * 0.05, 32 * 0.2, 32 * 0.07, 32),
        (32 * 0.08, 32 * 0.06, 32 * 0.06, 32),
        (32 * 0.1, 32 * 0.04, 32 * 0.05, 32),
        (32 * 0.1, 32 * 0.03, 32 * 0.03, 32),
    ),
)

# MNIST-C's functions have ImageNet-C's numbers, but for the side of its images.
MNIST_C: Table = {
    **IMAGENET_C,
    **_table(
        elastic_transform=(
            (28 * 2, 28 * 0.7, 28 * 0.1, 28),
            (28 * 2, 28 * 0.08, 28 * 0.2, 28),
            (28 * 0.05, 28 * 0.01, 28 * 0.02, 28),
            (28 * 0.07, 28 * 0.01, 28 * 0.02, 28),
            (28 * 0.12, 28 * 0.01, 28 * 0.02, 28),
        )
    ),
}

# Suite name -> its table.
TABLES: Mapping[str, Table] = {"imagenet-c": IMAGENET_C, "cifar-c": CIFAR_C, "mnist-c": MNIST_C}
