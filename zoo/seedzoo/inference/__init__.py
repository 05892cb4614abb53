"""Running models: images to tensors, and many ONNX variants over the same examples."""

from __future__ import annotations

from seedzoo.inference.decode import DEFAULT_MAX_PIXELS, DecodedImage, decode_image
from seedzoo.inference.evaluate import BlockScores, Evaluator
from seedzoo.inference.predict import Prediction, predict_files

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "BlockScores",
    "DecodedImage",
    "Evaluator",
    "Prediction",
    "decode_image",
    "predict_files",
]
