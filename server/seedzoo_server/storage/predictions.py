"""Predictions kept beside the dataset that they are for.

    datasets/<id>/predictions/<release>/<SHA-256 of the content>.npz

Each file holds some parts: rows, variants, probabilities. A file is named by its content, so two servers that evaluate
the same write the same, and damage is seen. It also says which dataset and release it is of, so one that got into
another's folder is seen too. Rows and variants are those of the dataset, which only grows, and of the release, which
never changes: models and preprocessing are settled by it. Losing a file costs the time to evaluate it again, nothing
else.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

import numpy as np

from seedzoo.catalog.store import ObjectStore
from seedzoo.engine.prediction_files import part_arrays, parts_of
from seedzoo.engine.predictions import PredictionPart
from seedzoo.errors import Conflict, NotFound, ZooError
from seedzoo_server.storage.keys import check_id, dataset_prefix, predictions_prefix

__all__ = ["StoredPredictions"]

_OF = "of"
_READ_AHEAD = 4
"""So many files, of some 8 MiB each, are read at the same time."""

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
        self._folder = f"{predictions_prefix(dataset_id)}/{release}"

    def load(self) -> Iterator[PredictionPart]:
        """All parts that are whole; a damaged file is removed and evaluated again."""
        keys = iter([info.key for info in self._store.list(self._folder)])
        with ThreadPoolExecutor(_READ_AHEAD, thread_name_prefix="seedzoo-predictions") as pool:
            reading = deque(pool.submit(self._whole, key) for key in islice(keys, _READ_AHEAD))
            while reading:
                raw = reading.popleft().result()
                reading.extend(pool.submit(self._whole, key) for key in islice(keys, 1))
                if raw is not None:
                    yield from _unpacked(raw, self._folder)

    def _whole(self, key: str) -> bytes | None:
        """A file's bytes; None where it was deleted since it was listed, or is damaged and is deleted now."""
        try:
            raw = self._store.get(key)
        except NotFound:
            return None
        if hashlib.sha256(raw).hexdigest() == key.rpartition("/")[2].removesuffix(".npz"):
            return raw
        _log.error("predictions %s are damaged; they are evaluated again", key)
        self._store.delete(key)
        return None

    def save(self, parts: Sequence[PredictionPart]) -> None:
        """Keep these parts too. A store that does not take them costs time later, not the selection."""
        raw = _packed(parts, self._folder)
        key = f"{self._folder}/{hashlib.sha256(raw).hexdigest()}.npz"
        try:
            try:
                with suppress(Conflict):
                    self._store.put(key, raw, if_absent=True)
            finally:  # a store that breaks off may have written it all the same
                # A deletion removes the record first, then what it finds: what is written after that is ours to remove.
                if not self._store.exists(f"{self._dataset}/dataset.json"):
                    self._store.delete(key)
        except ZooError as error:
            _log.warning("predictions were not kept: %s", error.message)


def _packed(parts: Sequence[PredictionPart], folder: str) -> bytes:
    arrays = {_OF: np.array(folder, dtype=np.str_), **part_arrays(parts)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpacked(raw: bytes, folder: str) -> Iterator[PredictionPart]:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            if str(arrays[_OF]) != folder:
                _log.error("predictions of %s were found in %s; they are evaluated again", arrays[_OF], folder)
                return
            yield from parts_of(arrays)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        # The digest was right, so another version wrote it otherwise: it is evaluated again.
        _log.warning("predictions of another form are not used: %s", error)
