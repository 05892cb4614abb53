"""The messages of an upload, and what is told while files are hashed."""

from __future__ import annotations

import hashlib
import os

import pytest

from seedzoo.errors import DataError
from seedzoo_client.datasets import Item, LocalDataset
from seedzoo_client.fingerprint import HashedItem, hash_items
from seedzoo_client.upload_steps import item_messages
from seedzoo_protos.v1 import dataset_pb2

SIZES = [300_000, 300_000, 300_000, 300_000, 2_500_000, 10, *[1_000] * 2_100]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[HashedItem]:
    folder = tmp_path_factory.mktemp("images")
    found = []
    for index, size in enumerate(SIZES):
        path, content = folder / str(index), os.urandom(size)
        path.write_bytes(content)
        found.append(HashedItem(path, None, hashlib.sha256(content).digest(), size))
    return found


def arrived(messages: list[dataset_pb2.UploadItemsRequest]) -> dict[int, bytes]:
    """Contents by index, as a server takes the messages apart."""
    found: dict[int, bytes] = {}
    for message in messages:
        if not message.whole_items:
            found[message.index] = found.get(message.index, b"") + message.data
        start = 0
        for index in message.whole_items:
            found[index] = message.data[start : start + SIZES[index]]
            start += SIZES[index]
    return found


@pytest.mark.parametrize("together", [True, False])
def test_small_items_go_together_where_the_server_takes_that(items: list[HashedItem], together: bool) -> None:
    dataset = dataset_pb2.Dataset(id="ds-1", takes_whole_items=together)
    part = [index for index in range(len(items)) if index != 7]
    messages = list(item_messages(dataset, part, items))
    assert [message.dataset_id for message in messages] == ["ds-1"] + [""] * (len(messages) - 1)
    assert max(message.ByteSize() for message in messages) <= 1 << 20
    found = arrived(messages)
    assert list(found) == part
    assert all(content == items[index].path.read_bytes() for index, content in found.items())
    if together:
        assert len(messages) < 12
    else:
        assert not any(message.whole_items for message in messages)


def test_a_small_file_that_changed_is_not_sent(items: list[HashedItem]) -> None:
    path, content = items[-1].path, items[-1].path.read_bytes()
    dataset = dataset_pb2.Dataset(id="ds-1", takes_whole_items=True)
    try:
        for other in (content + b"x", content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
            path.write_bytes(other)
            with pytest.raises(DataError, match="changed while it was being uploaded"):
                list(item_messages(dataset, [len(items) - 2, len(items) - 1], items))
    finally:
        path.write_bytes(content)


def test_hashing_tells_now_and_then_and_at_the_end(items: list[HashedItem]) -> None:
    rows = tuple(Item(item.path, None) for item in items)
    told: list[int] = []
    assert hash_items(LocalDataset("data", ("a",), rows, {}), progress=told.append) == tuple(items)
    assert told[-1] == len(items)
    assert told == sorted(set(told))
    assert len(told) < len(items) / 2
