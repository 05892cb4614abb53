"""Unfinished releases are collected, committed ones never: whatever happens in which order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clocked import Clock, ClockedStore
from tests.support import small_bundle

from seedzoo.catalog import publish as publishing
from seedzoo.catalog.bundle import Bundle, open_bundle
from seedzoo.catalog.catalog import Catalog, release_prefix
from seedzoo.catalog.garbage import GARBAGE_AFTER, collect_garbage, store_now
from seedzoo.catalog.names import FamilyRef
from seedzoo.catalog.publish import publish_bundle
from seedzoo.errors import NotFound, RequestError, StoreError


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> ClockedStore:
    return ClockedStore(clock)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(small_bundle(tmp_path_factory.mktemp("bundle") / "mini", variants=2))


def left_behind(store: ClockedStore, *, family: str = "mini", release: str = "01OLD") -> str:
    prefix = release_prefix(family, release)
    store.put(f"{prefix}/models/s000.onnx", b"12345")
    store.put(f"{prefix}/family.json", b"{}")
    return prefix


def test_an_unfinished_release_goes_when_its_newest_object_is_a_day_old(store: ClockedStore, clock: Clock) -> None:
    prefix = left_behind(store)
    clock.advance(hours=20)
    store.put(f"{prefix}/profile.parquet", b"123")
    clock.advance(hours=24)
    assert collect_garbage(store, clock=clock) == []
    clock.advance(seconds=1)
    (would,) = collect_garbage(store, clock=clock, dry_run=True)
    assert len(store.keys(prefix)) == 3
    (found,) = collect_garbage(store, clock=clock)
    assert found == would
    assert (found.family, found.id, found.objects, found.bytes) == ("mini", "01OLD", 3, 10)
    assert found.newest == clock.start + timedelta(hours=20)
    assert store.keys() == []
    assert collect_garbage(store, clock=clock) == []


def test_committed_releases_stay_for_ever(store: ClockedStore, clock: Clock, bundle: Bundle) -> None:
    left_behind(store)
    release, _ = publish_bundle(store, bundle)
    kept = set(store.keys()) - set(store.keys(release_prefix("mini", "01OLD")))
    clock.advance(days=1000)
    assert [found.id for found in collect_garbage(store, clock=clock)] == ["01OLD"]
    assert set(store.keys()) == kept
    assert Catalog(store).family(FamilyRef("mini"))[1] == release


def test_by_default_the_store_tells_the_time_and_is_written_to_only_for_that(
    store: ClockedStore, clock: Clock, bundle: Bundle
) -> None:
    written: list[str] = []
    publish_bundle(store, bundle)
    store.before = lambda operation, key: written.append(key) if operation == "put" else None
    assert collect_garbage(store) == []
    assert written == []  # nothing is uncommitted: nothing asks for the time
    left_behind(store)
    clock.advance(hours=25)
    assert store_now(store) == clock.now
    assert [found.id for found in collect_garbage(store)] == ["01OLD"]
    assert store.keys("probes") == []


def test_what_may_still_be_committed_is_no_garbage(store: ClockedStore) -> None:
    assert GARBAGE_AFTER.total_seconds() >= 2 * publishing._COMMIT_WITHIN_S
    with pytest.raises(RequestError, match="at least"):
        collect_garbage(store, older_than=timedelta(hours=23))


def test_a_deletion_that_broke_off_is_finished_by_the_next_run(store: ClockedStore, clock: Clock) -> None:
    prefix = left_behind(store)
    clock.advance(hours=25)

    def fail(operation: str, key: str) -> None:
        if operation == "delete" and key.endswith("s000.onnx"):
            raise StoreError("away")

    store.before = fail
    with pytest.raises(StoreError):
        collect_garbage(store, clock=clock)
    assert store.keys(prefix) == [f"{prefix}/models/s000.onnx"]
    store.before = lambda _operation, _key: None
    assert len(collect_garbage(store, clock=clock)) == 1
    assert store.keys() == []


class _Turns:
    """Two threads that do one operation each when the test says so."""

    def __init__(self, store: ClockedStore, actions: dict[str, Callable[[], Any]]) -> None:
        self.results: dict[str, Any] = {}
        self._go = {name: threading.Semaphore(0) for name in actions}
        self._done = threading.Semaphore(0)
        self._threads = {
            name: threading.Thread(target=self._run, args=(name, action), name=name) for name, action in actions.items()
        }
        store.before = self._wait
        for thread in self._threads.values():
            thread.start()
            self._done.acquire()

    def _run(self, name: str, action: Callable[[], Any]) -> None:
        try:
            self.results[name] = action()
        except StoreError as error:
            self.results[name] = error
        except BaseException as error:  # noqa: BLE001  (shown by the test)
            self.results[name] = repr(error)
        finally:
            self._done.release()

    def _wait(self, _operation: str, _key: str) -> None:
        if (name := threading.current_thread().name) in self._go:
            self._done.release()
            self._go[name].acquire()

    def step(self, name: str) -> bool:
        """Let one go on to its next operation; False where it has ended."""
        if name in self.results:
            return False
        self._go[name].release()
        self._done.acquire()
        return True

    def finish(self) -> None:
        for name, thread in self._threads.items():
            while self.step(name):
                pass
            thread.join()


_HANGS_H = 11
"""Longest time, in hours, from one operation of a publish to its next: under half a day."""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # Operations of the publish, hours that pass, operations of the collector; and again.
    plan=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([0, 4, 7, _HANGS_H]), st.integers(0, 10)), min_size=1, max_size=12
    ),
)
def test_no_interleaving_harms_what_gets_committed(
    plan: list[tuple[int, int, int]], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    store = ClockedStore(clock)
    left_behind(store)
    clock.advance(days=2)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "time", SimpleNamespace(monotonic=clock.seconds))
        patch.setattr(publishing, "require_conditional_writes", lambda _store: None)
        turns = _Turns(
            store,
            {
                "publish": lambda: publish_bundle(store, bundle),
                "collect": lambda: [collect_garbage(store, clock=clock) for _ in range(6)],
            },
        )
        hung = 0
        for published, hours, collected in plan:
            for _ in range(published):
                turns.step("publish")
                hung = 0
            clock.advance(hours=min(hours, _HANGS_H - hung))
            hung = min(hung + hours, _HANGS_H)
            for _ in range(collected):
                turns.step("collect")
        turns.finish()
    store.before = lambda _operation, _key: None
    assert not isinstance(turns.results["collect"], str | StoreError), turns.results
    assert store.keys(release_prefix("mini", "01OLD")) == []
    outcome = turns.results["publish"]
    if isinstance(outcome, StoreError):
        assert outcome.reason == "COMMIT_TOO_LATE"
        with pytest.raises(NotFound):
            Catalog(store).family(FamilyRef("mini"))
        clock.advance(hours=25)
        collect_garbage(store, clock=clock)
        assert store.keys("families") == []
        return
    release, new = outcome
    assert new
    for entry in release.files:
        assert store.head(f"{release_prefix('mini', release.id)}/{entry.path}").size == entry.size
    clock.advance(days=10)
    assert collect_garbage(store, clock=clock) == []
    assert Catalog(store).family(FamilyRef("mini"))[1] == release


def test_a_publish_that_hangs_for_half_a_day_commits_nothing(
    store: ClockedStore, clock: Clock, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "time", SimpleNamespace(monotonic=clock.seconds))
    store.before = lambda operation, key: clock.advance(hours=13) if key.endswith("/family.json") else None
    with pytest.raises(StoreError) as caught:
        publish_bundle(store, bundle)
    assert caught.value.reason == "COMMIT_TOO_LATE"
    clock.advance(hours=25)
    assert len(collect_garbage(store, clock=clock)) == 1
    assert store.keys() == []


def test_a_store_in_a_directory(tmp_path: Path) -> None:
    import os

    from seedzoo.catalog.local import LocalStore

    store = LocalStore(tmp_path / "store")
    prefix = release_prefix("mini", "01OLD")
    store.put(f"{prefix}/family.json", b"{}")
    assert collect_garbage(store) == []
    path = tmp_path / "store" / prefix / "family.json"
    old = path.stat().st_mtime - 25 * 3600
    os.utime(path, (old, old))
    assert [found.id for found in collect_garbage(store)] == ["01OLD"]
    assert list(store.list("")) == []
