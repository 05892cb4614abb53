"""The image corruptions, one module per group; `IMAGE_KINDS` lists those of our own suite.

The package `imagenet_c` holds the published ones.
"""

from __future__ import annotations

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions import (
    blur,
    composite,
    compression,
    geometric,
    noise,
    photometric,
    resolution,
    scene,
    shape,
)

__all__ = ["IMAGE_KINDS"]

IMAGE_KINDS: tuple[Kind, ...] = (
    *resolution.KINDS,
    *photometric.KINDS,
    *noise.KINDS,
    *blur.KINDS,
    *geometric.KINDS,
    *shape.KINDS,
    *scene.KINDS,
    *compression.KINDS,
    *composite.KINDS,
)
