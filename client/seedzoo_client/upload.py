"""Bring a dataset to the server, resumably; the steps are those of :mod:`seedzoo_client.upload_steps`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import grpc

from seedzoo.errors import DataError
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.fingerprint import HashedItem, hash_items
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.retry import persistently
from seedzoo_client.settings import RetryConfig
from seedzoo_client.upload_steps import (
    PART_SECONDS,
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
            for described in describe_requests(made.id, items):
                self._persistently(partial(self._stub.AppendItems, described, timeout=self._timeout), progress)
        self._send_missing(made.id, items, progress)
        return uploaded_dataset(made.id, family, dataset, items)

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

    def _send_missing(self, dataset_id: str, items: Sequence[HashedItem], progress: ProgressCallback) -> None:
        rounds = Rounds(len(items), server=self._server, retry=self._retry, progress=progress)
        while True:
            try:
                missing = self._missing(dataset_id)
                if not rounds.missing(len(missing)):
                    return
                for part in parts(missing, items):
                    self._send_part(dataset_id, part, items)
                    rounds.sent(len(part))
                rounds.ended()
            except grpc.RpcError as error:
                time.sleep(rounds.broke(error))

    def _send_part(self, dataset_id: str, part: Sequence[int], items: Sequence[HashedItem]) -> None:
        sender = _Sender(dataset_id, part, items)
        call = self._stub.UploadItems.future(sender.messages(), timeout=PART_SECONDS)
        sender.attach(call)
        try:
            call.result()
        except (grpc.FutureCancelledError, grpc.RpcError):
            if sender.error is not None:
                raise sender.error from None
            raise
        finally:
            # Ctrl-C must not leave the sending thread reading files.
            call.cancel()


class _Sender:
    """Reads the files of one stream, a piece at a time, in grpc's own thread.

    grpc logs an exception in a request iterator and reports UNKNOWN, so what goes wrong is kept here and the call is
    cancelled instead.
    """

    def __init__(self, dataset_id: str, part: Sequence[int], items: Sequence[HashedItem]) -> None:
        self._dataset_id = dataset_id
        self._part = part
        self._items = items
        self._call: grpc.Future[dataset_pb2.UploadItemsResponse] | None = None
        self._attached = threading.Event()
        self.error: DataError | None = None

    def attach(self, call: grpc.Future[dataset_pb2.UploadItemsResponse]) -> None:
        """Name the call to cancel when a file cannot be sent."""
        self._call = call
        self._attached.set()

    def messages(self) -> Iterator[dataset_pb2.UploadItemsRequest]:
        """The stream's requests."""
        try:
            yield from item_messages(self._dataset_id, self._part, self._items)
        except DataError as error:
            self.error = error
            self._attached.wait()
            if self._call is not None:
                self._call.cancel()
