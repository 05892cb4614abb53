"""Values that processes of one machine share through files: written once, mapped by whoever needs them."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seedzoo.files import local_failure

__all__ = ["SharedFile", "SharedFiles"]

_REMEMBERED = 64

_values: OrderedDict[str, Any] = OrderedDict()
"""In a worker: the values of late, by their file."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SharedFile:
    """A value in a file; picklable, and small."""

    path: str

    def value(self) -> Any:
        """The value; arrays in it cannot be written to and take no memory of this process."""
        if self.path in _values:
            _values.move_to_end(self.path)
        else:
            for path in [path for path in _values if not Path(path).exists()]:
                del _values[path]  # nobody asks for it again, and mapped it would still take its room
            raw = np.memmap(self.path, dtype=np.uint8, mode="r").data
            place = 8 + int.from_bytes(raw[:8], "big")
            parts = []
            for length in pickle.loads(raw[8:place]):
                parts.append(raw[place : place + length])
                place += length
            _values[self.path] = pickle.loads(parts[0], buffers=parts[1:])
            while len(_values) > _REMEMBERED:
                _values.popitem(last=False)
        return _values[self.path]


class SharedFiles:
    """A folder of shared values; each is deleted when its handle is forgotten."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._count = 0

    def put(self, value: Any) -> SharedFile:
        """Write a value.

        Raises:
            LocalFailure: There is no room for it.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="seedzoo-shared-"))
        path = self._folder / str(self._count)
        self._count += 1
        buffers: list[pickle.PickleBuffer] = []
        packed = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        parts: list[bytes | memoryview] = [packed, *(buffer.raw() for buffer in buffers)]
        lengths = pickle.dumps([len(part) for part in parts])
        try:
            with path.open("wb") as file:
                file.write(len(lengths).to_bytes(8, "big") + lengths)
                for part in parts:
                    file.write(part)
        except OSError as error:
            raise local_failure(error, path) from error
        shared = SharedFile(str(path))
        weakref.finalize(shared, path.unlink, missing_ok=True)
        return shared

    def close(self) -> None:
        """Delete what is left."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
