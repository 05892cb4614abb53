"""A client of the frozen API on the server of today: it knows nothing but the frozen descriptor.

Every name and number it uses comes from `tests/data/frozen`; the stubs of this version are not imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, descriptor_pb2, duration_pb2, timestamp_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from real_server import serving, small_store
from tests.support import example_files

FROZEN = Path(__file__).resolve().parents[1] / "data" / "frozen" / "seedzoo.v1.binpb"


class OldClient:
    """Calls by name, with messages made from the frozen descriptor in a pool of its own."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.pool = DescriptorPool()
        frozen = descriptor_pb2.FileDescriptorSet.FromString(FROZEN.read_bytes())
        present = {file.name for file in frozen.file}
        for module in (any_pb2, duration_pb2, timestamp_pb2):
            if module.DESCRIPTOR.name not in present:
                self.pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        for file in frozen.file:
            self.pool.AddSerializedFile(file.SerializeToString())

    def message(self, name: str, /, **fields: Any) -> Any:
        return GetMessageClass(self.pool.FindMessageTypeByName(f"seedzoo.v1.{name}"))(**fields)

    def state(self, name: str) -> int:
        values = self.pool.FindEnumTypeByName("seedzoo.v1.SelectionState").values_by_name
        return int(values[f"SELECTION_STATE_{name}"].number)

    def method(self, service: str, name: str) -> MethodDescriptor:
        return self.pool.FindServiceByName(f"seedzoo.v1.{service}").methods_by_name[name]

    def __call__(self, service: str, name: str, /, **fields: Any) -> Any:
        method = self.method(service, name)
        return self.send(method, [GetMessageClass(method.input_type)(**fields)])[-1]

    def send(self, method: MethodDescriptor, requests: Sequence[Any]) -> list[Any]:
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        call = getattr(self._channel, kind)(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = call(iter(requests) if method.client_streaming else requests[0], timeout=60)
        return list(answer) if method.server_streaming else [answer]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldClient]:
    with (
        serving(small_store(tmp_path_factory.mktemp("made"))) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield OldClient(channel)


def test_it_brings_images_and_gets_a_choice(client: OldClient) -> None:
    (family,) = client("CatalogService", "ListFamilies").families
    assert (family.name, family.variant_count) == ("mini", 4)
    classes = list(family.task.classes)
    items = [(path.read_bytes(), classes.index(label)) for path, label in example_files(per_class=3)]

    dataset = client("DatasetService", "CreateDataset", request_id="old-client", classes=classes, item_count=len(items))
    described = client(
        "DatasetService",
        "AppendItems",
        dataset_id=dataset.id,
        items=[
            client.message(
                "ItemDescriptor", index=index, sha256=hashlib.sha256(raw).digest(), size=len(raw), label=label
            )
            for index, (raw, label) in enumerate(items)
        ],
    )
    assert described.described_count == len(items)
    missing = client("DatasetService", "ListMissing", dataset_id=dataset.id).indices
    assert list(missing) == list(range(len(items)))
    pieces = [
        client.message("UploadItemsRequest", dataset_id="" if index else dataset.id, index=index, data=raw)
        for index, (raw, _) in enumerate(items)
    ]
    (stored,) = client.send(client.method("DatasetService", "UploadItems"), pieces)
    assert stored.stored_count == len(items)

    selection = client(
        "SelectionService", "StartSelection", request_id="old-client", dataset_id=dataset.id, family="mini"
    )
    *_, last = client.send(
        client.method("SelectionService", "WatchSelection"),
        [client.message("WatchSelectionRequest", selection_id=selection.id)],
    )
    assert last.selection.state == client.state("SUCCEEDED")
    report = last.selection.report
    assert report.recommended == report.candidates[0]
    assert report.n_examples == len(items)
    assert report.accuracy.low <= report.accuracy.estimate <= report.accuracy.high
    assert len(report.scores) == 4
    found = client("SelectionService", "GetSelection", selection_id=selection.id)
    assert found.report.recommended == report.recommended

    header, *chunks = client.send(
        client.method("CatalogService", "DownloadModel"),
        [client.message("DownloadModelRequest", variant=report.recommended)],
    )
    model = b"".join(chunk.chunk for chunk in chunks)
    assert len(model) == header.header.size
    assert hashlib.sha256(model).hexdigest() == header.header.sha256 == report.model_sha256

    client("DatasetService", "DeleteDataset", dataset_id=dataset.id)


def test_it_understands_errors(client: OldClient) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client("CatalogService", "GetFamily", name="nothing")
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_it_labels_one_by_one(client: OldClient) -> None:
    family = client("CatalogService", "GetFamily", name="mini")
    classes = list(family.task.classes)
    items = [(path.read_bytes(), classes.index(label)) for path, label in example_files(per_class=2)]
    dataset = client("DatasetService", "CreateDataset", request_id="old-labels", classes=classes, item_count=len(items))
    client(
        "DatasetService",
        "AppendItems",
        dataset_id=dataset.id,
        items=[
            client.message("ItemDescriptor", index=index, sha256=hashlib.sha256(raw).digest(), size=len(raw))
            for index, (raw, _) in enumerate(items)
        ],
    )
    client.send(
        client.method("DatasetService", "UploadItems"),
        [
            client.message("UploadItemsRequest", dataset_id="" if index else dataset.id, index=index, data=raw)
            for index, (raw, _) in enumerate(items)
        ],
    )
    selection = client(
        "SelectionService",
        "StartSelection",
        request_id="old-labels",
        dataset_id=dataset.id,
        family="mini",
        labelling=client.message("Labelling", audit=2),
    )
    watch = client.message("WatchSelectionRequest", selection_id=selection.id)
    *_, last = client.send(client.method("SelectionService", "WatchSelection"), [watch])
    assert last.selection.state == client.state("AWAITING_LABELS")
    asked = client("SelectionService", "NextItems", selection_id=selection.id).items
    assert len(asked) == 2
    answer = client(
        "SelectionService",
        "SubmitLabels",
        selection_id=selection.id,
        labels=[client.message("ItemLabel", index=item.index, label=items[item.index][1]) for item in asked],
        finish=True,
    )
    assert answer.labelled_count == 2
    *_, last = client.send(client.method("SelectionService", "WatchSelection"), [watch])
    assert last.selection.state == client.state("SUCCEEDED")
