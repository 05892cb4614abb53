"""The steps of an upload that need no connection: requests, parts, pieces, and when to give up.

The dataset is named by its fingerprint, so the same data find the same dataset again: a run after Ctrl-C or a broken
connection asks what is missing and sends only that. Each stream carries about 16 MiB; when its response arrives, those
images are durable. File names stay here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc

from seedzoo.errors import DataError, Unavailable
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.fingerprint import (
    HashedItem,
    changed_error,
    contradictions,
    dataset_fingerprint,
    item_bytes,
    read_error,
)
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.retry import Backoff
from seedzoo_client.settings import RetryConfig
from seedzoo_client.status import from_rpc_error, is_transient, trouble
from seedzoo_protos.v1 import dataset_pb2

__all__ = [
    "DESCRIBED_AT_ONCE",
    "PARTS_AT_ONCE",
    "PART_SECONDS",
    "Rounds",
    "UploadedDataset",
    "create_request",
    "describe_requests",
    "item_messages",
    "missing_request",
    "parts",
    "uploaded_dataset",
]

DESCRIBED_AT_ONCE = 4
"""Calls that describe items at the same time."""
PARTS_AT_ONCE = 2
"""Streams that carry parts at the same time."""
PART_SECONDS = 1200.0
"""How long one stream may take, beside another one."""

_BATCH = 1_000
_PAGE = 10_000
_PART_BYTES = 16 << 20
# The whole message, not only its data, stays within 1 MiB.
_PIECE_BYTES = (1 << 20) - 1_024
_INDEX_BYTES = 10
_FRUITLESS_ROUNDS = 3
_DOING = "uploaded"


@dataclass(frozen=True, slots=True)
class UploadedDataset:
    """A dataset that the server has in full."""

    id: str
    family: str
    """The family whose classes its labels are."""
    local: LocalDataset
    warnings: tuple[str, ...]
    """What is probably a mistake in the data."""


def create_request(dataset: LocalDataset, items: Sequence[HashedItem]) -> dataset_pb2.CreateDatasetRequest:
    """The request that makes the dataset, or finds the one that an earlier run made."""
    return dataset_pb2.CreateDatasetRequest(
        request_id="ds-" + dataset_fingerprint(dataset.classes, items, dataset.slice_columns),
        classes=dataset.classes,
        item_count=len(items),
        slice_columns=[
            dataset_pb2.SliceColumn(name=column.name, values=column.values) for column in dataset.slice_columns
        ],
    )


def describe_requests(dataset_id: str, items: Sequence[HashedItem]) -> Iterator[dataset_pb2.AppendItemsRequest]:
    """The requests that describe all items, in order."""
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
        yield dataset_pb2.AppendItemsRequest(dataset_id=dataset_id, items=batch)


def missing_request(dataset_id: str, token: str) -> dataset_pb2.ListMissingRequest:
    """The request for the page of missing items that a token names; the first one for an empty token."""
    return dataset_pb2.ListMissingRequest(dataset_id=dataset_id, page_size=_PAGE, page_token=token)


def uploaded_dataset(
    dataset_id: str, family: str, dataset: LocalDataset, items: Sequence[HashedItem]
) -> UploadedDataset:
    """What an upload returns, with a warning where the same image has several labels."""
    clash = contradictions(items)
    return UploadedDataset(dataset_id, family, dataset, (*dataset.warnings, *([clash] if clash else [])))


class Rounds:
    """Rounds of asking what is missing and sending it: what each one brought, and when to give up.

    Args:
        total: Number of images.
        server: The server's address as people are told.
        retry: How long a broken stream is taken up again.
        progress: Called as the work moves on.
    """

    def __init__(self, total: int, *, server: str, retry: RetryConfig, progress: ProgressCallback) -> None:
        self._backoff = Backoff(retry, progress=progress)
        self._total = total
        self._server = server
        self._progress = progress
        self._fewest = total + 1
        self._fruitless = 0
        self._done = 0

    def missing(self, count: int) -> bool:
        """A round begins: the server misses that many; whether there is anything to send.

        Raises:
            Unavailable: It has missed them for several rounds.
        """
        self._done = self._total - count
        self._show()
        if not count:
            return False
        if count < self._fewest:
            self._fewest, self._fruitless = count, 0
            self._backoff.progressed()
        elif self._fruitless == _FRUITLESS_ROUNDS:
            # A server that accepts everything and still misses it: without a limit this never ended.
            raise self._broken_off("the server does not keep them")
        return True

    def sent(self, count: int) -> None:
        """That many have arrived."""
        self._done += count
        self._show()

    def ended(self) -> None:
        """All that was missing has been sent."""
        self._fruitless += 1

    def broke(self, error: grpc.RpcError) -> float:
        """A round broke off: seconds to wait before the next one.

        Raises:
            ZooError: It broke off for good, or for too long.
        """
        if not is_transient(error):
            raise from_rpc_error(error, server=self._server) from error
        seconds = self._backoff.delay(error)
        if seconds is None:
            raise self._broken_off(trouble(error)) from error
        return seconds

    def _show(self) -> None:
        self._progress(Progress(Stage.UPLOADING, self._done, self._total))

    def _broken_off(self, why: str) -> Unavailable:
        return Unavailable(
            f"the upload to {self._server} broke off with {min(self._fewest, self._total)} of {self._total} images "
            f"missing: {why}",
            hint="What arrived is kept: run the same command again to send the rest.",
        )


def parts(missing: Sequence[int], items: Sequence[HashedItem]) -> Iterator[list[int]]:
    """The missing items in portions that a stream carries.

    Raises:
        DataError: The server asks for an item that there is not.
    """
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


def item_messages(
    dataset: dataset_pb2.Dataset, part: Sequence[int], items: Sequence[HashedItem]
) -> Iterator[dataset_pb2.UploadItemsRequest]:
    """The messages of one stream; files are read as they are sent.

    Small items go many to a message where the server takes that: a message costs more than a small image.

    Args:
        dataset: As the server made it.
        part: Which items.
        items: All items.

    Raises:
        DataError: A file cannot be read, or is not what was hashed.
    """
    name = dataset.id
    for group in _groups(part, items) if dataset.takes_whole_items else ([index] for index in part):
        if len(group) > 1:
            data = b"".join(item_bytes(items[index], doing=_DOING) for index in group)
            yield dataset_pb2.UploadItemsRequest(dataset_id=name, whole_items=group, data=data)
            name = ""
            continue
        for piece in _pieces(items[group[0]]):
            yield dataset_pb2.UploadItemsRequest(dataset_id=name, index=group[0], data=piece)
            name = ""


def _groups(part: Sequence[int], items: Sequence[HashedItem]) -> Iterator[list[int]]:
    """The items in groups that fit into a message; one that does not fit is alone."""
    group: list[int] = []
    size = 0
    for index in part:
        takes = items[index].size + _INDEX_BYTES
        if group and (size + takes > _PIECE_BYTES or len(group) == _BATCH):
            yield group
            group, size = [], 0
        group.append(index)
        size += takes
    if group:
        yield group


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
    raise changed_error(item, doing=_DOING)
