"""Kept predictions are read several files at a time, and come back in the order of the files."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from seedzoo.catalog.memory import MemoryStore
from seedzoo.engine.predictions import Conversion, PredictionPart
from seedzoo.errors import StoreError
from seedzoo_server.storage.predictions import StoredPredictions

DATASET = "ds-" + "0" * 32
FILES = 11


class Together(MemoryStore):
    """Gives out the first files only when several are asked for at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._count = threading.Lock()
        self._two = threading.Barrier(2)

    def get(self, key: str) -> bytes:
        with self._count:
            self.asked.append(key)
            number = len(self.asked)
        if number <= 2:
            self._two.wait(60)
        return super().get(key)


def part(row: int) -> PredictionPart:
    return PredictionPart(
        rows=np.array([row]),
        variants=np.arange(3),
        probabilities=np.full((1, 3, 2), row / FILES, dtype=np.float32),
        conversions=[Conversion("RGB to grey", (row, 7)) if row % 2 else Conversion("", None)],
    )


def test_many_files_at_a_time() -> None:
    store = Together()
    store.put(f"datasets/{DATASET}/dataset.json", b"{}")
    kept = StoredPredictions(store, DATASET, "release")
    for row in range(FILES):
        kept.save([part(row)])
    files = [info.key for info in store.list(f"datasets/{DATASET}/predictions")]
    assert len(files) == FILES
    damaged = files[FILES // 2]
    store.put(damaged, b"damaged")
    found = list(kept.load())
    assert sorted(store.asked) == files, "each is read once"
    assert len(found) == FILES - 1
    assert not store.exists(damaged)
    again = list(kept.load())
    rows = [int(each.rows[0]) for each in again]
    assert rows == [int(each.rows[0]) for each in found]
    for each, row in zip(found, rows, strict=True):
        assert np.array_equal(each.probabilities, part(row).probabilities)
        assert list(each.conversions) == list(part(row).conversions)


def test_nothing_is_kept_yet() -> None:
    assert list(StoredPredictions(MemoryStore(), DATASET, "release").load()) == []


class BreakingOff(MemoryStore):
    """Takes predictions and fails before it says so, as one that is killed in that moment."""

    def put(self, key: str, data: bytes, **conditions: Any) -> str:
        etag = super().put(key, data, **conditions)
        if "/predictions/" in key:
            raise StoreError("connection lost")
        return etag


def test_predictions_that_a_failing_store_took_after_the_deletion_are_removed() -> None:
    store = BreakingOff()
    store.put(f"datasets/{DATASET}/dataset.json", b"{}")
    StoredPredictions(store, DATASET, "release").save([part(0)])
    assert len(list(store.list(f"datasets/{DATASET}/predictions"))) == 1, "the dataset is there"
    store.delete(f"datasets/{DATASET}/dataset.json")
    StoredPredictions(store, DATASET, "release").save([part(1)])
    StoredPredictions(store, DATASET, "other").save([part(0)])
    assert len(list(store.list(f"datasets/{DATASET}/predictions"))) == 1
