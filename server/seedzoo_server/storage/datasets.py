"""Datasets in the object store: descriptors in batches, examples in packs.

    datasets/<id>/dataset.json                    classes and number of items
    datasets/<id>/items/<first>-<count>.json      descriptors of consecutive items
    datasets/<id>/packs/<ulid>.bin, <ulid>.json   examples one after the other, and the index that commits them
    datasets/<id>/selections/<selection id>       marks of the selections that used it

Batches and packs never change once written, so what was read once is kept in memory. A pack counts only when its
index is there, which is written after its bytes: what was acknowledged is durable, and a crash leaves at most bytes
that nobody refers to.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from ulid import ULID

from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import AlreadyExists, Conflict, IntegrityError, LimitExceeded, NotFound, RequestError
from seedzoo_server.storage.keys import check_id, dataset_prefix, derived_id, unknown

__all__ = ["MAX_BATCH", "DatasetRecord", "DatasetState", "Datasets", "Item", "StoredExamples"]

MAX_BATCH = 1000
_CACHED_DATASETS = 64
_MOST_CLASSES = 10_000
_LONGEST_CLASS = 200


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """``dataset.json``."""

    id: str
    classes: tuple[str, ...]
    item_count: int
    created: str


@dataclass(frozen=True, slots=True)
class Item:
    """Descriptor of one example; label -1 means unlabelled, group -1 independent of all others."""

    index: int
    sha256: str
    size: int
    label: int
    group: int = -1


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an example's bytes are in a pack."""

    index: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _PackIndex:
    size: int
    places: tuple[_Place, ...]


@dataclass(frozen=True)
class DatasetState:
    """A dataset with all descriptors and places as they were at one moment; never changed, only replaced."""

    record: DatasetRecord
    version: str
    """Etag of the record: a dataset that was deleted and made again has another one."""
    items: dict[int, Item] = field(default_factory=dict)
    places: dict[int, tuple[str, _Place]] = field(default_factory=dict)
    batches: frozenset[str] = frozenset()
    packs: frozenset[str] = frozenset()

    @property
    def missing(self) -> list[int]:
        """Indices of described items whose bytes have not arrived."""
        return sorted(self.items.keys() - self.places.keys())

    @property
    def received_bytes(self) -> int:
        """Bytes of the items that have arrived."""
        return sum(place.size for _, place in self.places.values())

    @property
    def complete(self) -> bool:
        """Whether every announced item is described and has arrived."""
        return len(self.items) == self.record.item_count == len(self.places)


class Datasets:
    """Reads and writes datasets; safe to share between threads."""

    def __init__(self, store: ObjectStore, *, max_items: int, max_item_bytes: int) -> None:
        self._store = store
        self._max_items = max_items
        self.max_item_bytes = max_item_bytes
        self._lock = threading.Lock()
        self._states: OrderedDict[str, DatasetState] = OrderedDict()

    def create(self, request_id: str, classes: Sequence[str], item_count: int) -> DatasetState:
        """Make a dataset, or return the one that the same request made.

        Raises:
            RequestError: No classes or no items.
            LimitExceeded: Too many items.
            AlreadyExists: The request id was used with another body.
        """
        if item_count < 1:
            raise RequestError("a dataset needs at least one item", field="item_count")
        if item_count > self._max_items:
            raise LimitExceeded(
                f"{item_count} items are more than the {self._max_items} that this server takes in a dataset",
                hint="Select on a random sample: a few thousand examples settle most choices.",
            )
        if not 0 < len(classes) <= _MOST_CLASSES or len(set(classes)) != len(classes):
            raise RequestError(f"1 to {_MOST_CLASSES} classes must be given, each once", field="classes")
        if max(len(name) for name in classes) > _LONGEST_CLASS:
            raise RequestError(f"a class name has more than {_LONGEST_CLASS} characters", field="classes")
        dataset_id = derived_id("ds", request_id)
        record = DatasetRecord(
            id=dataset_id,
            classes=tuple(classes),
            item_count=item_count,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        try:
            self._store.put(f"{dataset_prefix(dataset_id)}/dataset.json", encode_json(record), if_absent=True)
        except Conflict:
            earlier = self.state(dataset_id).record
            if (earlier.classes, earlier.item_count) != (record.classes, record.item_count):
                raise AlreadyExists(
                    "request_id was used before for another dataset",
                    hint="Use a new request_id.",
                    reason="REQUEST_ID_REUSED",
                    field="request_id",
                ) from None
        return self.state(dataset_id)

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
        state = self._with_new(prefix, known)
        with self._lock:
            self._states[dataset_id] = state
            self._states.move_to_end(dataset_id)
            while len(self._states) > _CACHED_DATASETS:
                self._states.popitem(last=False)
        return state

    def _with_new(self, prefix: str, known: DatasetState) -> DatasetState:
        """The state with the batches and packs that were written since."""
        batches = {info.key for info in self._store.list(f"{prefix}/items")}
        packs = {info.key for info in self._store.list(f"{prefix}/packs") if info.key.endswith(".json")}
        if not (known.batches <= batches and known.packs <= packs):  # deleted and made again meanwhile
            known = DatasetState(known.record, known.version)
        items, places = dict(known.items), dict(known.places)
        for key in sorted(batches - known.batches):
            batch = decode_json(self._store.get(key), tuple[Item, ...], where=key)
            items.update({item.index: item for item in batch})
        for key in sorted(packs - known.packs):
            index = decode_json(self._store.get(key), _PackIndex, where=key)
            for place in index.places:
                places.setdefault(place.index, (key.removesuffix(".json") + ".bin", place))
        return DatasetState(known.record, known.version, items, places, frozenset(batches), frozenset(packs))

    def append(self, dataset_id: str, items: Sequence[Item]) -> DatasetState:
        """Describe consecutive items; the same batch again changes nothing.

        Raises:
            RequestError: Empty or too long, not consecutive, or an item that breaks a rule.
            AlreadyExists: An item was described differently before.
            LimitExceeded: An item is too large.
        """
        state = self.state(dataset_id)
        self._check_items(items, state.record)
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
        try:
            self._store.put(key, encode_json(tuple(items)), if_absent=True)
        except Conflict:
            return self.append(dataset_id, items)  # somebody sent the same range just now: compare with that
        return self.state(dataset_id)

    def _check_items(self, items: Sequence[Item], record: DatasetRecord) -> None:
        def require(condition: bool, rule: str) -> None:
            if not condition:
                raise RequestError(rule, field="items")

        require(1 <= len(items) <= MAX_BATCH, f"1 to {MAX_BATCH} items go in one call, not {len(items)}")
        first = items[0].index
        require([item.index for item in items] == list(range(first, first + len(items))),
                "the items of one call must have consecutive indices")  # fmt: skip
        require(first >= 0 and first + len(items) <= record.item_count,
                f"indices must lie between 0 and {record.item_count - 1}")  # fmt: skip
        for item in items:
            require(len(item.sha256) == 64, f"item {item.index}: sha256 must have 32 bytes")
            require(item.size >= 0, f"item {item.index}: its size is negative")
            require(item.group >= -1, f"item {item.index}: its group is negative")
            require(-1 <= item.label < len(record.classes),
                    f"item {item.index}: label {item.label} is outside the {len(record.classes)} classes")  # fmt: skip
            if item.size > self.max_item_bytes:
                raise LimitExceeded(
                    f"item {item.index} has {item.size} bytes, more than the {self.max_item_bytes} that are allowed",
                    hint="Scale it down first.",
                    reason="ITEM_TOO_LARGE",
                )

    def write_pack(self, dataset_id: str, contents: Sequence[tuple[int, bytes]]) -> None:
        """Store examples (index, bytes) durably as one pack. Their digests have been checked by the caller.

        Raises:
            NotFound: The dataset was deleted meanwhile; nothing of the pack stays.
        """
        prefix = f"{dataset_prefix(dataset_id)}/packs/{ULID()}"
        places, offset = [], 0
        for index, content in contents:
            places.append(_Place(index=index, offset=offset, size=len(content)))
            offset += len(content)
        self._store.put(f"{prefix}.bin", b"".join(content for _, content in contents), if_absent=True)
        self._store.put(f"{prefix}.json", encode_json(_PackIndex(offset, tuple(places))), if_absent=True)
        # A deletion removes the record first and then what it finds: whatever is written after that is ours to remove.
        if not self._store.exists(f"{dataset_prefix(dataset_id)}/dataset.json"):
            self._store.delete(f"{prefix}.json")
            self._store.delete(f"{prefix}.bin")
            raise unknown("ds", dataset_id)

    def mark_selection(self, dataset_id: str, selection_id: str) -> None:
        """Remember that a selection uses this dataset."""
        self._store.put(f"{dataset_prefix(dataset_id)}/selections/{selection_id}", b"{}")

    def selections(self, dataset_id: str) -> list[str]:
        """Identifiers of the selections that use this dataset."""
        prefix = f"{dataset_prefix(dataset_id)}/selections"
        return [info.key.rpartition("/")[2] for info in self._store.list(prefix)]

    def delete(self, dataset_id: str) -> None:
        """Delete everything of a dataset, its record first so that nobody starts on the rest."""
        prefix = dataset_prefix(check_id("ds", dataset_id))
        self._store.delete(f"{prefix}/dataset.json")
        self._store.delete_prefix(prefix)
        with self._lock:
            self._states.pop(dataset_id, None)

    def examples(self, state: DatasetState) -> StoredExamples:
        """The examples of a complete dataset, for a selection."""
        return StoredExamples(self._store, state)


class StoredExamples:
    """Reads examples of a complete dataset; one pack at a time is kept in memory."""

    def __init__(self, store: ObjectStore, state: DatasetState) -> None:
        self._store = store
        self._state = state
        self._open: tuple[str, bytes] = ("", b"")

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels int64 ``[n]``, -1 where there is none."""
        items = self._state.items
        return np.array([items[index].label for index in range(self._state.record.item_count)], dtype=np.int64)

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each example's file."""
        return [self._state.items[index].sha256 for index in range(self._state.record.item_count)]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each example's file ``[n]``."""
        items = self._state.items
        return np.array([items[index].size for index in range(self._state.record.item_count)], dtype=np.int64)

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Group of each example int64 ``[n]``, or None where all are independent."""
        items = self._state.items
        given = np.array([items[index].group for index in range(self._state.record.item_count)], dtype=np.int64)
        if (given < 0).all():
            return None
        alone = given < 0  # an item without group is a group of its own
        given[alone] = given.max() + 1 + np.arange(int(alone.sum()))
        return given

    def read(self, start: int, stop: int) -> list[bytes]:
        """Contents of the examples ``start`` to ``stop - 1``, verified. Raises IntegrityError."""
        return [self._one(index) for index in range(start, stop)]

    def _one(self, index: int) -> bytes:
        pack, place = self._state.places[index]
        if self._open[0] != pack:
            try:
                self._open = (pack, self._store.get(pack))
            except NotFound as error:
                raise _damaged(index) from error
        content = self._open[1][place.offset : place.offset + place.size]
        item = self._state.items[index]
        if len(content) != item.size or hashlib.sha256(content).hexdigest() != item.sha256:
            raise _damaged(index)
        return content


def _damaged(index: int) -> IntegrityError:
    return IntegrityError(
        f"item {index} of the dataset is not what was uploaded any more",
        hint="Delete the dataset (zoo forget) and upload it again.",
        reason="ITEM_DAMAGED",
    )
