"""Datasets in the object store: descriptors in batches, examples in packs.

    datasets/<id>/dataset.json                    classes, slice columns and number of items
    datasets/<id>/items/<first>-<count>.json      descriptors of consecutive items
    datasets/<id>/packs/<ulid>.bin, <ulid>.json   examples one after the other, and the index that commits them
    datasets/<id>/selections/<selection id>       marks of the selections that used it
    datasets/<id>/used/last                       written when the same dataset is asked for again

The newest of these objects says when a dataset was last used, for its expiry.

Batches and packs never change once written, so what was read once is kept in memory. A pack counts only when its
index is there, which is written after its bytes: what was acknowledged is durable, and a crash leaves at most bytes
that nobody refers to.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime

from ulid import ULID

from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import AlreadyExists, Conflict, LimitExceeded, NotFound, RequestError
from seedzoo_server.quotas import QuotaGuard, Usage
from seedzoo_server.storage.dataset_records import (
    MAX_BATCH,
    DatasetRecord,
    DatasetState,
    Item,
    PackIndex,
    Place,
    SliceColumn,
    check_classes,
    check_items,
    check_slice_columns,
)
from seedzoo_server.storage.examples import StoredExamples
from seedzoo_server.storage.keys import check_id, dataset_prefix, derived_id, predictions_prefix, unknown
from seedzoo_server.storage.predictions import StoredPredictions

__all__ = ["MAX_BATCH", "DatasetRecord", "DatasetState", "Datasets", "Item", "SliceColumn", "StoredExamples"]

_CACHED_DATASETS = 64
_CACHED_ITEMS = 500_000  # of some 700 bytes each


class Datasets:
    """Reads and writes datasets; safe to share between threads.

    Args:
        store: The tenant's folder.
        max_items: Most items of a dataset.
        max_item_bytes: Largest item.
        quota: Of the tenant; none when omitted.
    """

    def __init__(
        self, store: ObjectStore, *, max_items: int, max_item_bytes: int, quota: QuotaGuard | None = None
    ) -> None:
        self._store = store
        self._quota = quota
        self._max_items = max_items
        self.max_item_bytes = max_item_bytes
        self._lock = threading.Lock()
        self._states: OrderedDict[str, DatasetState] = OrderedDict()

    def create(
        self, request_id: str, classes: Sequence[str], item_count: int, slice_columns: Sequence[SliceColumn] = ()
    ) -> DatasetState:
        """Make a dataset, or return the one that the same request made.

        Raises:
            RequestError: No classes or no items, or slice columns that cannot be used.
            LimitExceeded: Too many items, or the tenant's quota would be passed.
            AlreadyExists: The request id was used with another body.
        """
        if item_count < 1:
            raise RequestError("a dataset needs at least one item", field="item_count")
        if item_count > self._max_items:
            raise LimitExceeded(
                f"{item_count} items are more than the {self._max_items} that this server takes in a dataset",
                hint="Select on a random sample: a few thousand examples settle most choices.",
            )
        check_classes(classes)
        check_slice_columns(slice_columns)
        dataset_id = derived_id("ds", request_id)
        record = DatasetRecord(
            id=dataset_id,
            classes=tuple(classes),
            item_count=item_count,
            # So exact that the record of one that is deleted and made again at once has another etag.
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            slice_columns=tuple(slice_columns),
        )
        if (version := self._make(record)) is not None:
            return self._remembered(DatasetState(record, version))
        used = f"{dataset_prefix(dataset_id)}/used/last"
        self._store.put(used, b"{}")  # before it is read: one that is there from now on does not expire
        try:
            state = self.state(dataset_id)
        except NotFound:  # deleted just now
            self._store.delete(used)
            return self.create(request_id, classes, item_count, slice_columns)
        if state.record.body != record.body:
            raise AlreadyExists(
                "request_id was used before for another dataset",
                hint="Use a new request_id.",
                reason="REQUEST_ID_REUSED",
                field="request_id",
            )
        return state

    def _make(self, record: DatasetRecord) -> str | None:
        """Store the record of a new dataset and return its version; None where it is there, which no quota forbids."""
        key = f"{dataset_prefix(record.id)}/dataset.json"
        if self._store.exists(key):
            return None
        try:
            with self._taking(key, Usage(datasets=1, items=record.item_count), field="item_count"):
                return self._store.put(key, encode_json(record), if_absent=True)
        except Conflict:  # the same request came twice
            return None

    def _taking(self, key: str, wanted: Usage, *, field: str) -> AbstractContextManager[None]:
        return nullcontext() if self._quota is None else self._quota.taking(key, wanted, field=field)

    def state(self, dataset_id: str) -> DatasetState:
        """The dataset as it is in the store now; only batches and packs not seen before are read.

        Raises:
            NotFound: No such dataset.
            IntegrityError: A stored record is damaged.
        """
        prefix = dataset_prefix(check_id("ds", dataset_id))
        try:
            raw, version = self._store.get_with_etag(f"{prefix}/dataset.json")
        except NotFound as error:
            with self._lock:
                self._states.pop(dataset_id, None)
            raise unknown("ds", dataset_id) from error
        with self._lock:
            known = self._states.get(dataset_id)
        if known is None or known.version != version:
            known = DatasetState(decode_json(raw, DatasetRecord, where=f"{prefix}/dataset.json"), version)
        return self._remembered(self._with_new(prefix, known))

    def _remembered(self, state: DatasetState) -> DatasetState:
        with self._lock:
            self._states[state.record.id] = state
            self._states.move_to_end(state.record.id)
            while len(self._states) > 1 and (
                len(self._states) > _CACHED_DATASETS
                or sum(len(kept.items) for kept in self._states.values()) > _CACHED_ITEMS
            ):
                self._states.popitem(last=False)
        return state

    def _with_new(self, prefix: str, known: DatasetState) -> DatasetState:
        """The state with the batches and packs that were written since."""
        batches = {info.key for info in self._store.list(f"{prefix}/items")}
        packs = {info.key for info in self._store.list(f"{prefix}/packs") if info.key.endswith(".json")}
        if not (known.batches <= batches and known.packs <= packs):  # deleted and made again meanwhile
            known = DatasetState(known.record, known.version)
        if known.batches == batches and known.packs == packs:
            return known
        items, places = dict(known.items), dict(known.places)
        for key in sorted(batches - known.batches):
            batch = decode_json(self._store.get(key), tuple[Item, ...], where=key)
            items.update({item.index: item for item in batch})
        for key in sorted(packs - known.packs):
            index = decode_json(self._store.get(key), PackIndex, where=key)
            _add_places(places, key, index.places)
        return DatasetState(known.record, known.version, items, places, frozenset(batches), frozenset(packs))

    def append(self, dataset_id: str, items: Sequence[Item]) -> DatasetState:
        """Describe consecutive items; the same batch again changes nothing.

        Raises:
            RequestError: Empty or too long, not consecutive, or an item that breaks a rule.
            AlreadyExists: An item was described differently before.
            LimitExceeded: An item is too large, or the tenant's quota would be passed.
        """
        state = self.state(dataset_id)
        check_items(items, state.record, max_item_bytes=self.max_item_bytes)
        differing = [item.index for item in items if item.index in state.items and state.items[item.index] != item]
        if differing:
            raise AlreadyExists(
                f"item {differing[0]} was described differently before",
                hint="Make a new dataset for other data.",
                reason="ITEM_CHANGED",
                field="items",
            )
        if all(item.index in state.items for item in items):
            return state
        key = f"{dataset_prefix(dataset_id)}/items/{items[0].index:09d}-{len(items):04d}.json"
        added = Usage(bytes=sum(item.size for item in items if item.index not in state.items))
        try:
            with self._taking(key, added, field="items"):
                self._store.put(key, encode_json(tuple(items)), if_absent=True)
        except Conflict:
            return self.append(dataset_id, items)  # somebody sent the same range just now: compare with that
        if not self._store.exists(f"{dataset_prefix(dataset_id)}/dataset.json"):  # deleted meanwhile: as for a pack
            self._store.delete(key)
            raise unknown("ds", dataset_id)
        # What was just written need not be read again.
        described = {**state.items, **{item.index: item for item in items}}
        return self._remembered(replace(state, items=described, batches=state.batches | {key}))

    def write_pack(self, dataset_id: str, contents: Sequence[tuple[int, bytes]]) -> None:
        """Store examples (index, bytes) durably as one pack. Their digests have been checked by the caller.

        Raises:
            NotFound: The dataset was deleted meanwhile; nothing of the pack stays.
        """
        prefix = f"{dataset_prefix(dataset_id)}/packs/{ULID()}"
        places, offset = [], 0
        for index, content in contents:
            places.append(Place(index=index, offset=offset, size=len(content)))
            offset += len(content)
        self._store.put(f"{prefix}.bin", b"".join(content for _, content in contents), if_absent=True)
        key = f"{prefix}.json"
        self._store.put(key, encode_json(PackIndex(offset, tuple(places))), if_absent=True)
        # A deletion removes the record first and then what it finds: whatever is written after that is ours to remove.
        if not self._store.exists(f"{dataset_prefix(dataset_id)}/dataset.json"):
            self._store.delete(key)
            self._store.delete(f"{prefix}.bin")
            raise unknown("ds", dataset_id)
        with self._lock:
            known = self._states.get(dataset_id)
            if known is not None and key not in known.packs:  # what was just written need not be read again
                self._states[dataset_id] = _with_pack(known, key, places)

    def mark_selection(self, dataset_id: str, selection_id: str) -> None:
        """Remember that a selection uses this dataset.

        Raises:
            NotFound: The dataset was deleted meanwhile; no mark stays.
        """
        mark = self.mark_key(dataset_id, selection_id)
        self._store.put(mark, b"{}")
        if not self._store.exists(f"{dataset_prefix(dataset_id)}/dataset.json"):  # as for a pack
            self._store.delete(mark)
            raise unknown("ds", dataset_id)

    def mark_key(self, dataset_id: str, selection_id: str) -> str:
        """Key of the mark of a selection that uses this dataset."""
        return f"{dataset_prefix(dataset_id)}/selections/{selection_id}"

    def selections(self, dataset_id: str) -> dict[str, datetime]:
        """Identifiers of the selections that use this dataset, and when each was marked."""
        prefix = f"{dataset_prefix(dataset_id)}/selections"
        return {info.key.rpartition("/")[2]: info.modified for info in self._store.list(prefix)}

    def delete(self, dataset_id: str) -> None:
        """Delete everything of a dataset but its selections, if there is anything."""
        with suppress(NotFound):
            keys = self.keys(dataset_id)
            self.delete_record(dataset_id)
            self.delete_keys(keys)
            self.delete_predictions(dataset_id)

    def keys(self, dataset_id: str) -> list[str]:
        """Keys of everything that is stored of a dataset. Raises NotFound where there is nothing."""
        found = [info.key for info in self._store.list(dataset_prefix(check_id("ds", dataset_id)))]
        if not found:
            raise unknown("ds", dataset_id)
        return found

    def delete_keys(self, keys: Sequence[str]) -> None:
        """Delete these, not the whole folder: the same data may be uploaded anew by now."""
        for key in keys:
            self._store.delete(key)

    def delete_predictions(self, dataset_id: str) -> None:
        """Delete what is kept of evaluations; without harm where the data were uploaded anew, as it is made again."""
        self.delete_keys([info.key for info in self._store.list(predictions_prefix(check_id("ds", dataset_id)))])

    def delete_record(self, dataset_id: str) -> None:
        """From now on there is no such dataset; whoever calls this deletes the rest."""
        self._store.delete(f"{dataset_prefix(check_id('ds', dataset_id))}/dataset.json")
        with self._lock:
            self._states.pop(dataset_id, None)
        if self._quota is not None:
            self._quota.forget()

    def examples(self, state: DatasetState) -> StoredExamples:
        """The examples of a complete dataset, for a selection."""
        return StoredExamples(self._store, state)

    def predictions(self, dataset_id: str, release: str) -> StoredPredictions:
        """Predictions of a release on a dataset, kept between selections."""
        return StoredPredictions(self._store, dataset_id, release)


def _with_pack(state: DatasetState, key: str, found: Sequence[Place]) -> DatasetState:
    places = dict(state.places)
    _add_places(places, key, found)
    return replace(state, places=places, packs=state.packs | {key})


def _add_places(places: dict[int, tuple[str, Place]], key: str, found: Sequence[Place]) -> None:
    """Add what a pack with this index holds; where an item came twice, the first counts."""
    pack = key.removesuffix(".json") + ".bin"  # one for all: it takes more memory than a place
    for place in found:
        places.setdefault(place.index, (pack, place))
