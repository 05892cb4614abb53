"""A random part of an evaluation set, the same whenever it is drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seedzoo.inference.sources import ArrayImages, FileImages, ImageSource, Skipped
from seedzoo.stress.draws import Draws
from seedzoo.stress.evaluation_set import EvaluationSet

__all__ = ["limited"]

_STREAM = "limit"
Rows = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class _Part:
    """Some images of a source that is neither an array nor files."""

    source: ImageSource
    rows: NDArray[np.intp]

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.source.labels[self.rows]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.source.digest.encode() + self.rows.tobytes()).hexdigest()

    def read(self, rows: Rows) -> NDArray[np.uint8]:
        return self.source.read(self.rows[np.asarray(rows, dtype=np.intp)])

    def read_usable(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.intp], list[Skipped]]:
        asked = np.asarray(rows, dtype=np.intp)
        images, usable, skipped = self.source.read_usable(self.rows[asked])
        places = {int(self.rows[row]): int(row) for row in asked}
        return (
            images,
            np.array([places[int(row)] for row in usable], dtype=np.intp),
            [replace(one, row=places[one.row]) for one in skipped],
        )


def limited(given: EvaluationSet, limit: int | None) -> EvaluationSet:
    """At most ``limit`` images of a set, drawn at random: which ones depends on the set's size and the limit alone.

    Where images are frames of scenes, scenes are drawn, until one more would pass the limit; at least one.
    """
    count = len(given.images.labels)
    if limit is None or count <= limit:
        return given
    if given.anchors is None:
        order = np.argsort(Draws(_STREAM, np.arange(count)).uniform(), kind="stable")
        rows = np.sort(order[:limit])
    else:
        scenes, frames = np.unique(given.anchors, return_counts=True)
        order = np.argsort(Draws(_STREAM, np.arange(len(scenes))).uniform(), kind="stable")
        fit = max(1, int(np.searchsorted(frames[order].cumsum(), limit, side="right")))
        rows = np.flatnonzero(np.isin(given.anchors, scenes[order[:fit]]))
    return replace(
        given,
        images=_part(given.images, rows),
        accepted=None if given.accepted is None else given.accepted[rows],
        anchors=None if given.anchors is None else given.anchors[rows],
        slices={column: tuple(values[row] for row in rows.tolist()) for column, values in given.slices.items()},
    )


def _part(images: ImageSource, rows: NDArray[np.intp]) -> ImageSource:
    if isinstance(images, ArrayImages):
        return ArrayImages(images.images[rows], images.labels[rows])
    if isinstance(images, FileImages):  # its digest then reads these files only
        return replace(images, paths=[images.paths[row] for row in rows.tolist()], labels=images.labels[rows])
    return _Part(images, rows)
