"""What is stored of a dataset, and the rules that a description of it must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from seedzoo.engine.slices import check_slice_columns
from seedzoo.errors import LimitExceeded, RequestError

__all__ = [
    "MAX_BATCH",
    "DatasetRecord",
    "DatasetState",
    "Item",
    "PackIndex",
    "Place",
    "SliceColumn",
    "check_classes",
    "check_items",
    "check_slice_columns",
]

MAX_BATCH = 1000
_MOST_CLASSES = 10_000
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class SliceColumn:
    """What divides a dataset into slices, and the names of its slices."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """``dataset.json``."""

    id: str
    classes: tuple[str, ...]
    item_count: int
    created: str
    slice_columns: tuple[SliceColumn, ...] = ()

    @property
    def body(self) -> tuple[object, ...]:
        """What the client chose: a repeated request has the same."""
        return self.classes, self.item_count, self.slice_columns


@dataclass(frozen=True, slots=True)
class Item:
    """Descriptor of one example; label -1 means unlabelled, group -1 independent of all others."""

    index: int
    sha256: str
    size: int
    label: int
    group: int = -1
    slices: tuple[int, ...] = ()
    """For each slice column of the dataset, the number of the item's slice."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an example's bytes are in a pack."""

    index: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class PackIndex:
    """Bytes of a pack, and what lies where in it."""

    size: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class DatasetState:
    """A dataset with all descriptors and places as they were at one moment; never changed, only replaced."""

    record: DatasetRecord
    version: str
    """Etag of the record: a dataset that was deleted and made again has another one."""
    items: dict[int, Item] = field(default_factory=dict)
    places: dict[int, tuple[str, Place]] = field(default_factory=dict)
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


def check_classes(classes: Sequence[str]) -> None:
    """Raise RequestError unless these can be the classes of a dataset."""
    if not 0 < len(classes) <= _MOST_CLASSES or len(set(classes)) != len(classes):
        raise RequestError(f"1 to {_MOST_CLASSES} classes must be given, each once", field="classes")
    if max(len(name) for name in classes) > _LONGEST_NAME:
        raise RequestError(f"a class name has more than {_LONGEST_NAME} characters", field="classes")


def check_items(items: Sequence[Item], record: DatasetRecord, *, max_item_bytes: int) -> None:
    """Check descriptions of consecutive items.

    Raises:
        RequestError: A rule is broken; says which, and by which item.
        LimitExceeded: An item is too large.
    """

    def require(condition: bool, rule: str) -> None:
        if not condition:
            raise RequestError(rule, field="items")

    require(1 <= len(items) <= MAX_BATCH, f"1 to {MAX_BATCH} items go in one call, not {len(items)}")
    first = items[0].index
    require([item.index for item in items] == list(range(first, first + len(items))),
            "the items of one call must have consecutive indices")  # fmt: skip
    require(first >= 0 and first + len(items) <= record.item_count,
            f"indices must lie between 0 and {record.item_count - 1}")  # fmt: skip
    columns = record.slice_columns
    for item in items:
        require(len(item.sha256) == 64, f"item {item.index}: sha256 must have 32 bytes")
        require(item.size >= 0, f"item {item.index}: its size is negative")
        require(item.group >= -1, f"item {item.index}: its group is negative")
        require(-1 <= item.label < len(record.classes),
                f"item {item.index}: label {item.label} is outside the {len(record.classes)} classes")  # fmt: skip
        require(len(item.slices) == len(columns),
                f"item {item.index}: {len(item.slices)} slices for {len(columns)} slice columns")  # fmt: skip
        for number, column in zip(item.slices, columns, strict=True):
            require(0 <= number < len(column.values),
                    f"item {item.index}: slice {number} of column {column.name!r} is outside its "
                    f"{len(column.values)} slices")  # fmt: skip
        if item.size > max_item_bytes:
            raise LimitExceeded(
                f"item {item.index} has {item.size} bytes, more than the {max_item_bytes} that are allowed",
                hint="Scale it down first.",
                reason="ITEM_TOO_LARGE",
            )
