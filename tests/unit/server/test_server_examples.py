"""Reading stored examples: slices by name, any order, few reads."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import AlreadyExists, IntegrityError, RequestError
from seedzoo_server.storage.datasets import DatasetRecord, Datasets, DatasetState, Item, SliceColumn
from seedzoo_server.storage.examples import StoredExamples

CAMERA = SliceColumn("camera", ("A", "B"))
BLUR = SliceColumn("blur", ("yes", "no", "A"))


class CountingStore(MemoryStore):
    """Counts what is read of packs."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: Counter[str] = Counter()
        self.parts: list[int] = []

    def get(self, key: str) -> bytes:
        if key.endswith(".bin"):
            self.whole[key] += 1
        return super().get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.parts.append(length)
        return super().get_range(key, offset, length)


def datasets(store: MemoryStore) -> Datasets:
    return Datasets(store, max_items=10_000, max_item_bytes=1 << 20)


def stored(
    store: MemoryStore,
    contents: Sequence[bytes],
    *,
    per_pack: int = 10,
    slice_columns: Sequence[SliceColumn] = (),
    slices: Sequence[tuple[int, ...]] | None = None,
    labels: Sequence[int] | None = None,
) -> DatasetState:
    made = datasets(store)
    state = made.create("request", ("Bag", "Coat", "Hat"), len(contents), slice_columns)
    items = [
        Item(
            index=index,
            sha256=hashlib.sha256(raw).hexdigest(),
            size=len(raw),
            label=-1 if labels is None else labels[index],
            slices=() if slices is None else slices[index],
        )
        for index, raw in enumerate(contents)
    ]
    made.append(state.record.id, items)
    for start in range(0, len(contents), per_pack):
        made.write_pack(state.record.id, list(enumerate(contents))[start : start + per_pack])
    return made.state(state.record.id)


def blobs(count: int, size: int = 100) -> list[bytes]:
    rng = random.Random(0)
    return [rng.randbytes(size) for _ in range(count)]


def test_any_order_and_repeats() -> None:
    store = CountingStore()
    contents = blobs(45)
    examples = StoredExamples(store, stored(store, contents))
    rows = list(range(45))
    random.Random(1).shuffle(rows)
    rows += rows[:5]
    assert examples.read(rows) == [contents[row] for row in rows]
    assert set(store.whole.values()) == {1}, "each pack once"
    assert len(store.whole) == 5
    assert examples.read([]) == []
    assert examples.read([7, 44, 7]) == [contents[7], contents[44], contents[7]]
    assert set(store.whole.values()) == {1}, "what fits stays in memory"


def test_memory_is_bounded_and_packs_are_not_read_again_and_again() -> None:
    store = CountingStore()
    contents = blobs(50, size=100_000)
    examples = StoredExamples(store, stored(store, contents), cache_bytes=2_500_000)
    for start in range(0, 50, 10):
        assert examples.read(range(start, start + 10)) == contents[start : start + 10]
    assert set(store.whole.values()) == {1}
    assert len(store.whole) == 5
    assert store.parts == []
    assert examples._packs._held == 2_000_000
    assert examples.read([0, 2, 3, 49]) == [contents[row] for row in (0, 2, 3, 49)]
    # Of a pack that is not in memory only what is wanted is read, neighbours at once.
    assert store.parts == [100_000, 200_000]
    assert set(store.whole.values()) == {1}
    assert examples.read([40]) == [contents[40]]
    assert len(store.parts) == 2, "the last pack is still in memory"


def test_one_pack_larger_than_the_memory() -> None:
    store = CountingStore()
    contents = blobs(20)
    examples = StoredExamples(store, stored(store, contents), cache_bytes=500)
    assert examples.read(range(20)) == contents
    assert examples._packs._held == 0


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_damage_is_noticed(how: str, cache_bytes: int) -> None:
    store = MemoryStore()
    state = stored(store, blobs(30))
    pack, place = state.places[14]
    raw = bytearray(store.get(pack))
    if how == "gone":
        store.delete(pack)
    elif how == "cut":
        store.put(pack, bytes(raw[: place.offset]))
    else:
        raw[place.offset] ^= 1
        store.put(pack, bytes(raw))
    examples = StoredExamples(store, state, cache_bytes=cache_bytes)
    with pytest.raises(IntegrityError, match="item 14 of the dataset") as caught:
        examples.read([29, 14, 0])
    assert caught.value.reason == "ITEM_DAMAGED"


def test_slices_by_name() -> None:
    store = MemoryStore()
    state = stored(
        store,
        blobs(4),
        slice_columns=[CAMERA, BLUR],
        slices=[(0, 0), (1, 1), (1, 2), (0, 0)],
        labels=[1, -1, 0, 1],
    )
    examples = datasets(store).examples(state)
    assert examples.slice_columns == ("camera", "blur")
    assert examples.slice_numbers("blur").tolist() == [0, 1, 2, 0]
    assert examples.slice_numbers("blur").dtype == np.int64
    with pytest.raises(ValueError, match="not in"):
        examples.slice_numbers("colour")
    assert {name: np.flatnonzero(mask).tolist() for name, mask in examples.slices.items()} == {
        "camera=A": [0, 3],
        "camera=B": [1, 2],
        "blur=yes": [0, 3],
        "blur=no": [1],
        "blur=A": [2],
        "B": [1, 2],
        "yes": [0, 3],
        "no": [1],
        "class=Bag": [2],
        "class=Coat": [0, 3],
    }, "A could be a camera or a blur; nothing is labelled Hat"
    assert all(mask.dtype == np.bool_ and mask.shape == (4,) for mask in examples.slices.values())
    assert "A" not in examples.slices


@pytest.mark.parametrize("column", [SliceColumn("class", ("Bag",)), SliceColumn("x", ("class=Bag", "class=Coat"))])
def test_slices_that_would_pass_for_classes_are_refused(column: SliceColumn) -> None:
    with pytest.raises(RequestError, match="would pass for a class of the task"):
        stored(MemoryStore(), blobs(2), slice_columns=[column], slices=[(0,), (0,)], labels=[0, 1])


def test_without_slices() -> None:
    store = MemoryStore()
    examples = datasets(store).examples(stored(store, blobs(2)))
    assert examples.slice_columns == ()
    assert dict(examples.slices) == {}


def test_records_of_earlier_versions_are_read() -> None:
    store = MemoryStore()
    contents = blobs(2)
    dataset_id = stored(store, contents).record.id
    prefix = f"datasets/{dataset_id}"
    old = {"id": dataset_id, "classes": ["Bag", "Coat", "Hat"], "item_count": 2, "created": "2025-01-01T00:00:00"}
    items: list[dict[str, Any]] = [
        {"index": index, "sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw), "label": 0}
        for index, raw in enumerate(contents)
    ]
    store.put(f"{prefix}/dataset.json", encode_json(old))
    store.put(f"{prefix}/items/000000000-0002.json", encode_json(items))
    again = datasets(store)
    state = again.state(dataset_id)
    assert state.record.slice_columns == ()
    assert [item.slices for item in state.items.values()] == [(), ()]
    assert again.create("request", ("Bag", "Coat", "Hat"), 2).record == state.record
    assert again.examples(state).read([1, 0]) == contents[::-1]
    assert decode_json(encode_json(state.record), DatasetRecord, where="here") == state.record


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([SliceColumn(str(number), ("a",)) for number in range(21)], "21 slice columns"),
        ([SliceColumn("", ("a",))], "1 to 200 characters"),
        ([SliceColumn("x" * 201, ("a",))], "1 to 200 characters"),
        ([SliceColumn("camera", ())], "1 to 1000 slices"),
        ([SliceColumn("camera", ("a", "a"))], "each once"),
        ([SliceColumn("camera", tuple(str(number) for number in range(1001)))], "1 to 1000 slices"),
        ([SliceColumn("camera", ("",))], "names of 1 to 200"),
        ([SliceColumn("camera", ("x" * 201,))], "names of 1 to 200"),
        ([CAMERA, SliceColumn("camera", ("C",))], "'camera' is given twice"),
        ([SliceColumn("a", ("b=c",)), SliceColumn("a=b", ("c",))], "both called 'a=b=c'"),
        (
            [SliceColumn(f"c{column}", tuple(f"{number:0199d}" for number in range(999))) for column in range(8)],
            "more than 1048576 bytes",
        ),
    ],
)
def test_slice_columns_that_break_a_rule(columns: list[SliceColumn], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        datasets(MemoryStore()).create("request", ("Bag",), 1, columns)
    assert caught.value.field == "slice_columns"


def test_other_slice_columns_are_another_dataset() -> None:
    made = datasets(MemoryStore())
    made.create("request", ("Bag",), 1, [CAMERA])
    made.create("request", ("Bag",), 1, [CAMERA])
    with pytest.raises(AlreadyExists):
        made.create("request", ("Bag",), 1, [BLUR])
