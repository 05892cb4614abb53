"""Models that a worker process keeps open: each is opened when it is first needed, those of long ago make room."""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.allocator import give_back
from seedzoo.cpu import usable_cores
from seedzoo.inference.session import Model
from seedzoo.inference.sessions import session_bytes
from seedzoo.inference.settings import InferenceSettings

__all__ = ["ModelFile", "model_file", "opened", "share_of_memory"]

_open: OrderedDict[str, tuple[Model, int]] = OrderedDict()


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """A model on its way to workers.

    Attributes:
        name: What to call it in errors.
        sha256: Of the content.
        content: uint8, so that the workers of a machine share one copy.
    """

    name: str
    sha256: str
    content: NDArray[np.uint8]


def model_file(name: str, raw: bytes) -> ModelFile:
    """The ONNX file of a variant, read and verified."""
    return ModelFile(name, hashlib.sha256(raw).hexdigest(), np.frombuffer(raw, dtype=np.uint8))


@functools.cache
def share_of_memory(memory_bytes: int | None) -> int:
    """What open sessions of one worker process may take: an equal part for each core of its machine.

    Args:
        memory_bytes: For all workers of the machine; half of what may be used there when None.
    """
    return InferenceSettings(memory_bytes=memory_bytes).budget() // usable_cores()


def opened(file: ModelFile, *, memory_bytes: int | None = None) -> Model:
    """The model, opened in this process now or before; on the CPU.

    Args:
        file: Its file.
        memory_bytes: See :func:`share_of_memory`; the model that is needed is opened even if it alone takes more.

    Raises:
        DataError: It is not usable.
    """
    if file.sha256 in _open:
        _open.move_to_end(file.sha256)
    else:
        cost = session_bytes(len(file.content))
        held = cost + sum(each for _, each in _open.values())
        full = held > share_of_memory(memory_bytes)
        while _open and held > share_of_memory(memory_bytes):
            held -= _open.popitem(last=False)[1][1]
        if full:
            give_back()
        _open[file.sha256] = Model(file.content.tobytes(), name=file.name), cost
    return _open[file.sha256][0]
