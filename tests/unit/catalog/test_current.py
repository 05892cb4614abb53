"""What may change is kept until its publisher says so, and no longer than told."""

from __future__ import annotations

import pytest

from seedzoo.catalog.catalog import Alias, Catalog, alias_key
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.current import CHANGED_KEY, LONGEST_S, Current, tell_change
from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import NotFound, StoreError

KEY = "value"


class Counting(MemoryStore):
    """Counts reads, and fails on request."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.fails = False

    def get(self, key: str) -> bytes:
        if self.fails:
            raise StoreError("out of order")
        self.reads.append(key)
        return super().get(key)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> Counting:
    store = Counting()
    store.put(KEY, b"old")
    tell_change(store)
    return store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def current(store: Counting, clock: Clock) -> Current[bytes]:
    return Current(store, look_s=1.0, clock=clock)


def test_one_look_a_second_serves_everything(store: Counting, clock: Clock, current: Current[bytes]) -> None:
    assert current.known(KEY) is None
    for _ in range(3):
        assert current.get(KEY, lambda: store.get(KEY)) == b"old"
    assert current.known(KEY) == b"old"
    assert store.reads == [CHANGED_KEY, KEY]
    clock.now += 1.0
    assert current.known(KEY) is None  # nothing is told without a look
    assert current.get(KEY, lambda: store.get(KEY)) == b"old"
    assert store.reads == [CHANGED_KEY, KEY, CHANGED_KEY]


def test_a_change_that_was_told_is_seen_at_the_next_look(
    store: Counting, clock: Clock, current: Current[bytes]
) -> None:
    current.get(KEY, lambda: store.get(KEY))
    store.put(KEY, b"new")
    tell_change(store)
    clock.now += 0.9
    assert current.get(KEY, lambda: store.get(KEY)) == b"old"
    clock.now += 0.1
    assert current.get(KEY, lambda: store.get(KEY)) == b"new"


def test_a_change_that_nobody_told_is_seen_after_a_minute(
    store: Counting, clock: Clock, current: Current[bytes]
) -> None:
    current.get(KEY, lambda: store.get(KEY))
    store.put(KEY, b"new")
    clock.now += LONGEST_S - 1
    assert current.get(KEY, lambda: store.get(KEY)) == b"old"
    clock.now += 1
    assert current.get(KEY, lambda: store.get(KEY)) == b"new"


def test_where_nobody_ever_told_anything_each_look_reads_anew(clock: Clock) -> None:
    store = Counting()
    store.put(KEY, b"old")
    current: Current[bytes] = Current(store, look_s=1.0, clock=clock)
    current.get(KEY, lambda: store.get(KEY))
    store.put(KEY, b"new")
    clock.now += 1.0
    assert current.get(KEY, lambda: store.get(KEY)) == b"new"


def test_what_changes_while_it_is_read_is_read_again(store: Counting, clock: Clock, current: Current[bytes]) -> None:
    def overtaken() -> bytes:
        found = store.get(KEY)
        store.put(KEY, b"new")
        tell_change(store)
        clock.now += 1.0
        assert current.get("another", lambda: b"") == b""  # somebody else has looked meanwhile
        return found

    assert current.get(KEY, overtaken) == b"old"
    assert current.get(KEY, lambda: store.get(KEY)) == b"new"


def test_failures_are_not_kept(store: Counting, clock: Clock, current: Current[bytes]) -> None:
    store.fails = True
    with pytest.raises(StoreError):
        current.get(KEY, lambda: store.get(KEY))
    store.fails = False
    assert current.get(KEY, lambda: store.get(KEY)) == b"old"
    with pytest.raises(NotFound):
        current.get("none", lambda: store.get("none"))
    store.put("none", b"now")
    assert current.get("none", lambda: store.get("none")) == b"now"  # what is new is seen at once


def test_without_a_time_nothing_is_kept(store: Counting) -> None:
    current: Current[bytes] = Current(store, look_s=0)
    current.get(KEY, lambda: store.get(KEY))
    store.put(KEY, b"new")
    assert current.get(KEY, lambda: store.get(KEY)) == b"new"
    assert current.known(KEY) is None
    assert CHANGED_KEY not in store.reads


def test_names_and_aliases_are_kept_together(store: Counting) -> None:
    catalog = Catalog(store, look_s=3600)
    record = encode_json(Alias(release="01A", updated="2026-01-01"))
    store.put(alias_key("one", "stable"), record)
    assert catalog.folder_names() == ["one"]
    store.put(alias_key("two", "stable"), record)
    assert catalog.folder_names() == ["one"]
    assert Catalog(store).folder_names() == ["one", "two"]
