"""A block of images on its way to a worker that need not see this machine's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.inference.sources import ArrayImages, FileImages, ImageSource, Skipped

__all__ = ["Pack", "pack"]


@dataclass(frozen=True, eq=False)
class _PackedFiles(FileImages):
    """Image files whose bytes are here.

    Attributes:
        content: uint8, all files one after the other.
        ends: int64 ``[k]`` where each ends.
        faults: Row -> why its file could not be read.
    """

    content: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, dtype=np.uint8))
    ends: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    faults: dict[int, DataError] = field(default_factory=dict)

    def raw(self, row: int) -> bytes:
        if row in self.faults:
            raise self.faults[row]
        return self.content[self.ends[row - 1] if row else 0 : self.ends[row]].tobytes()


@dataclass(frozen=True, eq=False)
class Pack:
    """Some images of a set.

    Attributes:
        images: Just these, in their order.
        rows: intp ``[k]`` their rows in the set.
        left_out: What was found to be unusable before.
    """

    images: ImageSource
    rows: NDArray[np.intp]
    left_out: tuple[Skipped, ...] = ()

    def read(self, *, skip: bool) -> tuple[NDArray[np.uint8], NDArray[np.intp], tuple[Skipped, ...]]:
        """Usable images, their rows in the set, and what is unusable; see :meth:`ImageSource.read_usable`.

        Raises:
            DataError: One cannot be read, and ``skip`` does not leave it out.
        """
        places = np.arange(len(self.rows))
        if not skip:
            return self.images.read(places), self.rows, self.left_out
        images, usable, skipped = self.images.read_usable(places)
        named = tuple(replace(one, row=int(self.rows[one.row])) for one in skipped)
        return images, self.rows[usable], (*self.left_out, *named)


def pack(source: ImageSource, rows: NDArray[np.intp], *, skip: bool) -> Pack:
    """Some images of a set as they are: files with their bytes, to be decoded by the worker.

    Raises:
        DataError: One cannot be read, and ``skip`` does not leave it out.
    """
    if isinstance(source, FileImages):
        return Pack(_packed_files(source, rows), rows)
    if skip:
        images, usable, skipped = source.read_usable(rows)
        return Pack(ArrayImages(images, source.labels[usable]), usable, tuple(skipped))
    return Pack(ArrayImages(source.read(rows), source.labels[rows]), rows)


def _packed_files(source: FileImages, rows: Sequence[int] | NDArray[np.intp]) -> _PackedFiles:
    contents, faults = [], {}
    for place, row in enumerate(np.asarray(rows).tolist()):
        try:
            contents.append(source.raw(row))
        except DataError as error:
            contents.append(b"")
            faults[place] = error
    paths: list[Path] = [source.paths[row] for row in np.asarray(rows).tolist()]
    return _PackedFiles(
        paths=paths,
        labels=source.labels[rows],
        preprocessing=source.preprocessing,
        root=source.root,
        border=source.border,
        content=np.frombuffer(b"".join(contents), dtype=np.uint8),
        ends=np.cumsum([len(content) for content in contents]),
        faults=faults,
    )
