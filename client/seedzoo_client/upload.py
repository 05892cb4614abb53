"""Bring a dataset to the server, resumably.

The dataset is named by its fingerprint, so the same data find the same dataset again: a run after Ctrl-C or a broken
connection asks what is missing and sends only that. Each stream carries about 16 MiB; when its response arrives, those
images are durable. File names stay here.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import grpc

from seedzoo.errors import DataError, Unavailable
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.fingerprint import HashedItem, contradictions, dataset_fingerprint, hash_items, read_error
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.retry import Backoff, persistently
from seedzoo_client.settings import RetryConfig
from seedzoo_client.status import from_rpc_error, is_transient, trouble
from seedzoo_protos.v1 import dataset_pb2, dataset_pb2_grpc

__all__ = ["UploadedDataset", "Uploader"]

_BATCH = 1_000
_PAGE = 10_000
_PART_BYTES = 16 << 20
# The whole message, not only its data, stays within 1 MiB.
_PIECE_BYTES = (1 << 20) - 1_024
_PART_SECONDS = 600.0
_FRUITLESS_ROUNDS = 3

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class UploadedDataset:
    """A dataset that the server has in full."""

    id: str
    family: str
    """The family whose classes its labels are."""
    local: LocalDataset
    warnings: tuple[str, ...]
    """What is probably a mistake in the data."""


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
        request = dataset_pb2.CreateDatasetRequest(
            request_id="ds-" + dataset_fingerprint(dataset.classes, items, dataset.slice_columns),
            classes=dataset.classes,
            item_count=total,
            slice_columns=[
                dataset_pb2.SliceColumn(name=column.name, values=column.values) for column in dataset.slice_columns
            ],
        )
        made = self._persistently(lambda: self._stub.CreateDataset(request, timeout=self._timeout), progress)
        created(made.id)
        if made.described_count < total:
            self._describe(made.id, items, progress)
        self._send_missing(made.id, items, progress)
        clash = contradictions(items)
        return UploadedDataset(made.id, family, dataset, (*dataset.warnings, *([clash] if clash else [])))

    def _persistently(self, call: Callable[[], _T], progress: ProgressCallback) -> _T:
        return persistently(call, config=self._retry, server=self._server, progress=progress)

    def _describe(self, dataset_id: str, items: Sequence[HashedItem], progress: ProgressCallback) -> None:
        for start in range(0, len(items), _BATCH):
            batch = [
                dataset_pb2.ItemDescriptor(
                    index=index,
                    sha256=item.sha256,
                    size=item.size,
                    label=item.label,
                    group=item.group,
                    slices=item.slices,
                )
                for index, item in enumerate(items[start : start + _BATCH], start=start)
            ]
            request = dataset_pb2.AppendItemsRequest(dataset_id=dataset_id, items=batch)
            self._persistently(partial(self._stub.AppendItems, request, timeout=self._timeout), progress)

    def _missing(self, dataset_id: str) -> list[int]:
        indices: list[int] = []
        token = ""
        while True:
            request = dataset_pb2.ListMissingRequest(dataset_id=dataset_id, page_size=_PAGE, page_token=token)
            page = self._stub.ListMissing(request, timeout=self._timeout)
            indices += page.indices
            token = page.next_page_token
            if not token:
                return indices

    def _send_missing(self, dataset_id: str, items: Sequence[HashedItem], progress: ProgressCallback) -> None:
        backoff = Backoff(self._retry, progress=progress)
        total = len(items)
        fewest = total + 1
        fruitless = 0
        while True:
            try:
                missing = self._missing(dataset_id)
                progress(Progress(Stage.UPLOADING, total - len(missing), total))
                if not missing:
                    return
                if len(missing) < fewest:
                    fewest, fruitless = len(missing), 0
                    backoff.progressed()
                elif fruitless == _FRUITLESS_ROUNDS:
                    # A server that accepts everything and still misses it: without a limit this never ended.
                    raise self._broken_off(fewest, total, "the server does not keep them")
                done = total - len(missing)
                for part in _parts(missing, items):
                    self._send_part(dataset_id, part, items)
                    done += len(part)
                    progress(Progress(Stage.UPLOADING, done, total))
                fruitless += 1
            except grpc.RpcError as error:
                if not is_transient(error):
                    raise from_rpc_error(error, server=self._server) from error
                if not backoff.pause(trouble(error)):
                    raise self._broken_off(fewest, total, trouble(error)) from error

    def _broken_off(self, missing: int, total: int, why: str) -> Unavailable:
        return Unavailable(
            f"the upload to {self._server} broke off with {min(missing, total)} of {total} images missing: {why}",
            hint="What arrived is kept: run the same command again to send the rest.",
        )

    def _send_part(self, dataset_id: str, part: Sequence[int], items: Sequence[HashedItem]) -> None:
        sender = _Sender(dataset_id, part, items)
        call = self._stub.UploadItems.future(sender.messages(), timeout=_PART_SECONDS)
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


def _parts(missing: Sequence[int], items: Sequence[HashedItem]) -> Iterator[list[int]]:
    part: list[int] = []
    size = 0
    for index in missing:
        if not 0 <= index < len(items):
            raise DataError(f"the server asks for item {index} of {len(items)}")
        if part and size + items[index].size > _PART_BYTES:
            yield part
            part, size = [], 0
        part.append(index)
        size += items[index].size
    if part:
        yield part


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
        dataset_id = self._dataset_id
        try:
            for index in self._part:
                for piece in _pieces(self._items[index]):
                    yield dataset_pb2.UploadItemsRequest(dataset_id=dataset_id, index=index, data=piece)
                    dataset_id = ""
        except DataError as error:
            self.error = error
            self._attached.wait()
            if self._call is not None:
                self._call.cancel()


def _pieces(item: HashedItem) -> Iterator[bytes]:
    """The file's bytes; the last piece is handed out only when all of them are what was hashed."""
    digest = hashlib.sha256()
    left = item.size
    try:
        with item.path.open("rb") as file:
            while left:
                piece = file.read(min(_PIECE_BYTES, left))
                if not piece:
                    break
                digest.update(piece)
                left -= len(piece)
                if left == 0 and (digest.digest() != item.sha256 or file.read(1)):
                    break
                yield piece
            else:
                return
    except OSError as error:
        raise read_error(item.path, error) from error
    raise DataError(
        f"{item.path} changed while it was being uploaded",
        hint="Run the command again when nothing writes there.",
        reason="FILE_CHANGED",
    )
