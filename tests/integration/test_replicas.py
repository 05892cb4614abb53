"""Several servers on one store: takeover, handing over, cancelling and watching across them."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.integration.test_service import SUCCEEDED, examples, fault, serving, upload
from tests.support import small_bundle

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo.catalog.scoped import ScopedStore
from seedzoo.errors import DataError
from seedzoo.records import ProgressUpdate, RaceDecision, SelectionPhase, SelectionState
from seedzoo_protos.v1 import dataset_pb2, dataset_pb2_grpc, selection_pb2, selection_pb2_grpc
from seedzoo_server import runner
from seedzoo_server.fair_queue import FairQueue
from seedzoo_server.storage.datasets import Datasets
from seedzoo_server.storage.selections import Selections

CANCELLED = selection_pb2.SELECTION_STATE_CANCELLED


@pytest.fixture
def shared(tmp_path: Path) -> MemoryStore:
    store = MemoryStore()
    publish(store, small_bundle(tmp_path / "bundle"))
    return store


def start(channel: grpc.Channel, dataset_id: str, request_id: str = "r") -> selection_pb2.Selection:
    return selection_pb2_grpc.SelectionServiceStub(channel).StartSelection(
        selection_pb2.StartSelectionRequest(request_id=request_id, dataset_id=dataset_id, family="mini")
    )


def watched(channel: grpc.Channel, selection_id: str) -> list[selection_pb2.WatchSelectionResponse]:
    stub = selection_pb2_grpc.SelectionServiceStub(channel)
    return list(stub.WatchSelection(selection_pb2.WatchSelectionRequest(selection_id=selection_id), timeout=60))


class Hold:
    """Holds evaluations at their first progress until let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()
        self.running = 0
        original = runner.run_selection

        def held(**arguments: Any) -> Any:
            def wait(progress: ProgressUpdate) -> None:
                arguments["on_progress"](ProgressUpdate(SelectionPhase.EVALUATING, 7, 10, 4))
                self.entered.set()
                while not (self.let_go.is_set() or arguments["should_stop"]()):
                    time.sleep(0.01)

            self.running += 1
            return original(**{**arguments, "on_progress": wait})

        monkeypatch.setattr(runner, "run_selection", held)


def test_a_dead_workers_selection_is_taken_over_and_its_late_result_does_not_count(
    shared: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(shared) as channel:
        dataset_id = upload(channel, examples(channel, 1))
        started = start(channel, dataset_id)
        watched(channel, started.id)
    records = Selections(ScopedStore(shared, "tenants/default"))
    again = records.create("again", b"body", records.get(started.id).request)
    taken = records.claim(again.id, worker="dies")
    assert taken is not None
    hold = Hold(monkeypatch)
    with serving(shared, lease_s=1.0) as channel:
        assert hold.entered.wait(30)
        for late in (
            records.fail(again.id, DataError("too late"), epoch=taken.epoch),
            records.await_labels(again.id, epoch=taken.epoch),
        ):
            assert (late.state, late.epoch) == (SelectionState.RUNNING, taken.epoch + 1)
        records.release(again.id, epoch=taken.epoch)
        assert records.claim(again.id, worker="late") is None
        hold.let_go.set()
        assert watched(channel, again.id)[-1].selection.state == SUCCEEDED


def test_whoever_takes_over_goes_on_as_was_decided(shared: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    decision = RaceDecision(race=True, predicted_seconds=75.0)
    given, original = [], runner.run_selection

    def decides(**arguments: Any) -> Any:
        given.append(arguments["decision"])
        if arguments["decision"] is None:
            arguments["on_decision"](decision)
        return original(**arguments)

    monkeypatch.setattr(runner, "run_selection", decides)
    with serving(shared) as channel:
        dataset_id = upload(channel, examples(channel, 1))
        started = start(channel, dataset_id)
        watched(channel, started.id)
        records = Selections(ScopedStore(shared, "tenants/default"))
        assert records.get(started.id).decision == decision
        again = records.create("again", b"body", records.get(started.id).request)
        taken = records.claim(again.id, worker="dies")
        assert taken is not None
        records.decide(again.id, decision, epoch=taken.epoch)
        records.release(again.id, epoch=taken.epoch)
        assert watched(channel, again.id)[-1].selection.state == SUCCEEDED
        records.decide(again.id, RaceDecision(race=False), epoch=taken.epoch)
    assert given == [None, decision]
    assert records.get(again.id).decision == decision


def test_only_a_record_that_does_not_change_is_taken_over(shared: MemoryStore) -> None:
    with serving(shared) as channel:
        dataset_id = upload(channel, examples(channel, 1))
        started = start(channel, dataset_id)
        watched(channel, started.id)
    records = Selections(ScopedStore(shared, "tenants/default"))
    done = records.get(started.id)
    request_id = "beating"
    beating = records.create(request_id, b"body", done.request)
    mine = records.claim(beating.id, worker="me")
    assert mine is not None
    progress = ProgressUpdate(SelectionPhase.EVALUATING, 1, 2)
    with serving(shared, lease_s=1.0):
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            assert records.renew(beating.id, epoch=mine.epoch, progress=progress)
            time.sleep(0.1)
        assert records.get(beating.id).epoch == mine.epoch
        # Without a sign of life it is gone after the lease.
        until = time.monotonic() + 10.0
        while not records.get(beating.id).state.finished and time.monotonic() < until:
            time.sleep(0.05)
    final = records.get(beating.id)
    assert final.state is SelectionState.SUCCEEDED
    assert final.epoch == mine.epoch + 1
    assert not records.renew(beating.id, epoch=mine.epoch, progress=progress)


def test_cancelling_and_watching_work_on_the_other_server(shared: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = Hold(monkeypatch)
    with serving(shared, lease_s=1.0) as one:
        dataset_id = upload(one, examples(one, 1))
        started = start(one, dataset_id)
        assert hold.entered.wait(30)
        with serving(shared, lease_s=1.0) as two:
            stub = selection_pb2_grpc.SelectionServiceStub(two)
            seen = stub.WatchSelection(selection_pb2.WatchSelectionRequest(selection_id=started.id), timeout=30)
            for message in seen:
                if message.progress.examples_seen == 7:
                    break
            else:
                pytest.fail("the other server did not show the progress")
            cancelled = stub.CancelSelection(selection_pb2.CancelSelectionRequest(selection_id=started.id))
            assert cancelled.state == CANCELLED
            assert watched(one, started.id)[-1].selection.state == CANCELLED
            # The evaluation really stops, although nobody lets it go.
            assert start(one, dataset_id, "next").id
            hold.entered.clear()
            assert hold.entered.wait(10)
    assert hold.running >= 2


def test_a_server_that_stops_hands_over_at_once(shared: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = Hold(monkeypatch)
    with serving(shared, lease_s=1.0) as two:
        with serving(shared, lease_s=60.0) as one:
            dataset_id = upload(one, examples(one, 1))
            started = start(one, dataset_id)
            assert hold.entered.wait(30)
        hold.let_go.set()
        # Without handing over, the first server's lease would last longer than this watch.
        assert watched(two, started.id)[-1].selection.state == SUCCEEDED


def test_too_many_waiting_selections_are_refused(shared: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = Hold(monkeypatch)
    with serving(shared, max_queue=2) as channel:
        dataset_id = upload(channel, examples(channel, 1))
        start(channel, dataset_id, "running")
        assert hold.entered.wait(30)
        for number in range(2):
            start(channel, dataset_id, f"waiting-{number}")
        with pytest.raises(grpc.RpcError) as caught:
            start(channel, dataset_id, "one too many")
        assert fault(caught)[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert start(channel, dataset_id, "waiting-1").state == selection_pb2.SELECTION_STATE_PENDING
        hold.let_go.set()


def test_every_tenant_gets_its_turn() -> None:
    async def served() -> list[tuple[str, str]]:
        queue = FairQueue()
        for item in ("1", "2", "3"):
            queue.put("a", item)
        queue.put("b", "1")
        first = [await queue.get() for _ in range(3)]
        queue.put("b", "2")
        assert len(queue) == 2
        return [*first, await queue.get(), await queue.get()]

    assert asyncio.run(served()) == [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3"), ("b", "2")]


def test_a_deletion_that_broke_off_is_finished_by_the_next(shared: MemoryStore) -> None:
    """The server died after it had deleted a selection, before its dataset."""
    with serving(shared) as channel:
        dataset_id = upload(channel, examples(channel, 1))
        started = start(channel, dataset_id)
        watched(channel, started.id)
        Selections(ScopedStore(shared, "tenants/default")).delete(started.id)
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        stub.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=dataset_id))
        assert not list(shared.list("tenants/default/datasets"))


def test_what_a_deletion_left_that_broke_off_later_goes_with_the_next(shared: MemoryStore) -> None:
    """The server died after it had deleted the dataset's record, before its images."""
    with serving(shared) as channel:
        dataset_id = upload(channel, examples(channel, 1))
        shared.delete(f"tenants/default/datasets/{dataset_id}/dataset.json")
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        stub.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=dataset_id))
        assert not list(shared.list("tenants/default/datasets"))
        with pytest.raises(grpc.RpcError) as caught:
            stub.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=dataset_id))
        assert fault(caught)[1] == "DATASET_UNKNOWN"


def test_a_selection_that_meets_a_deletion_leaves_no_mark(shared: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset goes through one server after the other has seen it and before it marks it."""
    with serving(shared) as one, serving(shared) as two:
        dataset_id = upload(one, examples(one, 1))
        original = Datasets.mark_selection

        def late(self: Datasets, *names: str) -> None:
            dataset_pb2_grpc.DatasetServiceStub(two).DeleteDataset(
                dataset_pb2.DeleteDatasetRequest(dataset_id=dataset_id)
            )
            original(self, *names)

        monkeypatch.setattr(Datasets, "mark_selection", late)
        with pytest.raises(grpc.RpcError) as caught:
            start(one, dataset_id)
        assert fault(caught)[:2] == (grpc.StatusCode.NOT_FOUND, "DATASET_UNKNOWN")
        for folder in ("datasets", "selections", "queue"):
            assert not list(shared.list(f"tenants/default/{folder}"))
