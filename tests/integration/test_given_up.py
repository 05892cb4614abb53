"""A selection that one server gave up: what that server says of it once another one works on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.integration.real_server import Caller, examples, fault, serving, small_store
from tests.integration.test_replicas import Hold

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.scoped import ScopedStore
from seedzoo.errors import StoreError
from seedzoo_protos.v1 import selection_pb2, selection_pb2_grpc
from seedzoo_server import runner
from seedzoo_server.storage.keys import selection_key
from seedzoo_server.storage.selections import Selections

SUCCEEDED = selection_pb2.SELECTION_STATE_SUCCEEDED


class Refusing:
    """A store that one server sees: reads work, and records of selections cannot be written while it is told so."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.refuse = threading.Event()
        self.away, self.asked = threading.Event(), threading.Event()

    def list_folders(self, *arguments: Any, **more: Any) -> Any:
        if self.away.is_set():
            self.asked.set()
            raise StoreError("the store is away")
        return self._store.list_folders(*arguments, **more)

    def put(self, key: str, *arguments: Any, **more: Any) -> Any:
        if self.refuse.is_set() and "/selections/" in key:
            raise StoreError("the store takes nothing")
        return self._store.put(key, *arguments, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return small_store(tmp_path)


@pytest.fixture
def one_store(store: MemoryStore) -> Refusing:
    return Refusing(store)


@pytest.fixture
def one(one_store: Refusing, monkeypatch: pytest.MonkeyPatch) -> Iterator[Caller]:
    """The server that gives up at the first failure."""
    monkeypatch.setattr(runner, "_PAUSES_S", ())
    with (
        serving(one_store, lease_s=1.0) as port,  # type: ignore[arg-type]
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Caller(channel)


def given_up(one: Caller, one_store: Refusing, hold: Hold) -> str:
    """A selection that the server has worked on and given up; its id."""
    classes = one("GetFamily", name="mini").task.classes
    contents, labels = examples(classes)
    selection_id: str = one.start(one.upload(contents, labels, classes)).id
    assert hold.entered.wait(30)
    one_store.refuse.set()
    hold.let_go.set()
    with pytest.raises(grpc.RpcError) as caught:
        one.settled(selection_id)
    code, reason, message = fault(caught.value)
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_FAILS")
    assert "which is tried again in " in message
    return selection_id


def test_it_is_watched_on_where_another_server_works_on_it(
    one: Caller, one_store: Refusing, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold(monkeypatch)
    selection_id = given_up(one, one_store, hold)
    hold.entered.clear()
    hold.let_go.clear()
    with serving(store, lease_s=1.0):
        assert hold.entered.wait(30), "the other server takes it over"
        states = []
        stub = selection_pb2_grpc.SelectionServiceStub(one.channel)
        request = selection_pb2.WatchSelectionRequest(selection_id=selection_id)
        for message in stub.WatchSelection(request, timeout=60):
            states.append(message.selection.state)
            if message.progress.examples_seen == 7:
                hold.let_go.set()
        assert hold.let_go.is_set(), "the progress of the other server was seen"
        assert states[-1] == SUCCEEDED


def test_it_is_taken_up_again_where_the_other_server_died(
    one: Caller, one_store: Refusing, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection_id = given_up(one, one_store, Hold(monkeypatch))
    records = Selections(ScopedStore(store, "tenants/default"))
    _, etag = store.get_with_etag(f"tenants/default/{selection_key(selection_id)}")
    assert records.claim(selection_id, worker="dies", abandoned=etag) is not None
    one_store.refuse.clear()
    assert one.settled(selection_id).state == SUCCEEDED


def test_alone_it_tries_again_by_itself_and_watchers_are_told(
    one: Caller, one_store: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_RESTS_S", (0.5, 1.0))
    selection_id = given_up(one, one_store, Hold(monkeypatch))
    with pytest.raises(grpc.RpcError) as caught:
        one.settled(selection_id)
    assert fault(caught.value)[1] == "STORE_FAILS"
    one_store.refuse.clear()
    assert watched_to_the_end(one, selection_id).state == SUCCEEDED


def test_a_store_that_was_away_and_is_back_is_not_waited_for(
    one: Caller, one_store: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_RESTS_S", (1000.0,))
    selection_id = given_up(one, one_store, Hold(monkeypatch))
    one_store.away.set()
    assert one_store.asked.wait(30), "the server looks for unfinished selections"
    one_store.away.clear()
    one_store.refuse.clear()
    assert watched_to_the_end(one, selection_id).state == SUCCEEDED


def watched_to_the_end(one: Caller, selection_id: str) -> selection_pb2.Selection:
    """The selection when it has ended; until then it may rest for a while."""
    end = time.monotonic() + 60
    while True:
        try:
            return one.settled(selection_id)
        except grpc.RpcError as error:
            if fault(error)[1] != "STORE_FAILS" or time.monotonic() > end:
                raise
            time.sleep(0.05)
