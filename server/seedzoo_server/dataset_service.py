"""DatasetService: users' validation data, uploaded in pieces that survive any break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import grpc

from seedzoo.allocator import GivingBack
from seedzoo.errors import NotFound, RequestError
from seedzoo_protos.v1 import dataset_pb2, dataset_pb2_grpc
from seedzoo_server.convert import timestamp
from seedzoo_server.identity import caller
from seedzoo_server.incoming import Held, Incoming, Pack, PackWriter
from seedzoo_server.runner import Runner
from seedzoo_server.storage.datasets import MAX_BATCH, Datasets, DatasetState, Item, SliceColumn
from seedzoo_server.tenants import Tenant, Tenants

__all__ = ["DatasetServicer"]

Context = grpc.aio.ServicerContext[Any, Any]

_PACK_THREADS = 4
_GIVE_BACK_BYTES = 32 << 20
"""Of packs stored: their buffers lie between what is kept, and would stay with the process."""
_MISSING_DEFAULT = 1000
_MISSING_LARGEST = 10_000


class DatasetServicer(dataset_pb2_grpc.DatasetServiceServicer):
    """Serves datasets; every access to the store runs in a thread."""

    def __init__(self, tenants: Tenants, runner: Runner) -> None:
        self._tenants = tenants
        self._runner = runner
        self._held = Held()
        self._giving_back = GivingBack(_GIVE_BACK_BYTES)
        self._pack_threads = ThreadPoolExecutor(_PACK_THREADS, thread_name_prefix="seedzoo-packs")

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
        first = await anext(aiter(request_iterator), None)
        if first is None:
            raise RequestError("the upload has no messages", field="dataset_id")
        tenant = self._tenant
        datasets = tenant.datasets
        state = await asyncio.to_thread(datasets.state, first.dataset_id)
        incoming = Incoming(state, self._held, tenant.name)
        writer = PackWriter(partial(self._write, datasets, state.record.id), self._pack_threads, self._held)
        try:
            incoming.take(first)
            del first  # up to 1 MiB
            async for message in request_iterator:
                if message.dataset_id:
                    raise RequestError("only the first message names the dataset", field="dataset_id")
                incoming.take(message)
                if incoming.full:
                    await writer.stored()
                    writer.begin(incoming.pack())
            incoming.end()
            await writer.stored()
            if incoming.pending:
                writer.begin(incoming.pack())
                await writer.stored()
        finally:
            incoming.dropped()
            await writer.given_up()
        return dataset_pb2.UploadItemsResponse(stored_count=writer.stored_count, stored_bytes=writer.stored_bytes)

    def _write(self, datasets: Datasets, dataset_id: str, pack: Pack) -> None:
        datasets.write_pack(dataset_id, pack)
        self._giving_back.used(sum(len(content) for _, content in pack))

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
        # A selection kept predictions until it was cancelled, and whoever did may have died before looking again.
        await asyncio.to_thread(datasets.delete_predictions, request.dataset_id)
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
        takes_whole_items=True,
        slice_columns=[
            dataset_pb2.SliceColumn(name=column.name, values=column.values) for column in state.record.slice_columns
        ],
    )
