"""Quotas of tenants: what counts, what is refused, and that counting follows what is stored."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.clocked import Clock, ClockedStore

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.scoped import ScopedStore
from seedzoo.errors import Conflict, IntegrityError, LimitExceeded, RequestError, StoreError
from seedzoo_server.quotas import Meter, Quota, QuotaGuard, Usage, change_quota, read_quota, show_bytes
from seedzoo_server.storage.datasets import Datasets, Item
from seedzoo_server.storage.keys import dataset_prefix, derived_id


def items(first: int, count: int, size: int = 10) -> list[Item]:
    return [Item(index, hashlib.sha256(b"x").hexdigest(), size, -1) for index in range(first, first + count)]


class Replica:
    """Datasets of a tenant as one server sees them."""

    def __init__(self, store: MemoryStore, clock: Clock, *, default: Quota | None = None) -> None:
        folder = ScopedStore(store, "tenants/acme")
        self.guard = QuotaGuard(folder, tenant="acme", default=default or Quota(), monotonic=clock.seconds)
        self.datasets = Datasets(folder, max_items=1000, max_item_bytes=1000, quota=self.guard)
        self.folder = folder

    def create(self, request: str, count: int = 10) -> str:
        return self.datasets.create(request, ("a",), count).record.id


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> ClockedStore:
    return ClockedStore(clock)


def test_each_quota_is_named_with_what_is_used(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock, default=Quota(max_bytes=2_500, max_datasets=2, max_items=30))
    first = zoo.create("1")
    with pytest.raises(LimitExceeded, match=r"max_items of tenant acme: 10 of 30 are used.* 21 more") as caught:
        zoo.create("2", 21)
    assert (caught.value.reason, caught.value.field) == ("QUOTA_EXCEEDED", "item_count")
    assert "zoo forget" in caught.value.hint
    assert "operator" in caught.value.hint
    zoo.create("2", 20)
    with pytest.raises(LimitExceeded, match="max_datasets of tenant acme: 2 of 2"):
        zoo.create("3")
    zoo.datasets.append(first, items(0, 2, 1000))
    with pytest.raises(LimitExceeded, match=r"max_bytes of tenant acme: 2.00 kB of 2.50 kB are used.* 501 bytes") as no:
        zoo.datasets.append(first, items(2, 1, 501))
    assert no.value.field == "items"
    zoo.datasets.append(first, items(2, 1, 500))
    assert Meter(zoo.folder).total() == Usage(datasets=2, items=30, bytes=2500)


def test_what_is_there_already_is_never_refused(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock)
    dataset = zoo.create("1")
    zoo.datasets.append(dataset, items(0, 10, 100))
    change_quota(zoo.folder, {"max_bytes": 1, "max_datasets": 1, "max_items": 1})
    clock.advance(minutes=2)
    assert zoo.create("1") == dataset
    zoo.datasets.append(dataset, items(0, 10, 100))
    zoo.datasets.append(dataset, items(3, 2, 100))
    zoo.datasets.write_pack(dataset, [(0, b"x" * 100)])
    with pytest.raises(LimitExceeded):
        zoo.create("2")


def test_items_that_were_described_before_count_once(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock, default=Quota(max_bytes=100))
    dataset = zoo.create("1")
    zoo.datasets.append(dataset, items(0, 6))
    zoo.datasets.append(dataset, items(4, 6))  # two of them are known
    with pytest.raises(LimitExceeded):
        zoo.datasets.append(zoo.create("2"), items(0, 1, 1))


def test_a_deletion_makes_room_at_once(store: ClockedStore, clock: Clock) -> None:
    zoo, other = (Replica(store, clock, default=Quota(max_datasets=1)) for _ in range(2))
    first = zoo.create("1")
    with pytest.raises(LimitExceeded):
        zoo.create("2")
    zoo.datasets.delete(first)
    second = zoo.create("2")
    with pytest.raises(LimitExceeded):
        other.create("3")
    zoo.datasets.delete(second)
    clock.advance(seconds=6)  # what another replica deleted counts soon
    other.create("3")


def test_what_other_replicas_add_counts_within_a_minute(store: ClockedStore, clock: Clock) -> None:
    one, two = (Replica(store, clock, default=Quota(max_datasets=3)) for _ in range(2))
    one.create("1")
    two.create("2")
    one.create("3")
    two.create("4")  # one more than allowed: it does not know of 3 yet
    clock.advance(seconds=61)
    for zoo in (one, two):
        with pytest.raises(LimitExceeded, match="4 of 3"):
            zoo.create("5")


def test_usage_is_not_listed_for_each_call(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock, default=Quota(max_datasets=100))
    listings: list[str] = []
    store.before = lambda operation, key: listings.append(key) if key.endswith("acme/datasets/") else None
    for number in range(20):
        zoo.datasets.append(zoo.create(f"{number}"), items(0, 5))
    assert len(listings) == 1
    clock.advance(seconds=61)
    zoo.create("more")
    assert len(listings) == 2


def test_records_are_read_once(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock)
    meter = Meter(zoo.folder)
    for number in range(3):
        zoo.datasets.append(zoo.create(f"{number}"), items(0, 5))
    assert meter.total() == Usage(datasets=3, items=30, bytes=150)
    reads: list[str] = []
    store.before = lambda operation, key: reads.append(key) if operation == "get" else None
    assert meter.total() == Usage(datasets=3, items=30, bytes=150)
    assert reads == []
    store.before = lambda _operation, _key: None
    zoo.datasets.delete(derived_id("ds", "1"))
    assert meter.total() == Usage(datasets=2, items=20, bytes=100)


def test_a_new_quota_counts_within_a_minute_and_lifts_at_once(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock, default=Quota(max_datasets=1))
    zoo.create("1")
    clock.advance(seconds=10)
    change_quota(zoo.folder, {"max_datasets": 0})
    for number in range(2, 5):
        zoo.create(f"{number}")
    change_quota(zoo.folder, {"max_datasets": 2})
    clock.advance(seconds=61)
    with pytest.raises(LimitExceeded, match="4 of 2"):
        zoo.create("5")
    change_quota(zoo.folder, {"max_datasets": None})
    clock.advance(seconds=61)
    with pytest.raises(LimitExceeded, match="4 of 1"):
        zoo.create("5")


def test_what_failed_does_not_count(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock, default=Quota(max_datasets=1))

    def fail(operation: str, key: str) -> None:
        if operation == "put":
            raise StoreError("away")

    store.before = fail
    for _ in range(3):
        with pytest.raises(StoreError):
            zoo.create("1")
    store.before = lambda _operation, _key: None
    zoo.create("1")


def test_threads_never_pass_a_quota_together(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock, default=Quota(max_datasets=5))
    gate = threading.Barrier(8)

    def create(number: int) -> bool:
        gate.wait()
        try:
            zoo.create(f"{number}")
        except LimitExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    assert sum(made) == 5
    assert Meter(zoo.folder).total().datasets == 5


def test_the_same_request_in_several_threads_counts_once(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock, default=Quota(max_datasets=2))
    gate = threading.Barrier(4)

    def create(_: int) -> str:
        gate.wait()
        return zoo.create("same")

    zoo.create("first")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(create, range(4))) == {derived_id("ds", "same")}
    with pytest.raises(LimitExceeded, match="2 of 2"):
        zoo.create("another")


def test_quotas_are_changed_one_by_one(clock: Clock) -> None:
    folder = ScopedStore(MemoryStore(), "tenants/acme")
    assert read_quota(folder) == (Quota(), None)
    change_quota(folder, {"max_bytes": 10})
    assert change_quota(folder, {"max_items": 0}) == Quota(max_bytes=10, max_items=0) == read_quota(folder)[0]
    assert read_quota(folder)[0].over(Quota(5, 6, 7)) == Quota(max_bytes=10, max_datasets=6, max_items=0)
    with pytest.raises(RequestError, match="negative"):
        change_quota(folder, {"max_bytes": -1})


def test_two_operators_lose_no_change(store: ClockedStore) -> None:
    folder = ScopedStore(store, "tenants/acme")

    def interfere(operation: str, _key: str) -> None:
        if operation == "put":
            store.before = lambda _operation, _key: None
            change_quota(folder, {"max_items": 7})

    store.before = interfere
    assert change_quota(folder, {"max_bytes": 1}) == Quota(max_bytes=1, max_items=7)

    def interfere_always(operation: str, _key: str) -> None:
        if operation == "put":
            store.before = lambda _operation, _key: None
            change_quota(folder, {"max_items": store.clock.now.microsecond})
            store.clock.advance(microseconds=1)
            store.before = interfere_always

    store.before = interfere_always
    with pytest.raises(Conflict, match="kept changing"):
        change_quota(folder, {"max_bytes": 2})


@pytest.mark.parametrize("raw", [b"?", b'{"max_bytes": "much"}', b'{"max_items": -1}'])
def test_a_damaged_quota_is_told(store: ClockedStore, clock: Clock, raw: bytes) -> None:
    zoo = Replica(store, clock)
    zoo.folder.put("tenant.json", raw)
    with pytest.raises(IntegrityError, match=r"tenant\.json"):
        zoo.create("1")


def test_damaged_and_deleted_descriptions_do_not_stop_a_tenant(
    store: ClockedStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    zoo = Replica(store, clock)
    dataset = zoo.create("1")
    zoo.datasets.append(dataset, items(0, 5))
    zoo.datasets.append(dataset, items(5, 5))
    zoo.folder.put(f"{dataset_prefix(dataset)}/items/000000000-0005.json", b"?")
    zoo.folder.put(f"{dataset_prefix(derived_id('ds', 'gone'))}/items/000000000-0005.json", b"?")
    assert Meter(zoo.folder).total() == Usage(datasets=1, items=10, bytes=50)
    assert "counted as empty" in caplog.text


def test_a_description_that_arrives_after_a_deletion_leaves_nothing(store: ClockedStore, clock: Clock) -> None:
    zoo = Replica(store, clock)
    dataset = zoo.create("1")

    def delete(operation: str, key: str) -> None:
        if operation == "put":
            store.before = lambda _operation, _key: None
            Replica(store, clock).datasets.delete(dataset)

    store.before = delete
    with pytest.raises(Exception, match="no dataset"):
        zoo.datasets.append(dataset, items(0, 5))
    assert store.keys() == []


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (107_374_182_400, "107.37 GB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert show_bytes(count) == text


class Counting(RuleBasedStateMachine):
    """One process alone never passes a quota, and never refuses what fits."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.zoo = Replica(ClockedStore(self.clock), self.clock, default=Quota(200, 4, 35))
        self.counts: dict[str, int] = {}
        self.described: dict[str, int] = {}

    @rule(number=st.integers(0, 6), count=st.integers(1, 15))
    def create(self, number: int, count: int) -> None:
        request = f"{number}"
        if request in self.counts:
            self.zoo.create(request, self.counts[request])
            return
        fits = len(self.counts) < 4 and sum(self.counts.values()) + count <= 35
        try:
            self.zoo.create(request, count)
        except LimitExceeded:
            assert not fits
        else:
            assert fits
            self.counts[request] = count

    @rule(number=st.integers(0, 6), size=st.integers(1, 20))
    def append(self, number: int, size: int) -> None:
        request = f"{number}"
        if request not in self.counts or request in self.described:
            return
        count = self.counts[request]
        fits = sum(self.described.values()) + count * size <= 200
        try:
            self.zoo.datasets.append(derived_id("ds", request), items(0, count, size))
        except LimitExceeded:
            assert not fits
        else:
            assert fits
            self.described[request] = count * size

    @rule(number=st.integers(0, 6))
    def delete(self, number: int) -> None:
        self.zoo.datasets.delete(derived_id("ds", f"{number}"))
        self.counts.pop(f"{number}", None)
        self.described.pop(f"{number}", None)

    @rule(seconds=st.sampled_from([1, 10, 100]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @invariant()
    def what_is_stored_is_what_was_taken(self) -> None:
        used = Usage(len(self.counts), sum(self.counts.values()), sum(self.described.values()))
        assert Meter(self.zoo.folder).total() == used


TestCounting = Counting.TestCase
TestCounting.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
