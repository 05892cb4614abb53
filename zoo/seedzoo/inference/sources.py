"""Labelled images that are read on demand: from memory, or decoded from files as a task's models take them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.inference.decode import decode_image
from seedzoo.records import Preprocessing

__all__ = ["ArrayImages", "FileImages", "ImageSource", "Skipped"]

Rows = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that cannot be used."""

    row: int
    name: str
    reason: str


class ImageSource(Protocol):
    """n labelled images of one shape."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each image, int64 ``[n]``."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of names, contents and labels in hex: what was measured on other images has another one."""
        ...

    def read(self, rows: Rows) -> NDArray[np.uint8]:
        """Images uint8 ``[k, height, width, channels]`` of some rows, in their order.

        Raises:
            DataError: One of them cannot be read; the message names it.
        """
        ...

    def read_usable(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.intp], list[Skipped]]:
        """As :meth:`read`, without the images that cannot be read.

        Returns:
            Images uint8 ``[u, height, width, channels]``, their rows ``[u]`` and what was left out.
        """
        ...


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images in memory: uint8 ``[n, height, width, channels]`` and labels int64 ``[n]``."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @functools.cached_property
    def digest(self) -> str:
        """See :class:`ImageSource`."""
        whole = hashlib.sha256(repr(self.images.shape).encode())  # the same bytes may be images of another shape
        for array in (self.images, self.labels):
            whole.update(np.ascontiguousarray(array).data)
        return whole.hexdigest()

    def read(self, rows: Rows) -> NDArray[np.uint8]:
        """See :class:`ImageSource`."""
        return self.images[np.asarray(rows, dtype=np.intp)]

    def read_usable(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.intp], list[Skipped]]:
        """See :class:`ImageSource`; every image can be read."""
        return self.read(rows), np.asarray(rows, dtype=np.intp), []


@dataclass(frozen=True, eq=False)
class FileImages:
    """Image files, decoded as the task's models take them.

    Attributes:
        paths: Files.
        labels: int64 ``[n]``.
        preprocessing: What the task's models take.
        root: Names in messages and digest are relative to it, so that moving a folder changes nothing.
        border: Pixels cut off every side of the decoded file first (ObjectNet marks its images with a red border).
    """

    paths: Sequence[Path]
    labels: NDArray[np.int64]
    preprocessing: Preprocessing
    root: Path = field(default_factory=Path)
    border: int = 0

    def name(self, row: int) -> str:
        """The file's path below the root."""
        path = self.paths[row]
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()

    def raw(self, row: int) -> bytes:
        """The file's bytes.

        Raises:
            DataError: It cannot be read.
        """
        try:
            return self.paths[row].read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {self.paths[row]}: {error.strerror}", reason="ITEM_UNREADABLE") from error

    @functools.cached_property
    def digest(self) -> str:
        """See :class:`ImageSource`; reads every file once."""
        whole = hashlib.sha256(repr((self.preprocessing, self.border)).encode())
        for row, label in enumerate(self.labels.tolist()):
            try:
                content = hashlib.sha256(self.raw(row)).hexdigest()
            except DataError:
                content = "unreadable"  # whoever reads it is told; some leave such files out
            whole.update(f"{self.name(row)}\0{label}\0{content}\n".encode())
        return whole.hexdigest()

    def read(self, rows: Rows) -> NDArray[np.uint8]:
        """See :class:`ImageSource`."""
        shape = self.preprocessing
        images = np.empty((len(rows), shape.height, shape.width, shape.channels), dtype=np.uint8)
        for place, row in enumerate(np.asarray(rows, dtype=np.intp).tolist()):
            images[place] = self._decoded(row)
        return images

    def read_usable(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.intp], list[Skipped]]:
        """See :class:`ImageSource`."""
        shape = self.preprocessing
        images = np.empty((len(rows), shape.height, shape.width, shape.channels), dtype=np.uint8)
        usable: list[int] = []
        skipped = []
        for row in np.asarray(rows, dtype=np.intp).tolist():
            try:
                images[len(usable)] = self._decoded(row)
            except DataError as error:
                skipped.append(Skipped(row=row, name=self.name(row), reason=error.message))
            else:
                usable.append(row)
        return images[: len(usable)], np.array(usable, dtype=np.intp), skipped

    def _decoded(self, row: int) -> NDArray[np.uint8]:
        raw = self.raw(row)
        try:
            return decode_image(raw, self.preprocessing, border=self.border).pixels
        except DataError as error:
            raise DataError(f"{self.paths[row]}: {error.message}", hint=error.hint, reason=error.reason) from error
