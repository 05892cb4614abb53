"""What every source of training data gives."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from seedzoo.inference.sources import ImageSource
from seedzoo.records import Preprocessing, TrainingData

__all__ = ["ImageData"]


@dataclass(frozen=True)
class ImageData:
    """Labelled images, split as the recipe says."""

    train: ImageSource
    test: ImageSource
    """Held-out test set of certificate and profile; the reserved part is not in it."""
    reserved: ImageSource
    """The end of the test set, kept for users."""
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    """What the models take."""
    origin: TrainingData
    test_slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> value of each test image; every value becomes a condition ``slice/<column>=<value>``."""

    @property
    def training_digest(self) -> str:
        """SHA-256 over what variants are trained on: images, labels and names of classes. Reads files once."""
        return hashlib.sha256("\0".join((self.train.digest, *self.classes)).encode()).hexdigest()
