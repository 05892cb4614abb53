"""What a family is measured on: images, what counts as right on them, and the slices that they form.

The held-out test set (``id``, which the synthetic conditions change) and every natural shift are evaluation sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seedzoo.inference.sources import ImageSource

__all__ = ["EvaluationSet"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationSet:
    """One named set of n images for models of C classes.

    Attributes:
        name: ``id`` or ``natural/<set>``.
        images: The images; their labels are the task's class indices (where several count, one of them).
        kind: ``id`` or ``natural``.
        severity: Always None: a set has no degrees.
        accepted: bool ``[n, C]``, which classes count as right; None where only the label does.
        candidates: Class indices among which a prediction is made, ascending; None for all. ImageNet-A and -R have
            200 of the 1,000 classes and are scored among these.
        anchors: int64 ``[n]``; None where every image counts for itself. Images of one number are frames of one
            scene, and the scene is right only if all of them are (pm-k).
        slices: Column -> each image's value ``[n]``; every value becomes a condition ``slice/<column>=<value>``
            (below the name of the set unless that is ``id``).
        restricted_to: Class indices of the class-matched in-distribution set that belongs to this one, for effective
            robustness; None for all.
    """

    name: str
    images: ImageSource
    kind: str = "natural"
    severity: None = None
    accepted: NDArray[np.bool_] | None = None
    candidates: NDArray[np.intp] | None = None
    anchors: NDArray[np.int64] | None = None
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    restricted_to: NDArray[np.intp] | None = None
