"""Bring a dataset to the server, resumably; the steps are those of :mod:`seedzoo_client.upload_steps`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import grpc

from seedzoo_client.aio.connection import Connection, pages
from seedzoo_client.aio.threads import finished, in_thread
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.fingerprint import HashedItem, hash_items
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.upload_steps import (
    DESCRIBED_AT_ONCE,
    PART_SECONDS,
    PARTS_AT_ONCE,
    Rounds,
    UploadedDataset,
    create_request,
    describe_requests,
    item_messages,
    missing_request,
    parts,
    uploaded_dataset,
)
from seedzoo_protos.v1 import dataset_pb2

__all__ = ["AsyncUploader"]

_T = TypeVar("_T")

_PORTION_BYTES = 1 << 20
_PORTION_MESSAGES = 256


class AsyncUploader:
    """Sends datasets through one connection.

    Args:
        connection: To the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = connection.datasets

    async def upload(
        self,
        dataset: LocalDataset,
        *,
        family: str,
        progress: ProgressCallback,
        created: Callable[[str], None] = lambda _: None,
    ) -> UploadedDataset:
        """Hash, describe and send what the server does not have yet; as :meth:`seedzoo_client.upload.Uploader.upload`.

        Raises:
            DataError: A file cannot be read, or changed since it was hashed.
            ZooError: The server refuses, or cannot be reached for too long.
        """
        items, request = await in_thread(partial(_hashed, dataset), progress=progress)
        made = await self._connection.persistently(self._stub.CreateDataset, request, progress=progress)
        created(made.id)
        if made.described_count < len(items):
            calls = (
                self._connection.persistently(self._stub.AppendItems, request, progress=progress)
                for request in describe_requests(made.id, items)
            )
            async with aclosing(_ahead(calls, DESCRIBED_AT_ONCE)) as described:
                async for _ in described:
                    pass
        await self._send_missing(made, items, progress)
        return await finished(partial(uploaded_dataset, made.id, family, dataset, items))

    async def _missing(self, dataset_id: str) -> list[int]:
        return [
            index
            async for page in pages(
                lambda token: self._connection.call(self._stub.ListMissing, missing_request(dataset_id, token))
            )
            for index in page.indices
        ]

    async def _send_missing(
        self, dataset: dataset_pb2.Dataset, items: Sequence[HashedItem], progress: ProgressCallback
    ) -> None:
        connection = self._connection
        rounds = Rounds(len(items), server=connection.server, retry=connection.retry, progress=progress)
        while True:
            try:
                missing = await self._missing(dataset.id)
                if not rounds.missing(len(missing)):
                    return
                begun = (self._send_part(dataset, part, items) for part in parts(missing, items))
                # While the end of one part is being stored, the next one travels.
                async with aclosing(_ahead(begun, PARTS_AT_ONCE)) as sent:
                    async for count in sent:
                        rounds.sent(count)
                rounds.ended()
            except grpc.RpcError as error:
                seconds = rounds.broke(error)
            else:
                continue
            await asyncio.sleep(seconds)

    async def _send_part(self, dataset: dataset_pb2.Dataset, part: Sequence[int], items: Sequence[HashedItem]) -> int:
        async with aclosing(_messages(item_messages(dataset, part, items))) as messages:
            await self._connection.send(self._stub.UploadItems, messages, timeout=PART_SECONDS)
        return len(part)


async def _ahead(begun: Iterator[Coroutine[Any, Any, _T]], count: int) -> AsyncGenerator[_T, None]:
    """Results in order, up to ``count`` of them worked on; what was not waited for is cancelled at the end."""
    running: deque[asyncio.Task[_T]] = deque()
    try:
        for work in begun:
            running.append(asyncio.create_task(work))
            if len(running) == count:
                yield await running[0]
                running.popleft()
        while running:
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _hashed(
    dataset: LocalDataset, progress: ProgressCallback
) -> tuple[tuple[HashedItem, ...], dataset_pb2.CreateDatasetRequest]:
    total = len(dataset.items)
    items = hash_items(dataset, progress=lambda done: progress(Progress(Stage.READING, done, total)))
    return items, create_request(dataset, items)


async def _messages(
    read: Iterator[dataset_pb2.UploadItemsRequest],
) -> AsyncGenerator[dataset_pb2.UploadItemsRequest, None]:
    """The messages, read in a thread; many small images at a time, because each way to a thread costs."""
    while portion := await finished(partial(_portion, read)):
        for message in portion:
            yield message


def _portion(read: Iterator[dataset_pb2.UploadItemsRequest]) -> list[dataset_pb2.UploadItemsRequest]:
    portion: list[dataset_pb2.UploadItemsRequest] = []
    size = 0
    for message in read:
        portion.append(message)
        size += len(message.data)
        if size >= _PORTION_BYTES or len(portion) >= _PORTION_MESSAGES:
            break
    return portion
