"""Per-example scores of an objective; their mean over the examples is what a selection maximises."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["accuracy_scores"]


def accuracy_scores(predicted: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Whether each variant is right on each example.

    Args:
        predicted: [n, M] predicted class numbers.
        labels: [n] true class numbers.

    Returns:
        [n, M] True where the variant is right; their mean over the examples is the accuracy.

    Raises:
        ValueError: Wrong dimensions, different numbers of examples, or values that are not integers.
    """
    classes = np.asarray(predicted)
    truth = np.asarray(labels)
    if classes.ndim != 2:
        raise ValueError(f"predicted must have two dimensions [examples, variants], got {classes.ndim}")
    if truth.shape != (classes.shape[0],):
        raise ValueError(f"labels must have shape ({classes.shape[0]},), got {truth.shape}")
    for name, array in (("predicted", classes), ("labels", truth)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be integers, got dtype {array.dtype}")
    return np.asarray(classes == truth[:, None], dtype=np.bool_)
