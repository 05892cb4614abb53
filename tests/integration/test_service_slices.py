"""Slices and missing labels of datasets, through the real server over a store in memory."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from test_service import fault, serving

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.scoped import ScopedStore
from seedzoo_protos.v1 import dataset_pb2, dataset_pb2_grpc
from seedzoo_server.storage.datasets import Datasets

CAMERA = dataset_pb2.SliceColumn(name="camera", values=["A", "B"])
BLUR = dataset_pb2.SliceColumn(name="blur", values=["yes", "no", "a little"])


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="module")
def stub(store: MemoryStore) -> Iterator[dataset_pb2_grpc.DatasetServiceStub]:
    with serving(store) as channel:
        yield dataset_pb2_grpc.DatasetServiceStub(channel)


def create(stub: dataset_pb2_grpc.DatasetServiceStub, **fields: Any) -> dataset_pb2.Dataset:
    given = {"request_id": uuid.uuid4().hex, "classes": ["Bag", "Coat"], "item_count": 3, **fields}
    return stub.CreateDataset(dataset_pb2.CreateDatasetRequest(**given))


def item(index: int, *slices: int, label: int | None = None) -> dataset_pb2.ItemDescriptor:
    digest = hashlib.sha256(bytes([index])).digest()
    return dataset_pb2.ItemDescriptor(index=index, sha256=digest, size=1, label=label, slices=slices)


def append(stub: dataset_pb2_grpc.DatasetServiceStub, dataset_id: str, *items: dataset_pb2.ItemDescriptor) -> int:
    request = dataset_pb2.AppendItemsRequest(dataset_id=dataset_id, items=items)
    return stub.AppendItems(request).described_count


def test_slices_are_stored_and_read(stub: dataset_pb2_grpc.DatasetServiceStub, store: MemoryStore) -> None:
    made = create(stub, slice_columns=[CAMERA, BLUR])
    assert append(stub, made.id, item(0, 0, 2, label=1), item(1, 1, 0), item(2, 1, 1, label=0)) == 3
    assert append(stub, made.id, item(0, 0, 2, label=1)) == 3, "the same again changes nothing"
    found = stub.GetDataset(dataset_pb2.GetDatasetRequest(dataset_id=made.id))
    assert list(found.slice_columns) == [CAMERA, BLUR]
    stub.UploadItems(
        dataset_pb2.UploadItemsRequest(dataset_id="" if index else made.id, index=index, data=bytes([index]))
        for index in range(3)
    )
    # As a server reads it that starts later.
    later = Datasets(ScopedStore(store, "tenants/default"), max_items=10, max_item_bytes=10)
    examples = later.examples(later.state(made.id))
    assert examples.labels.tolist() == [1, -1, 0]
    assert examples.slice_numbers("blur").tolist() == [2, 0, 1]
    assert examples.slices["a little"].tolist() == [True, False, False]
    assert examples.read([2, 0]) == [b"\2", b"\0"]


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ((), "item 0: 0 slices for 2 slice columns"),
        ((0,), "item 0: 1 slices for 2 slice columns"),
        ((0, 0, 0), "item 0: 3 slices for 2 slice columns"),
        ((2, 0), "item 0: slice 2 of column 'camera' is outside its 2 slices"),
        ((0, -1), "item 0: slice -1 of column 'blur' is outside its 3 slices"),
    ],
)
def test_items_that_belong_to_no_slice(
    stub: dataset_pb2_grpc.DatasetServiceStub, slices: tuple[int, ...], message: str
) -> None:
    made = create(stub, slice_columns=[CAMERA, BLUR])
    with pytest.raises(grpc.RpcError) as caught:
        append(stub, made.id, item(0, *slices))
    assert fault(caught)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert message in caught.value.details()


def test_slices_need_columns(stub: dataset_pb2_grpc.DatasetServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        append(stub, create(stub).id, item(0, 0))
    assert "1 slices for 0 slice columns" in caught.value.details()


def test_other_slices_are_another_dataset(stub: dataset_pb2_grpc.DatasetServiceStub) -> None:
    first = create(stub, request_id="once", slice_columns=[CAMERA])
    assert create(stub, request_id="once", slice_columns=[CAMERA]) == first
    for other in ([], [BLUR], [CAMERA, BLUR]):
        with pytest.raises(grpc.RpcError) as caught:
            create(stub, request_id="once", slice_columns=other)
        assert fault(caught)[:2] == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    append(stub, first.id, item(0, 1))
    with pytest.raises(grpc.RpcError) as caught:
        append(stub, first.id, item(0, 0))
    assert fault(caught)[:2] == (grpc.StatusCode.ALREADY_EXISTS, "ITEM_CHANGED")


@pytest.mark.parametrize(
    "columns",
    [
        [dataset_pb2.SliceColumn(name="camera")],
        [dataset_pb2.SliceColumn(name="", values=["a"])],
        [dataset_pb2.SliceColumn(name="camera", values=["a", "a"])],
        [CAMERA, CAMERA],
        [dataset_pb2.SliceColumn(name=str(number), values=["a"]) for number in range(21)],
    ],
)
def test_columns_that_break_a_rule(stub: dataset_pb2_grpc.DatasetServiceStub, columns: list[Any]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        create(stub, slice_columns=columns)
    assert fault(caught)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
