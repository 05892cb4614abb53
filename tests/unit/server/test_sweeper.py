"""What the sweeper deletes, what it leaves, and that neither failures nor other replicas change that."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clocked import Clock, ClockedStore

from seedzoo.catalog.catalog import release_prefix
from seedzoo.errors import NotFound, StoreError
from seedzoo_server.storage.datasets import Item
from seedzoo_server.storage.keys import dataset_prefix, derived_id, queue_key, selection_key
from seedzoo_server.storage.selections import SelectionRequest
from seedzoo_server.sweeper import Sweeper, Swept, keep_sweeping
from seedzoo_server.tenants import Tenant, Tenants

CONTENT = b"an example"
DATASET = derived_id("ds", "d")
PREFIX = f"tenants/acme/{dataset_prefix(DATASET)}"


class Zoo:
    """Two tenants of a store on a clock of its own."""

    def __init__(self, *, days: int = 7) -> None:
        self.clock = Clock()
        self.store = ClockedStore(self.clock)
        self.tenants = self.replica()
        self.sweeper = self.another_sweeper(days=days)

    def replica(self) -> Tenants:
        return Tenants(self.store, max_items=100, max_item_bytes=100)

    def another_sweeper(self, *, days: int = 7) -> Sweeper:
        return Sweeper(self.replica(), self.store, dataset_days=days, clock=self.clock)

    @property
    def acme(self) -> Tenant:
        return self.tenants.of("acme")

    def upload(self, request: str = "d", *, tenant: str = "acme", items: int = 2) -> str:
        """As a client does: what is there already is not sent again."""
        datasets = self.tenants.of(tenant).datasets
        dataset_id = datasets.create(request, ("a", "b"), items).record.id
        described = [Item(index, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), 0) for index in range(items)]
        missing = datasets.append(dataset_id, described).missing
        if missing:
            datasets.write_pack(dataset_id, [(index, CONTENT) for index in missing])
        return dataset_id

    def select(self, dataset_id: str, request: str = "s", *, finished: bool = True) -> str:
        asked = SelectionRequest(
            dataset_id=dataset_id, family="f", release="r", objective="accuracy", alpha=0.05, delta=0.0
        )
        record = self.acme.selections.create(request, b"body", asked)
        self.acme.datasets.mark_selection(dataset_id, record.id)
        if finished:
            self.acme.selections.cancel(record.id)
        return record.id

    def quietly(self) -> None:
        self.store.before = lambda _operation, _key: None


@pytest.fixture
def zoo() -> Zoo:
    return Zoo()


def test_a_dataset_expires_with_its_selections_and_leaves_nothing(zoo: Zoo) -> None:
    dataset = zoo.upload()
    zoo.clock.advance(days=3)
    zoo.select(dataset)
    zoo.clock.advance(days=7)
    assert zoo.sweeper.sweep() == Swept()
    zoo.clock.advance(seconds=1)
    assert zoo.sweeper.sweep() == Swept(datasets=1)
    assert zoo.store.keys() == []
    assert zoo.sweeper.sweep() == Swept()


def test_each_tenant_keeps_what_it_still_uses(zoo: Zoo) -> None:
    zoo.upload("old")
    zoo.upload("old", tenant="globex")
    zoo.clock.advance(days=4)
    used = zoo.upload("new")
    zoo.select(used, finished=False)
    kept = set(zoo.store.keys(f"tenants/acme/{dataset_prefix(used)}"))
    zoo.clock.advance(days=4)
    assert zoo.sweeper.sweep() == Swept(datasets=2)
    assert zoo.acme.datasets.state(used).complete
    assert set(zoo.store.keys("tenants/acme/datasets")) == kept
    assert zoo.store.keys("tenants/globex") == []


@pytest.mark.parametrize(
    "use",
    [
        lambda zoo, dataset: zoo.upload(),
        lambda zoo, dataset: zoo.select(dataset),
        lambda zoo, dataset: zoo.store.put(f"{PREFIX}/labelling/{derived_id('sel', 's')}.json", b"{}"),
        lambda zoo, dataset: zoo.acme.datasets.write_pack(dataset, [(0, CONTENT)]),
    ],
    ids=["asked for again", "a selection", "a label", "an upload"],
)
def test_every_use_counts(zoo: Zoo, use: Callable[[Zoo, str], object]) -> None:
    dataset = zoo.upload()
    zoo.clock.advance(days=6)
    use(zoo, dataset)
    zoo.clock.advance(days=6)
    assert zoo.sweeper.sweep() == Swept()
    assert zoo.acme.datasets.state(dataset).complete
    zoo.clock.advance(days=2)
    assert zoo.sweeper.sweep() == Swept(datasets=1)
    assert zoo.store.keys() == []


def test_without_a_limit_nothing_expires() -> None:
    zoo = Zoo(days=0)
    dataset = zoo.upload()
    zoo.select(dataset)
    zoo.clock.advance(days=10_000)
    assert zoo.sweeper.sweep() == Swept()
    assert zoo.acme.datasets.state(dataset).complete


def test_what_a_selection_works_on_stays_until_it_ends(zoo: Zoo) -> None:
    dataset = zoo.upload()
    selection = zoo.select(dataset, finished=False)
    zoo.clock.advance(days=6)
    record = zoo.store.get(f"tenants/acme/{selection_key(selection)}")
    zoo.store.put(f"tenants/acme/{selection_key(selection)}", record)  # a sign of life
    zoo.clock.advance(days=2)
    assert zoo.sweeper.sweep() == Swept()
    zoo.acme.selections.cancel(selection)
    assert zoo.sweeper.sweep() == Swept(datasets=1)
    assert zoo.store.keys() == []


def test_an_abandoned_selection_does_not_keep_its_dataset(zoo: Zoo) -> None:
    selection = zoo.select(zoo.upload(), finished=False)
    zoo.clock.advance(days=8)
    assert zoo.sweeper.sweep() == Swept(datasets=1)
    assert zoo.store.keys() == []
    with pytest.raises(NotFound):
        zoo.acme.selections.get(selection)


def test_a_damaged_record_does_not_keep_a_dataset(zoo: Zoo, caplog: pytest.LogCaptureFixture) -> None:
    dataset = zoo.upload()
    selection = zoo.select(dataset, finished=False)
    zoo.clock.advance(days=5)
    zoo.store.put(f"tenants/acme/{selection_key(selection)}", b"?")
    zoo.clock.advance(days=5)
    assert zoo.sweeper.sweep() == Swept(datasets=1)
    assert "deleted with its dataset" in caplog.text
    assert zoo.store.keys() == []


def test_what_broken_off_calls_left_goes_after_a_day(zoo: Zoo) -> None:
    dataset = zoo.upload()
    ghost = derived_id("sel", "ghost")
    kept = set(zoo.store.keys())
    zoo.store.put(f"{PREFIX}/packs/01ALONE.bin", b"bytes")
    zoo.acme.datasets.mark_selection(dataset, ghost)
    zoo.acme.store.put(queue_key(ghost), b"{}")
    left = derived_id("ds", "left")
    zoo.store.put(f"tenants/acme/{dataset_prefix(left)}/items/000000000-0001.json", b"[]")
    zoo.clock.advance(hours=24)
    assert zoo.sweeper.sweep() == Swept()
    zoo.clock.advance(seconds=1)
    assert zoo.sweeper.sweep() == Swept(packs=1, marks=2, remains=1)
    assert set(zoo.store.keys()) == kept


def test_a_deletion_that_broke_off_is_finished_with_the_results(zoo: Zoo) -> None:
    dataset = zoo.upload()
    selection = zoo.select(dataset)
    zoo.store.delete(f"{PREFIX}/dataset.json")
    zoo.clock.advance(days=1, seconds=1)
    assert zoo.sweeper.sweep() == Swept(remains=1)
    assert zoo.store.keys() == []
    with pytest.raises(NotFound):
        zoo.acme.selections.get(selection)


def test_results_of_a_dataset_that_is_gone_go_after_the_limit(zoo: Zoo) -> None:
    dataset = zoo.upload()
    selection = zoo.select(dataset)
    zoo.acme.datasets.delete(dataset)  # without its selections, as when the server died in between
    zoo.clock.advance(days=7)
    assert zoo.sweeper.sweep() == Swept()
    zoo.clock.advance(seconds=1)
    assert zoo.sweeper.sweep() == Swept(selections=1)
    with pytest.raises(NotFound):
        zoo.acme.selections.get(selection)
    assert zoo.store.keys() == []


def test_a_selection_whose_mark_is_missing_stays_with_its_dataset(zoo: Zoo) -> None:
    selection = zoo.select(zoo.upload())
    zoo.store.delete(f"{PREFIX}/selections/{selection}")
    zoo.clock.advance(days=6)
    zoo.upload()
    zoo.clock.advance(days=6)
    assert zoo.sweeper.sweep() == Swept()
    assert zoo.acme.selections.get(selection).id == selection


def test_the_mark_of_a_call_that_came_again_is_put_back(zoo: Zoo) -> None:
    dataset = zoo.upload()
    selection = derived_id("sel", "s")
    zoo.acme.datasets.mark_selection(dataset, selection)
    zoo.clock.advance(days=1, seconds=1)

    def come_again(operation: str, key: str) -> None:
        if (operation, key) == ("delete", f"{PREFIX}/selections/{selection}"):
            zoo.quietly()
            zoo.select(dataset, finished=False)

    zoo.store.before = come_again
    assert zoo.sweeper.sweep() == Swept()
    assert list(zoo.acme.datasets.selections(dataset)) == [selection]
    assert zoo.acme.store.exists(queue_key(selection))


def test_one_failure_does_not_stop_the_rest(zoo: Zoo, caplog: pytest.LogCaptureFixture) -> None:
    datasets = [zoo.upload(f"{number}") for number in range(4)]
    zoo.upload("x", tenant="globex")
    zoo.clock.advance(days=8)

    def fail(operation: str, key: str) -> None:
        if operation == "delete" and datasets[1] in key:
            raise StoreError("the disk is on fire")
        if operation == "delete" and datasets[2] in key:
            raise ZeroDivisionError

    zoo.store.before = fail
    with caplog.at_level(logging.ERROR):
        assert zoo.sweeper.sweep() == Swept(datasets=3, failures=2)
    assert "the disk is on fire" in caplog.text
    assert datasets[1] in caplog.text
    assert "ZeroDivisionError" in caplog.text
    zoo.quietly()
    assert zoo.sweeper.sweep() == Swept(datasets=2)
    assert zoo.store.keys() == []


def test_what_is_no_dataset_is_left_alone(zoo: Zoo, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("datasets/strange/x", "datasets/file", "tokens/ab.json", "tenant.json"):
        zoo.acme.store.put(key, b"{}")
    zoo.clock.advance(days=1000)
    assert zoo.sweeper.sweep() == Swept()
    assert len(zoo.store.keys()) == 4
    assert "datasets/strange/x" in caplog.text


def test_garbage_of_releases_is_collected_once_an_hour(zoo: Zoo) -> None:
    looks: list[str] = []
    zoo.store.before = lambda operation, key: looks.append(key) if key == "families" else None
    zoo.store.put(f"{release_prefix('mini', '01OLD')}/family.json", b"{}")
    zoo.clock.advance(hours=25)
    assert zoo.sweeper.sweep() == Swept(releases=1)
    zoo.clock.advance(minutes=50)
    zoo.sweeper.sweep()
    assert len(looks) == 1
    zoo.clock.advance(minutes=10)
    zoo.sweeper.sweep()
    assert len(looks) == 2


def test_by_default_the_store_tells_the_time(zoo: Zoo) -> None:
    zoo.upload()
    zoo.clock.advance(days=8)
    assert Sweeper(zoo.tenants, zoo.store, dataset_days=7).sweep() == Swept(datasets=1)
    assert zoo.store.keys() == []


def test_a_stopped_sweep_ends_at_the_next_dataset(zoo: Zoo) -> None:
    for number in range(3):
        zoo.upload(f"{number}")
    zoo.clock.advance(days=8)
    zoo.store.before = lambda operation, _key: zoo.sweeper.stop() if operation == "delete" else None
    assert zoo.sweeper.sweep() == Swept(datasets=1)
    assert zoo.sweeper.sweep() == Swept()
    assert zoo.another_sweeper().sweep() == Swept(datasets=2)


def operations_of_a_sweep() -> int:
    zoo = Zoo()
    zoo.select(zoo.upload())
    zoo.clock.advance(days=8)
    done: list[str] = []
    zoo.store.before = lambda operation, key: done.append(key)
    assert zoo.sweeper.sweep() == Swept(datasets=1)
    return len(done)


def at_operation(zoo: Zoo, number: int, action: Callable[[], Any]) -> None:
    """Do something before the operation of that number."""
    left = [number]

    def before(_operation: str, _key: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            zoo.quietly()
            action()

    zoo.store.before = before


@pytest.mark.parametrize("moment", range(operations_of_a_sweep()))
def test_another_replica_may_sweep_at_any_moment(moment: int) -> None:
    zoo = Zoo()
    zoo.select(zoo.upload())
    zoo.clock.advance(days=8)
    other = zoo.another_sweeper()
    at_operation(zoo, moment, other.sweep)
    assert zoo.sweeper.sweep().failures == 0
    assert zoo.store.keys() == []


@settings(max_examples=150, deadline=None)
@given(
    moment=st.integers(0, operations_of_a_sweep()),
    use=st.sampled_from(["upload", "select", "pack", "delete", "label"]),
    also_swept=st.booleans(),
)
def test_whoever_uses_a_dataset_while_it_expires_has_it_or_is_told(moment: int, use: str, also_swept: bool) -> None:
    zoo = Zoo()
    zoo.select(zoo.upload(), "before")
    zoo.clock.advance(days=8)
    refused: list[NotFound] = []

    def act() -> None:
        try:
            {
                "upload": zoo.upload,
                "select": lambda: zoo.select(zoo.acme.datasets.state(DATASET).record.id, finished=False),
                "pack": lambda: zoo.acme.datasets.write_pack(DATASET, [(0, CONTENT)]),
                "delete": lambda: zoo.acme.datasets.delete(DATASET),
                "label": lambda: zoo.acme.datasets.mark_selection(DATASET, derived_id("sel", "label")),
            }[use]()
        except NotFound as error:
            refused.append(error)
        if also_swept:
            zoo.another_sweeper().sweep()

    at_operation(zoo, moment, act)
    assert zoo.sweeper.sweep().failures == 0
    zoo.quietly()
    try:
        state = zoo.acme.datasets.state(DATASET)
    except NotFound:
        state = None
    # Gone, or whole, or incomplete, which whoever starts a selection is told; never something that looks whole only.
    if state is not None and not state.complete:
        zoo.upload()
    if state is not None:
        state = zoo.acme.datasets.state(DATASET)
        assert state.complete
        assert zoo.acme.datasets.examples(state).read([0, 1]) == [CONTENT, CONTENT]
    zoo.clock.advance(days=8)
    zoo.sweeper.sweep()
    assert zoo.store.keys() == []


def test_the_loop_outlives_a_store_that_is_away(zoo: Zoo, caplog: pytest.LogCaptureFixture) -> None:
    swept = asyncio.Event()
    calls: list[int] = []

    class Flaky(Sweeper):
        def sweep(self) -> Swept:
            calls.append(len(calls))
            if len(calls) == 1:
                raise StoreError("away")
            if len(calls) == 2:
                raise ZeroDivisionError
            loop.call_soon_threadsafe(swept.set)
            return Swept(datasets=3)

    async def run() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(keep_sweeping(Flaky(zoo.tenants, zoo.store, dataset_days=7), every_s=0.001))
        await swept.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop: asyncio.AbstractEventLoop
    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert "away" in caplog.text
    assert "ZeroDivisionError" in caplog.text
