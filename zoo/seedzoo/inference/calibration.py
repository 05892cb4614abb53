"""The batch size at which a model is fastest here: measured in a moment, remembered by the process and in a file.

Throughput is nearly flat over a wide range (see :func:`seedzoo.inference.session.default_batch`), so measuring may
cost next to nothing: at most a hundredth of the forward passes to come, and none where that allows no comparison.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.cpu import usable_cores
from seedzoo.errors import LocalFailure
from seedzoo.files import write_atomically
from seedzoo.inference.runtime import onnxruntime
from seedzoo.inference.session import LARGEST_BATCH, Model, default_batch, largest_batch

__all__ = ["FILE", "BatchSizes", "candidates", "fastest", "machine"]

FILE = "batch-sizes.json"
_RUNS = 3
"""Of each size; the first warms up and does not count."""
_PART = 100
_CLEARLY = 1.05
"""A smaller batch takes less memory, so it wins until a larger one is clearly faster."""
_SMALLEST_FIRST = (1, 2, 4, 8, 16, 32, 64, 128)
_log = logging.getLogger(__name__)


def machine() -> str:
    """What a measured batch size depends on beside the model: processor, usable cores, version of ONNX Runtime."""
    return f"{_processor()}; {usable_cores()} cores; onnxruntime {onnxruntime.__version__}"


def candidates(image_bytes: int, passes: int) -> list[int]:
    """Batch sizes to compare, smallest first; empty where so few forward passes are not worth it.

    Args:
        image_bytes: Size of a decoded image.
        passes: Forward passes to come.
    """
    usual, most = default_batch(image_bytes), largest_batch(image_bytes)
    left = passes // _PART
    chosen = []
    # From the usual size outwards, as the best one is near it.
    for size in sorted((size for size in _SMALLEST_FIRST if size <= most), key=lambda size: abs(np.log2(size / usual))):
        if _RUNS * size > left:
            break
        chosen.append(size)
        left -= _RUNS * size
    return sorted(chosen) if len(chosen) > 1 else []


def fastest(seconds: dict[int, float]) -> int:
    """The smallest batch that is within 5 % of the fastest.

    Args:
        seconds: By batch size, the time of one batch.
    """
    per_image = {size: spent / size for size, spent in seconds.items()}
    best = min(per_image.values())
    return min(size for size, spent in per_image.items() if spent <= best * _CLEARLY)


class BatchSizes:
    """Measured batch sizes; may be shared by threads.

    Args:
        folder: Where they outlive the process: a cache of this machine; None for nowhere.
        clock: Seconds.
    """

    def __init__(self, folder: Path | None = None, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._path = None if folder is None else folder / FILE
        self._clock = clock
        self._lock = threading.Lock()
        self._machine = machine()
        self._known: dict[str, int] = {} if self._path is None else _read(self._path)
        self.measured = 0
        """How many were measured, and not remembered."""

    def known(self, model: str, image_bytes: int, provider: str) -> int | None:
        """The batch size measured for this model before, on a machine like this one."""
        with self._lock:
            size = self._known.get(self._key(model, provider))
        return None if size is None else min(size, largest_batch(image_bytes))

    def measure(
        self,
        model: str,
        session: Model,
        images: NDArray[np.uint8],
        passes: int,
        *,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> int | None:
        """Measure and remember; None where it is not worth it.

        Args:
            model: What tells this model's architecture and preprocessing from others: the SHA-256 of a variant.
            session: Any variant of it.
            images: uint8 ``[n, height, width, channels]``, n >= 1; repeated where a batch needs more.
            passes: Forward passes to come.
            should_stop: Asked before each run.

        Raises:
            Cancelled: ``should_stop`` said so; nothing is remembered.
        """
        sizes = candidates(images[0].nbytes, passes)
        if not sizes:
            return None
        batch = np.resize(images[: sizes[-1]], (sizes[-1], *images.shape[1:]))
        size = fastest({size: self._time(session, batch[:size], should_stop) for size in sizes})
        with self._lock:
            self._known[self._key(model, session.provider)] = size
            self.measured += 1
            if self._path is not None:
                self._write(self._path)
        return size

    def _key(self, model: str, provider: str) -> str:
        return f"{model}; {provider}; {self._machine}"

    def _time(self, session: Model, images: NDArray[np.uint8], should_stop: Callable[[], bool]) -> float:
        spent = []
        for _ in range(_RUNS):
            started = self._clock()
            session.logits(images, batch=len(images), should_stop=should_stop)
            spent.append(self._clock() - started)
        return min(spent[1:])

    def _write(self, path: Path) -> None:
        sizes = _read(path) | self._known  # other processes write it too
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps({"sizes": sizes, "sha256": _digest(sizes)}, indent=1).encode())
        except (OSError, LocalFailure) as error:
            _log.warning("batch sizes were not kept in %s: %s", path, error)


def _read(path: Path) -> dict[str, int]:
    try:
        stored = json.loads(path.read_bytes())
        sizes = {str(key): int(size) for key, size in stored["sizes"].items()}
        if stored["sha256"] != _digest(sizes) or not all(1 <= size <= LARGEST_BATCH for size in sizes.values()):
            raise ValueError("its checksum is wrong")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("%s cannot be used, batch sizes are measured again: %s", path, error)
        return {}
    return sizes


def _digest(sizes: dict[str, int]) -> str:
    return hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
