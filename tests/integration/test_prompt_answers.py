"""Nobody waits for what is there already: the end of a selection, and what ended selections have asked."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from tests.integration.test_service import SUCCEEDED, describe, examples, pieces, select, serving, upload
from tests.support import small_bundle

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo_protos.v1 import dataset_pb2, dataset_pb2_grpc, selection_pb2, selection_pb2_grpc
from seedzoo_server import runner


class Counting(MemoryStore):
    """Remembers what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        self.read.append(key)
        return super().get_with_etag(key)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    store = Counting()
    publish(store, small_bundle(tmp_path / "bundle"))
    return store


def test_the_end_is_told_at_once(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    # With an hour between two looks, only the end itself can wake who watches.
    monkeypatch.setattr(runner, "_LOOK_S", 3600.0)
    with serving(store) as channel:
        dataset_id = upload(channel, examples(channel))
        stub = selection_pb2_grpc.SelectionServiceStub(channel)
        started = stub.StartSelection(
            selection_pb2.StartSelectionRequest(request_id="r", dataset_id=dataset_id, family="mini")
        )
        seen = list(stub.WatchSelection(selection_pb2.WatchSelectionRequest(selection_id=started.id), timeout=60))
    assert seen[-1].selection.state == SUCCEEDED


def test_ended_selections_are_read_once(store: Counting) -> None:
    def records_read(channel: grpc.Channel, dataset_id: str, delta: float) -> tuple[str, set[str]]:
        store.read.clear()
        selection = select(channel, dataset_id, delta=delta)
        assert selection.report.selections_served == round(delta * 100)
        return selection.id, {
            key.rpartition("/")[2].removesuffix(".json") for key in store.read if "/selections/" in key
        }

    with serving(store) as channel:
        dataset_id = upload(channel, examples(channel))
        first, _ = records_read(channel, dataset_id, 0.01)
        second, read = records_read(channel, dataset_id, 0.02)
        assert first in read
        third, read = records_read(channel, dataset_id, 0.03)
        assert first not in read
        assert {second, third} <= read
        # A server that starts knows nothing yet, and counts the same.
    with serving(store) as channel:
        _, read = records_read(channel, dataset_id, 0.04)
        assert {first, second, third} <= read


def test_what_was_deleted_and_started_anew_elsewhere_counts_as_it_is_now(store: Counting) -> None:
    def upload_the_same(channel: grpc.Channel) -> str:
        images = examples(channel)
        dataset = describe(channel, images, request_id="the same")
        dataset_pb2_grpc.DatasetServiceStub(channel).UploadItems(
            pieces(dataset.id, list(enumerate(raw for raw, _ in images)))
        )
        return dataset.id

    with serving(store) as here, serving(store) as elsewhere:
        dataset_id = upload_the_same(here)
        for name, delta in (("a", 0.01), ("b", 0.02)):
            select(here, dataset_id, request_id=name, delta=delta)  # the second one remembers what the first one asked
        dataset_pb2_grpc.DatasetServiceStub(elsewhere).DeleteDataset(
            dataset_pb2.DeleteDatasetRequest(dataset_id=dataset_id)
        )
        assert upload_the_same(elsewhere) == dataset_id
        assert select(elsewhere, dataset_id, request_id="a", delta=0.03).report.selections_served == 1
        assert select(here, dataset_id, delta=0.03).report.selections_served == 1, "it asks what the other one asked"
