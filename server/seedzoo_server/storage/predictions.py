"""Predictions kept beside the dataset that they are for.

    datasets/<id>/predictions/<release>/<SHA-256 of the content>.npz

Each file holds some parts: rows, variants, probabilities. A file is named by its content, so two servers that evaluate
the same write the same, and damage is seen. Losing one costs the time to evaluate it again, nothing else.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np

from seedzoo.catalog.store import ObjectStore
from seedzoo.engine.predictions import Conversion, PredictionPart
from seedzoo.errors import Conflict, NotFound, ZooError
from seedzoo_server.storage.keys import check_id, dataset_prefix

__all__ = ["StoredPredictions"]

_log = logging.getLogger(__name__)


class StoredPredictions:
    """Predictions of one release on one dataset.

    Args:
        store: The tenant's store.
        dataset_id: Whose examples.
        release: Identifier of the release.
    """

    def __init__(self, store: ObjectStore, dataset_id: str, release: str) -> None:
        self._store = store
        self._dataset = dataset_prefix(check_id("ds", dataset_id))
        self._folder = f"{self._dataset}/predictions/{release}"

    def load(self) -> Iterator[PredictionPart]:
        """All parts that are whole; a damaged file is removed and evaluated again."""
        for info in self._store.list(self._folder):
            name = info.key.rpartition("/")[2].removesuffix(".npz")
            try:
                raw = self._store.get(info.key)
            except NotFound:
                continue  # deleted since it was listed
            if hashlib.sha256(raw).hexdigest() != name:
                _log.error("predictions %s are damaged; they are evaluated again", info.key)
                self._store.delete(info.key)
                continue
            yield from _unpacked(raw)

    def save(self, parts: Sequence[PredictionPart]) -> None:
        """Keep these parts too. A store that does not take them costs time later, not the selection."""
        raw = _packed(parts)
        key = f"{self._folder}/{hashlib.sha256(raw).hexdigest()}.npz"
        try:
            with suppress(Conflict):
                self._store.put(key, raw, if_absent=True)
            # A deletion removes the record first and then what it finds: what is written after that is ours to remove.
            if not self._store.exists(f"{self._dataset}/dataset.json"):
                self._store.delete(key)
        except ZooError as error:
            _log.warning("predictions were not kept: %s", error.message)


def _packed(parts: Sequence[PredictionPart]) -> bytes:
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    for number, part in enumerate(parts):
        arrays[f"rows{number}"] = part.rows
        arrays[f"variants{number}"] = part.variants
        arrays[f"probabilities{number}"] = part.probabilities
        arrays[f"colours{number}"] = np.array([each.colour_change for each in part.conversions], dtype=np.str_)
        arrays[f"sizes{number}"] = np.array([each.resized_from or (0, 0) for each in part.conversions], dtype=np.int32)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpacked(raw: bytes) -> Iterator[PredictionPart]:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            for number in range(len(arrays.files) // 5):
                colours, sizes = arrays[f"colours{number}"], arrays[f"sizes{number}"]
                yield PredictionPart(
                    rows=arrays[f"rows{number}"],
                    variants=arrays[f"variants{number}"],
                    probabilities=arrays[f"probabilities{number}"],
                    conversions=[
                        Conversion(str(colour), (int(size[0]), int(size[1])) if size.any() else None)
                        for colour, size in zip(colours, sizes, strict=True)
                    ],
                )
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        # The digest was right, so another version wrote it otherwise: it is evaluated again.
        _log.warning("predictions of another form are not used: %s", error)
