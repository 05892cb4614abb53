"""The listing of selections reads what changed, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from seedzoo.catalog.memory import MemoryStore
from seedzoo.records import SelectionState
from seedzoo_server.storage.keys import selection_key
from seedzoo_server.storage.selections import SelectionRequest, Selections

REQUEST = SelectionRequest(
    dataset_id="ds-" + "0" * 32, family="mini", release="1", objective="accuracy", alpha=0.05, delta=0.01
)


class Counting(MemoryStore):
    """Remembers what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def get(self, key: str, *arguments: Any, **more: Any) -> bytes:
        self.read.append(key)
        return super().get(key, *arguments, **more)


@pytest.fixture
def store() -> Counting:
    return Counting()


def test_only_what_changed_is_read_again(store: Counting) -> None:
    selections = Selections(store)
    ids = [selections.create(f"r{number}", b"body", REQUEST).id for number in range(5)]
    assert [record.id for record in selections.listed()] == ids[::-1], "newest first"
    assert sorted(store.read) == sorted(map(selection_key, ids))
    store.read.clear()
    assert [record.id for record in selections.listed()] == ids[::-1]
    assert store.read == []
    # Another server changes one, deletes one and adds one.
    other = Selections(store)
    other.cancel(ids[1])
    other.delete(ids[3])
    added = other.create("r5", b"body", REQUEST).id
    store.read.clear()
    listed = selections.listed()
    assert [record.id for record in listed] == [added, ids[4], ids[2], ids[1], ids[0]]
    assert [record.state for record in listed] == [
        SelectionState.PENDING, SelectionState.PENDING, SelectionState.PENDING, SelectionState.CANCELLED,
        SelectionState.PENDING,
    ]  # fmt: skip
    assert sorted(store.read) == sorted([selection_key(added), selection_key(ids[1])])


def test_a_damaged_record_is_left_out_and_read_again_when_it_is_whole(store: Counting) -> None:
    selections = Selections(store)
    kept, damaged = (selections.create(name, b"body", REQUEST).id for name in ("a", "b"))
    whole = store.get(selection_key(damaged))
    store.put(selection_key(damaged), b"{")
    assert [record.id for record in selections.listed()] == [kept]
    store.put(selection_key(damaged), whole)
    assert [record.id for record in selections.listed()] == [damaged, kept]
