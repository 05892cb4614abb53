"""DatasetService: users' validation data, uploaded in pieces that survive any break."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from seedzoo.errors import DataError, NotFound, RequestError
from seedzoo_protos.v1 import dataset_pb2, dataset_pb2_grpc
from seedzoo_server.convert import timestamp
from seedzoo_server.identity import caller
from seedzoo_server.runner import Runner
from seedzoo_server.storage.datasets import MAX_BATCH, DatasetState, Item, SliceColumn
from seedzoo_server.tenants import Tenant, Tenants

__all__ = ["DatasetServicer"]

Context = grpc.aio.ServicerContext[Any, Any]

_PACK_BYTES = 8 << 20
_PACK_ITEMS = 10_000
_MESSAGE_BYTES = 1 << 20
_MISSING_DEFAULT = 1000
_MISSING_LARGEST = 10_000


@dataclass
class _Upload:
    """One UploadItems call: the item that is arriving, and whole verified items that are not stored yet."""

    state: DatasetState
    index: int = -1
    content: bytearray = field(default_factory=bytearray)
    """What has arrived of it. No list of pieces: of one byte each they would take fifty times the memory."""
    taken: set[int] = field(default_factory=set)
    """Items of this call that are stored or pending: sent again, they are not stored again."""
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    pending_bytes: int = 0
    stored_count: int = 0
    stored_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether what is pending should become a pack."""
        return self.pending_bytes >= _PACK_BYTES or len(self.pending) >= _PACK_ITEMS


class DatasetServicer(dataset_pb2_grpc.DatasetServiceServicer):
    """Serves datasets; every access to the store runs in a thread."""

    def __init__(self, tenants: Tenants, runner: Runner) -> None:
        self._tenants = tenants
        self._runner = runner

    @property
    def _tenant(self) -> Tenant:
        """Whose call this is."""
        return self._tenants.of(caller().tenant)

    async def CreateDataset(self, request: dataset_pb2.CreateDatasetRequest, context: Context) -> dataset_pb2.Dataset:
        """Make an empty dataset, once for a request id."""
        state = await asyncio.to_thread(
            self._tenant.datasets.create,
            request.request_id,
            tuple(request.classes),
            request.item_count,
            tuple(SliceColumn(column.name, tuple(column.values)) for column in request.slice_columns),
        )
        return await asyncio.to_thread(_message, state)

    async def AppendItems(
        self, request: dataset_pb2.AppendItemsRequest, context: Context
    ) -> dataset_pb2.AppendItemsResponse:
        """Describe items."""
        if len(request.items) > MAX_BATCH:  # before anything is made of them
            raise RequestError(f"1 to {MAX_BATCH} items go in one call, not {len(request.items)}", field="items")
        items = [
            Item(
                index=item.index,
                sha256=item.sha256.hex(),
                size=item.size,
                label=item.label if item.HasField("label") else -1,
                group=item.group if item.HasField("group") else -1,
                slices=tuple(item.slices),
            )
            for item in request.items
        ]
        state = await asyncio.to_thread(self._tenant.datasets.append, request.dataset_id, items)
        return dataset_pb2.AppendItemsResponse(described_count=len(state.items))

    async def ListMissing(
        self, request: dataset_pb2.ListMissingRequest, context: Context
    ) -> dataset_pb2.ListMissingResponse:
        """Indices whose bytes have not arrived.

        A token says where the last page ended, not how many were listed: items that arrive meanwhile shift nothing.
        """
        state = await asyncio.to_thread(self._tenant.datasets.state, request.dataset_id)
        if request.page_size < 0:
            raise RequestError(f"page_size = {request.page_size} is negative", field="page_size")
        try:
            after = int(request.page_token) if request.page_token else -1
        except ValueError as error:
            raise RequestError("the page_token was not made by this listing", field="page_token") from error
        size = min(request.page_size or _MISSING_DEFAULT, _MISSING_LARGEST)
        # In a thread, as all that takes time for a million items.
        rest = await asyncio.to_thread(lambda: [index for index in state.missing if index > after])
        token = str(rest[size - 1]) if len(rest) > size else ""
        return dataset_pb2.ListMissingResponse(indices=rest[:size], next_page_token=token)

    async def UploadItems(
        self, request_iterator: AsyncIterator[dataset_pb2.UploadItemsRequest], context: Context
    ) -> dataset_pb2.UploadItemsResponse:
        """Take items piece by piece; verify each against its descriptor; store packs as they fill."""
        upload: _Upload | None = None
        async for message in request_iterator:
            if upload is None:
                upload = _Upload(await asyncio.to_thread(self._tenant.datasets.state, message.dataset_id))
            elif message.dataset_id:
                raise RequestError("only the first message names the dataset", field="dataset_id")
            if len(message.data) > _MESSAGE_BYTES:
                raise RequestError(f"a message carries at most {_MESSAGE_BYTES} bytes", field="data")
            self._take(upload, message.index, message.data)
            if upload.full:
                await self._store(upload)
        if upload is None:
            raise RequestError("the upload has no messages", field="dataset_id")
        if upload.index >= 0:
            size = upload.state.items[upload.index].size
            raise DataError(
                f"item {upload.index} is cut off: {len(upload.content)} of {size} bytes", reason="ITEM_CUT_OFF"
            )
        await self._store(upload)
        return dataset_pb2.UploadItemsResponse(stored_count=upload.stored_count, stored_bytes=upload.stored_bytes)

    @staticmethod
    def _take(upload: _Upload, index: int, data: bytes) -> None:
        if upload.index < 0:
            if index not in upload.state.items:
                raise RequestError(
                    f"item {index} has not been described", hint="Call AppendItems first.", field="index"
                )
            upload.index = index
        elif index != upload.index:
            raise RequestError(f"item {index} starts before item {upload.index} is whole", field="index")
        item = upload.state.items[index]
        if not data and item.size:
            raise RequestError(f"a message for item {index} carries no data", field="data")
        if len(upload.content) + len(data) > item.size:
            raise DataError(f"item {index} is longer than the {item.size} bytes described", reason="ITEM_CHANGED")
        upload.content += data
        if len(upload.content) < item.size:
            return
        content = bytes(upload.content)
        upload.index, upload.content = -1, bytearray()
        if hashlib.sha256(content).hexdigest() != item.sha256:
            raise DataError(
                f"item {index} differs from its SHA-256",
                hint="It changed since it was described, or was damaged on the way: send it again.",
                reason="ITEM_CHANGED",
            )
        if index not in upload.state.places and index not in upload.taken:
            upload.taken.add(index)
            upload.pending.append((index, content))
            upload.pending_bytes += len(content)

    async def _store(self, upload: _Upload) -> None:
        if upload.pending:
            await asyncio.to_thread(self._tenant.datasets.write_pack, upload.state.record.id, upload.pending)
        upload.stored_count += len(upload.pending)
        upload.stored_bytes += upload.pending_bytes
        upload.pending, upload.pending_bytes = [], 0

    async def GetDataset(self, request: dataset_pb2.GetDatasetRequest, context: Context) -> dataset_pb2.Dataset:
        """One dataset."""
        state = await asyncio.to_thread(self._tenant.datasets.state, request.dataset_id)
        return await asyncio.to_thread(_message, state)

    async def DeleteDataset(
        self, request: dataset_pb2.DeleteDatasetRequest, context: Context
    ) -> dataset_pb2.DeleteDatasetResponse:
        """Delete the dataset and its selections, which are cancelled; also what a deletion that broke off left."""
        datasets, selections = self._tenant.datasets, self._tenant.selections
        keys = await asyncio.to_thread(datasets.keys, request.dataset_id)
        # From here on nobody starts on it, and who is writing to it finds out and cleans up.
        await asyncio.to_thread(datasets.delete_record, request.dataset_id)
        for selection_id in await asyncio.to_thread(datasets.selections, request.dataset_id):
            with suppress(NotFound):  # an earlier deletion got as far as this
                await self._runner.cancel(self._tenant, selection_id)
            await asyncio.to_thread(selections.delete, selection_id)
            keys.append(datasets.mark_key(request.dataset_id, selection_id))
        await asyncio.to_thread(datasets.delete_keys, keys)
        return dataset_pb2.DeleteDatasetResponse()


def _message(state: DatasetState) -> dataset_pb2.Dataset:
    return dataset_pb2.Dataset(
        id=state.record.id,
        classes=state.record.classes,
        item_count=state.record.item_count,
        described_count=len(state.items),
        received_count=len(state.places),
        received_bytes=state.received_bytes,
        create_time=timestamp(state.record.created),
        slice_columns=[
            dataset_pb2.SliceColumn(name=column.name, values=column.values) for column in state.record.slice_columns
        ],
    )
