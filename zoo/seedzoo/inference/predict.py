"""Use one downloaded model on image files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.inference.decode import decode_image
from seedzoo.inference.evaluate import softmax
from seedzoo.inference.session import Model
from seedzoo.records import Preprocessing

__all__ = ["Prediction", "predict_files"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one model says about n files.

    Attributes:
        classes: Class names.
        predicted: int64 ``[n]`` most probable class.
        probabilities: float32 ``[n, classes]``.
    """

    classes: tuple[str, ...]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]


def predict_files(model: bytes, items: Sequence[Path], *, batch_size: int = 64) -> Prediction:
    """Predict the class of each file with a model that a zoo made (its metadata say how to prepare images).

    Raises:
        DataError: The model has no such metadata, or a file is no usable image; names the file.
    """
    session = Model(model, name="the model")
    preprocessing = _preprocessing(session)
    parts: list[NDArray[np.float32]] = [np.empty((0, len(session.classes)), dtype=np.float32)]
    for start in range(0, len(items), batch_size):
        images = np.stack([_pixels(path, preprocessing) for path in items[start : start + batch_size]])
        parts.append(softmax(session.logits(images)))
    probabilities = np.concatenate(parts)
    return Prediction(
        classes=session.classes, predicted=probabilities.argmax(axis=1).astype(np.int64), probabilities=probabilities
    )


def _preprocessing(session: Model) -> Preprocessing:
    try:
        stored = json.loads(session.metadata["seedzoo.preprocessing"])
        return Preprocessing(**{key: stored[key] for key in Preprocessing.__dataclass_fields__})
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            "the model's metadata do not say how to prepare images",
            hint="Use a model that zoo download fetched.",
            reason="MODEL_INVALID",
        ) from error


def _pixels(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    try:
        return decode_image(path.read_bytes(), preprocessing).pixels
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", reason="ITEM_UNREADABLE") from error
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint, reason=error.reason) from error
