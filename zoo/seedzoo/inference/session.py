"""One ONNX Runtime session: made for sharing cores with many others, and checked to be what a zoo holds."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.inference.runtime import onnxruntime

__all__ = ["Model"]

_BATCH = 64


class Model:
    """A variant ready to run on one thread of the CPU.

    Args:
        raw: The ONNX file.
        name: What to call it in errors.

    Raises:
        DataError: It is no ONNX classifier from uint8 images to logits.
    """

    def __init__(self, raw: bytes, *, name: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # many sessions run side by side, one a core
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise DataError(f"{name} is not a usable ONNX model: {error}", reason="MODEL_INVALID") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or len(inputs[0].shape) != 4 or not outputs:
            raise DataError(
                f"{name} does not take uint8 images [batch, height, width, channels]", reason="MODEL_INVALID"
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.provider: str = self._session.get_providers()[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names from the file's metadata; empty where it has none."""
        return tuple(json.loads(self.metadata.get("seedzoo.classes", "[]")))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits float32 ``[n, classes]`` of uint8 images ``[n, height, width, channels]``, n >= 1."""
        parts = [
            self._session.run([self._output], {self._input: images[start : start + _BATCH]})[0]
            for start in range(0, len(images), _BATCH)
        ]
        return np.concatenate(parts)
