"""Predictions kept on this machine: what a model said of an image is not evaluated again, whatever is asked.

Each file holds what some models say of some images, which it names by the SHA-256 of their contents. So they are found
again when images were added, moved or labelled otherwise, and in another release with the same models. The images
themselves are not kept. Losing a file costs the time to evaluate it again, nothing else.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedzoo.catalog.selectable import model_of
from seedzoo.engine.prediction_files import part_arrays, parts_of
from seedzoo.engine.predictions import PredictionPart
from seedzoo.errors import LocalFailure
from seedzoo.records import Family
from seedzoo_client.local_kept import KeptFiles

__all__ = ["KeptPredictions"]

_FORM, _IMAGES, _MODELS = "form", "images", "models"
_DIGEST = "S64"


class KeptPredictions:
    """A :class:`seedzoo.engine.predictions.PredictionStore` of one family on one set of images.

    Args:
        kept: Where the files are.
        family: Whose models.
        digests: SHA-256 of each image's file, in hex.
        on_notice: Told once where nothing can be kept.
    """

    def __init__(
        self, kept: KeptFiles, family: Family, digests: Sequence[str], *, on_notice: Callable[[str], None]
    ) -> None:
        self._kept = kept
        self._on_notice = on_notice
        self._told = False
        # What a model says depends on how an image is prepared for it as well.
        self._form = f"1 {family.task.preprocessing} {len(family.task.classes)}"
        self._models = np.array([model_of(family.name, each).sha256 for each in family.variants], dtype=_DIGEST)
        self._images = np.array(digests, dtype=_DIGEST)
        self._order = np.argsort(self._images, kind="stable")
        self._sorted = self._images[self._order]

    def load(self) -> Iterator[PredictionPart]:
        """What is known of these images; a damaged file is removed and evaluated again."""
        for path in self._kept.paths():
            found = self._read(path)
            if found:
                self._kept.used(path)
                yield from found

    def save(self, parts: Sequence[PredictionPart]) -> None:
        """Keep these parts too. A disk that does not take them costs time later, not the selection."""
        rows = np.concatenate([part.rows for part in parts])
        bounds = np.cumsum([0, *(len(part.rows) for part in parts)])
        renumbered = [
            replace(part, rows=np.arange(start, stop))
            for part, start, stop in zip(parts, bounds[:-1], bounds[1:], strict=True)
        ]
        buffer = io.BytesIO()
        arrays: dict[str, NDArray[Any]] = {
            _FORM: np.array(self._form, dtype=np.str_),
            _IMAGES: self._images[rows],
            _MODELS: self._models,
            **part_arrays(renumbered),
        }
        np.savez(buffer, allow_pickle=False, **arrays)
        raw = buffer.getvalue()
        try:
            self._kept.put(f"{hashlib.sha256(raw).hexdigest()}.npz", raw)
        except LocalFailure as error:
            if not self._told:
                self._told = True
                self._on_notice(f"predictions are not kept for the next run: {error.message}")

    def _read(self, path: Path) -> list[PredictionPart]:
        try:
            # Only what names images and models is read of a file that holds nothing of these; ZIP checks what is read.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                if str(arrays[_FORM]) != self._form:
                    return []
                images, models = arrays[_IMAGES], arrays[_MODELS]
                if not (np.isin(images, self._sorted).any() and np.isin(models, self._models).any()):
                    return []
                return [ours for part in parts_of(arrays) if (ours := self._ours(part, images, models)) is not None]
        except FileNotFoundError:  # another process needed the room
            return []
        except (KeyError, ValueError, IndexError, OSError, EOFError, zipfile.BadZipFile):
            # Damaged, or written by another version.
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return []

    def _ours(
        self, part: PredictionPart, images: NDArray[np.bytes_], models: NDArray[np.bytes_]
    ) -> PredictionPart | None:
        """What a part says of our images and models, under our numbers."""
        wanted = images[part.rows]
        first = np.searchsorted(self._sorted, wanted, side="left")
        # An image that we have several times gets several rows.
        counts = np.searchsorted(self._sorted, wanted, side="right") - first
        source = np.repeat(np.arange(len(wanted)), counts)
        within = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
        place = {digest: index for index, digest in enumerate(models[part.variants].tolist())}
        columns = [(ours, place[digest]) for ours, digest in enumerate(self._models.tolist()) if digest in place]
        if not len(source) or not columns:
            return None
        theirs = np.array([index for _, index in columns])
        return PredictionPart(
            rows=self._order[first[source] + within].astype(np.int64),
            variants=np.array([ours for ours, _ in columns], dtype=np.int64),
            probabilities=part.probabilities[np.ix_(source, theirs)],
            conversions=[part.conversions[index] for index in source.tolist()],
        )
