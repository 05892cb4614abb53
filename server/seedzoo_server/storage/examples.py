"""The examples of a stored dataset, as a selection reads them."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seedzoo.catalog.store import ObjectStore
from seedzoo.engine.slices import group_numbers, slice_masks
from seedzoo.errors import IntegrityError, NotFound
from seedzoo_server.storage.dataset_records import DatasetState, Item, Place

__all__ = ["StoredExamples"]

_CACHE_BYTES = 256 << 20
# Less than what a store sends in the time that another request takes to it.
_GAP_BYTES = 64 << 10


class StoredExamples:
    """Reads examples of a complete dataset, in any order; for one thread at a time.

    Args:
        store: Where they are.
        state: The dataset.
        cache_bytes: Size of the packs that are kept in memory; one more is there while it is read.
    """

    def __init__(self, store: ObjectStore, state: DatasetState, *, cache_bytes: int = _CACHE_BYTES) -> None:
        self._store = store
        self._state = state
        self._packs = _Packs(store, cache_bytes)
        # Where everything fits, each pack is read once. Where not, packs that are read for a few examples each would
        # be read again and again.
        self._keeps_all = state.received_bytes <= cache_bytes
        self._pack_bytes: Counter[str] = Counter()
        for pack, place in state.places.values():
            self._pack_bytes[pack] += place.size

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels int64 ``[n]``, -1 where there is none."""
        return _int64(item.label for item in self._items())

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each example's file."""
        return [item.sha256 for item in self._items()]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each example's file ``[n]``."""
        return _int64(item.size for item in self._items())

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Group of each example int64 ``[n]``, or None where all are independent."""
        return group_numbers(_int64(item.group for item in self._items()))

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """What divides the examples into slices."""
        return tuple(column.name for column in self._state.record.slice_columns)

    def slice_numbers(self, column: str) -> NDArray[np.int64]:
        """Number of each example's slice int64 ``[n]``. Raises ValueError for a column that is not there."""
        position = self.slice_columns.index(column)
        return _int64(item.slices[position] for item in self._items())

    @property
    def slices(self) -> Mapping[str, NDArray[np.bool_]]:
        """See :func:`seedzoo.engine.slices.slice_masks`."""
        record = self._state.record
        return slice_masks(record.slice_columns, self.slice_numbers, self.labels, record.classes)

    def read(self, rows: Sequence[int]) -> list[bytes]:
        """Contents of these examples, in this order, verified.

        Raises:
            IntegrityError: One is not what was uploaded; names it.
        """
        wanted: dict[str, dict[int, Place]] = {}
        for row in rows:
            pack, place = self._state.places[row]
            wanted.setdefault(pack, {})[row] = place
        found: dict[int, bytes] = {}
        for pack, places in wanted.items():
            # With most of a pack wanted, the rest of it costs little and may be wanted next.
            much = 2 * sum(place.size for place in places.values()) >= self._pack_bytes[pack]
            try:
                found.update(self._packs.read(pack, places, whole=self._keeps_all or much))
            except NotFound as error:
                raise _damaged(min(places)) from error
        for row, content in found.items():
            item = self._state.items[row]
            if len(content) != item.size or hashlib.sha256(content).hexdigest() != item.sha256:
                raise _damaged(row)
        return [found[row] for row in rows]

    def _items(self) -> Iterator[Item]:
        return (self._state.items[index] for index in range(self._state.record.item_count))


def _int64(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, dtype=np.int64)


class _Packs:
    """Reads from packs; those used last stay in memory, up to ``limit`` bytes."""

    def __init__(self, store: ObjectStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._held = 0

    def read(self, pack: str, places: Mapping[int, Place], *, whole: bool) -> dict[int, bytes]:
        """What lies at these places; the ``whole`` pack is read and kept, or else only what is asked for."""
        if pack in self._kept:
            self._kept.move_to_end(pack)
            content = self._kept[pack]
        elif whole:
            content = self._store.get(pack)
            self._keep(pack, content)
        else:
            return self._parts(pack, places)
        return {row: content[place.offset : place.offset + place.size] for row, place in places.items()}

    def _keep(self, pack: str, content: bytes) -> None:
        self._kept[pack] = content
        self._held += len(content)
        while self._held > self._limit:
            _, dropped = self._kept.popitem(last=False)
            self._held -= len(dropped)

    def _parts(self, pack: str, places: Mapping[int, Place]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for run in _runs(sorted(places.items(), key=lambda entry: entry[1].offset)):
            start = run[0][1].offset
            content = self._store.get_range(pack, start, run[-1][1].offset + run[-1][1].size - start)
            for row, place in run:
                found[row] = content[place.offset - start : place.offset - start + place.size]
        return found


def _runs(places: Iterable[tuple[int, Place]]) -> Iterator[list[tuple[int, Place]]]:
    """Places, in order, that lie so close that one read takes them all."""
    run: list[tuple[int, Place]] = []
    for row, place in places:
        if run and place.offset - (run[-1][1].offset + run[-1][1].size) > _GAP_BYTES:
            yield run
            run = []
        run.append((row, place))
    if run:
        yield run


def _damaged(index: int) -> IntegrityError:
    return IntegrityError(
        f"item {index} of the dataset is not what was uploaded any more",
        hint="Delete the dataset (zoo forget) and upload it again.",
        reason="ITEM_DAMAGED",
    )
