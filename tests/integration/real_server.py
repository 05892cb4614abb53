"""The real server in a thread, spoken to by any method of its API: for tests of access and of hostile calls."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.support import example_files, small_bundle

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo.catalog.store import ObjectStore
from seedzoo_protos.v1 import catalog_pb2, dataset_pb2, selection_pb2
from seedzoo_server.app import ZooServer
from seedzoo_server.settings import ServerSettings

METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in (catalog_pb2, dataset_pb2, selection_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Every RPC of the API, by name: what is added later is tested as well."""


@contextmanager
def serving(store: ObjectStore, **settings: Any) -> Iterator[int]:
    """A real server in a thread of its own; its port."""
    started: list[int | BaseException] = []
    ready, stopping = threading.Event(), threading.Event()

    async def run() -> None:
        server = None
        try:
            server = ZooServer(store, ServerSettings(**{"port": 0, "shutdown_grace_s": 0.5, **settings}))
            started.append(await server.start())
        except BaseException as error:  # noqa: BLE001  (it belongs to whoever waits below)
            started.append(error)
            if server is not None:
                await server.stop()
            return
        finally:
            ready.set()
        while not stopping.is_set():
            await asyncio.sleep(0.02)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    ready.wait()
    try:
        if isinstance(started[0], BaseException):
            raise started[0]
        yield started[0]
    finally:
        stopping.set()
        thread.join()


def small_store(folder: Path) -> MemoryStore:
    """A store with the family ``mini``."""
    store = MemoryStore()
    publish(store, small_bundle(folder / "bundle"))
    return store


def message_of(name: str, /, **fields: Any) -> Any:
    """A request of the method of that name."""
    return GetMessageClass(METHODS[name].input_type)(**fields)


@dataclass(frozen=True)
class Caller:
    """Calls methods by name, with metadata."""

    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...] = ()
    timeout: float = 30.0

    def raw(self, name: str, requests: Sequence[bytes]) -> list[Any]:
        """All responses to these bytes; a call that is no stream gets the first ones."""
        method = METHODS[name]
        service = method.containing_service.full_name
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        call = getattr(self.channel, kind)(
            f"/{service}/{name}", response_deserializer=GetMessageClass(method.output_type).FromString
        )
        answer = call(
            iter(requests) if method.client_streaming else requests[0], metadata=self.metadata, timeout=self.timeout
        )
        return list(answer) if method.server_streaming else [answer]

    def all(self, name: str, *requests: Message) -> list[Any]:
        return self.raw(name, [request.SerializeToString() for request in requests])

    def __call__(self, name: str, /, **fields: Any) -> Any:
        """The last response to a request with these fields."""
        return self.all(name, message_of(name, **fields))[-1]

    def code(self, name: str, /, **fields: Any) -> grpc.StatusCode:
        """How the call ends; an error must be one of ours."""
        try:
            self(name, **fields)
        except grpc.RpcError as error:
            return fault(error)[0]
        return grpc.StatusCode.OK

    def upload(self, contents: Sequence[bytes], labels: Sequence[int], classes: Sequence[str], **fields: Any) -> str:
        """A whole dataset; its id."""
        dataset = self("CreateDataset", **{"request_id": uuid.uuid4().hex, "classes": classes,
                                           "item_count": len(contents), **fields})  # fmt: skip
        for start in range(0, len(contents), 1000):
            self(
                "AppendItems",
                dataset_id=dataset.id,
                items=[
                    dataset_pb2.ItemDescriptor(
                        index=index,
                        sha256=hashlib.sha256(contents[index]).digest(),
                        size=len(contents[index]),
                        label=labels[index],
                    )
                    for index in range(start, min(start + 1000, len(contents)))
                ],
            )
        self.all("UploadItems", *pieces(dataset.id, enumerate(contents)))
        return str(dataset.id)

    def start(self, dataset_id: str, **fields: Any) -> selection_pb2.Selection:
        return self(
            "StartSelection",
            **{"request_id": uuid.uuid4().hex, "dataset_id": dataset_id, "family": "mini", **fields},
        )

    def settled(self, selection_id: str) -> selection_pb2.Selection:
        return self("WatchSelection", selection_id=selection_id).selection


def pieces(dataset_id: str, items: Iterable[tuple[int, bytes]]) -> Iterator[dataset_pb2.UploadItemsRequest]:
    """Messages of an upload."""
    first = True
    for index, raw in items:
        for start in range(0, max(1, len(raw)), 1 << 20):
            yield dataset_pb2.UploadItemsRequest(
                dataset_id=dataset_id if first else "", index=index, data=raw[start : start + (1 << 20)]
            )
            first = False


def examples(classes: Sequence[str], per_class: int = 2) -> tuple[list[bytes], list[int]]:
    """Images and labels."""
    found = example_files(per_class=per_class)
    return [path.read_bytes() for path, _ in found], [list(classes).index(name) for _, name in found]


def fault(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and message of an error; every error of ours carries them."""
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} without details: {error.details()}"
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "seedzoo"
    return error.code(), info.reason, error.details() or ""
