"""Bring a dataset to the server, resumably; the steps are those of :mod:`seedzoo_client.upload_steps`."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import grpc

from seedzoo.errors import DataError
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.fingerprint import HashedItem, hash_items
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.retry import persistently
from seedzoo_client.settings import RetryConfig
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
from seedzoo_protos.v1 import dataset_pb2, dataset_pb2_grpc

__all__ = ["UploadedDataset", "Uploader"]

_T = TypeVar("_T")


class Uploader:
    """Sends datasets through one channel.

    Args:
        channel: Channel to the server.
        server: The server's address as people are told.
        timeout: Seconds for each unary call.
        retry: How long a broken stream is taken up again.
    """

    def __init__(self, channel: grpc.Channel, *, server: str, timeout: float, retry: RetryConfig) -> None:
        self._stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        self._server = server
        self._timeout = timeout
        self._retry = retry

    def upload(
        self,
        dataset: LocalDataset,
        *,
        family: str,
        progress: ProgressCallback,
        created: Callable[[str], None] = lambda _: None,
    ) -> UploadedDataset:
        """Hash, describe and send what the server does not have yet.

        Args:
            dataset: The images.
            family: The family whose classes its labels are.
            progress: Called as the work moves on.
            created: Called with the dataset's id as soon as the server holds anything.

        Raises:
            DataError: A file cannot be read, or changed since it was hashed.
            ZooError: The server refuses, or cannot be reached for too long.
        """
        total = len(dataset.items)
        items = hash_items(dataset, progress=lambda done: progress(Progress(Stage.READING, done, total)))
        request = create_request(dataset, items)
        made = self._persistently(lambda: self._stub.CreateDataset(request, timeout=self._timeout), progress)
        created(made.id)
        if made.described_count < total:
            self._describe(made.id, items, progress)
        self._send_missing(made, items, progress)
        return uploaded_dataset(made.id, family, dataset, items)

    def _describe(self, dataset_id: str, items: Sequence[HashedItem], progress: ProgressCallback) -> None:
        requests = describe_requests(dataset_id, items)
        begun = (
            _Described(request, self._stub.AppendItems.future(request, timeout=self._timeout)) for request in requests
        )
        with closing(_ahead(begun, DESCRIBED_AT_ONCE)) as calls:
            for call in calls:
                try:
                    call.result()
                except grpc.RpcError:
                    # What is wrong for good is said again.
                    again = partial(self._stub.AppendItems, call.request, timeout=self._timeout)
                    self._persistently(again, progress)

    def _persistently(self, call: Callable[[], _T], progress: ProgressCallback) -> _T:
        return persistently(call, config=self._retry, server=self._server, progress=progress)

    def _missing(self, dataset_id: str) -> list[int]:
        indices: list[int] = []
        token = ""
        while True:
            page = self._stub.ListMissing(missing_request(dataset_id, token), timeout=self._timeout)
            indices += page.indices
            token = page.next_page_token
            if not token:
                return indices

    def _send_missing(
        self, dataset: dataset_pb2.Dataset, items: Sequence[HashedItem], progress: ProgressCallback
    ) -> None:
        rounds = Rounds(len(items), server=self._server, retry=self._retry, progress=progress)
        while True:
            try:
                missing = self._missing(dataset.id)
                if not rounds.missing(len(missing)):
                    return
                self._send_parts(dataset, missing, items, rounds)
                rounds.ended()
            except grpc.RpcError as error:
                time.sleep(rounds.broke(error))

    def _send_parts(
        self, dataset: dataset_pb2.Dataset, missing: Sequence[int], items: Sequence[HashedItem], rounds: Rounds
    ) -> None:
        begun = (_Sender(self._stub, dataset, part, items) for part in parts(missing, items))
        # While the end of one part is being stored, the next one travels. Ctrl-C must not leave threads reading files.
        with closing(_ahead(begun, PARTS_AT_ONCE)) as senders:
            for sender in senders:
                rounds.sent(sender.finished())


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


_C = TypeVar("_C", bound=_Cancellable)


def _ahead(begun: Iterator[_C], count: int) -> Generator[_C, None, None]:
    """Calls in order, up to ``count`` of them begun; those that were not waited for are cancelled at the end."""
    running: deque[_C] = deque()
    try:
        for call in begun:
            running.append(call)
            if len(running) == count:
                yield running[0]
                running.popleft()
        while running:
            yield running[0]
            running.popleft()
    finally:
        for call in running:
            call.cancel()


@dataclass(frozen=True)
class _Described:
    """A call that describes items."""

    request: dataset_pb2.AppendItemsRequest
    call: grpc.Future[dataset_pb2.AppendItemsResponse]

    def result(self) -> None:
        self.call.result()

    def cancel(self) -> None:
        self.call.cancel()


class _Sender:
    """Reads the files of one stream, a piece at a time, in grpc's own thread.

    grpc logs an exception in a request iterator and reports UNKNOWN, so what goes wrong is kept here and the call is
    cancelled instead.
    """

    def __init__(
        self,
        stub: dataset_pb2_grpc.DatasetServiceStub,
        dataset: dataset_pb2.Dataset,
        part: Sequence[int],
        items: Sequence[HashedItem],
    ) -> None:
        self._dataset = dataset
        self._part = part
        self._items = items
        self._attached = threading.Event()
        self._error: DataError | None = None
        self._call = stub.UploadItems.future(self._messages(), timeout=PART_SECONDS)
        self._attached.set()

    def finished(self) -> int:
        """Wait until the part is durable; the number of its items."""
        try:
            self._call.result()
        except (grpc.FutureCancelledError, grpc.RpcError):
            if self._error is not None:
                raise self._error from None
            raise
        return len(self._part)

    def cancel(self) -> None:
        """Stop sending."""
        self._call.cancel()

    def _messages(self) -> Iterator[dataset_pb2.UploadItemsRequest]:
        """The stream's requests."""
        try:
            yield from item_messages(self._dataset, self._part, self._items)
        except DataError as error:
            self._error = error
            self._attached.wait()
            self.cancel()
