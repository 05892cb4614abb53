"""One ONNX Runtime session: made for sharing cores with many others, and checked to be what a zoo holds."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import Cancelled, DataError
from seedzoo.inference import providers
from seedzoo.inference.runtime import onnxruntime
from seedzoo.inference.settings import Provider

__all__ = ["LARGEST_BATCH", "Model", "default_batch", "largest_batch"]

LARGEST_BATCH = 128
_DEFAULT_BATCH, _DEFAULT_BYTES, _MOST_BYTES = 64, 1 << 20, 2 << 20


def default_batch(image_bytes: int) -> int:
    """Batch size where none was measured: 64 small images, 4 of 224 x 224 x 3.

    The throughput of one thread is flat from 8 images of 28 x 28, and from 1 of 224 x 224, upwards, while the memory
    that a run takes grows with the batch: ResNet-50 takes some 6 to 13 MB per image of it.
    """
    return _power_of_two(min(_DEFAULT_BATCH, _DEFAULT_BYTES // image_bytes))


def largest_batch(image_bytes: int) -> int:
    """Largest batch that is tried: 128, and 2 MiB of pixels, which bounds what a session takes."""
    return _power_of_two(min(LARGEST_BATCH, _MOST_BYTES // image_bytes))


def _power_of_two(most: int) -> int:
    return 1 << max(0, most.bit_length() - 1)


class Model:
    """A variant ready to run on one thread of the CPU, or on the GPU; may be shared by threads.

    On the CPU what it says of an image does not depend on the batch: of the starter family's 50 variants on 2,000
    images with batches of 1, 2, 3, 5, 8, 16, 32, 48, 64 and 128, and of ResNet-50 with batches of 1 to 16, every logit
    was the same to the last bit (ONNX Runtime 1.31, AVX-512). So batches may be cut as speed and memory want, and a
    repeated or resumed selection, whose batches are cut elsewhere, finds the same. Other processors and CUDA round
    otherwise; there, predictions that are kept are read back and not made again.

    Args:
        raw: The ONNX file.
        name: What to call it in errors.
        provider: Where to run it.

    Raises:
        DataError: It is no ONNX classifier from uint8 images to logits.
        ZooError: ``cuda`` is demanded and not active.
    """

    def __init__(self, raw: bytes, *, name: str, provider: Provider = "cpu") -> None:
        meant = providers.wanted(provider)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # many sessions run side by side, one a core
        options.inter_op_num_threads = 1
        # With an arena each session would keep what its largest run took (a starter variant 5 MB after batches of 64,
        # ResNet-50 180 MB after 16) and twice that once two threads use it; without one, runs on the same thread share
        # it. As fast, except where single tensors are so large that they are mapped anew each time: 128 of 28 x 28.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(raw, options, providers=meant)
        except Exception as error:
            raise DataError(f"{name} is not a usable ONNX model: {error}", reason="MODEL_INVALID") from error
        # ONNX Runtime would hold the file as long as the session lives, to open it again with other providers.
        self._session.disable_fallback()
        self._session._model_bytes = None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or len(inputs[0].shape) != 4 or not outputs:
            raise DataError(
                f"{name} does not take uint8 images [batch, height, width, channels]", reason="MODEL_INVALID"
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.provider: str = providers.checked(provider, meant, self._session.get_providers())

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names from the file's metadata; empty where it has none."""
        return tuple(json.loads(self.metadata.get("seedzoo.classes", "[]")))

    def logits(
        self,
        images: NDArray[np.uint8],
        *,
        batch: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> NDArray[np.float32]:
        """Logits float32 ``[n, classes]`` of uint8 images ``[n, height, width, channels]``, n >= 1.

        Args:
            images: The images.
            batch: How many at a time; as :func:`default_batch` when omitted.
            should_stop: Asked before each batch.

        Raises:
            Cancelled: ``should_stop`` said so.
        """
        batch = batch or default_batch(images[0].nbytes)
        parts = []
        for start in range(0, len(images), batch):
            if should_stop():
                raise Cancelled("the evaluation was stopped")
            parts.append(self._session.run([self._output], {self._input: images[start : start + batch]})[0])
        return np.concatenate(parts)
