"""What an upload brings, and how it is stored while more arrives."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import DataError, LimitExceeded, RequestError, StoreError, ZooError
from seedzoo_protos.v1 import dataset_pb2
from seedzoo_server import incoming as module
from seedzoo_server.incoming import Held, Incoming, Pack, PackWriter
from seedzoo_server.storage.datasets import DatasetRecord, Datasets, DatasetState, Item

CONTENTS = [b"first", b"second!", b"", b"the last one"]
MUCH = 65 << 20


def item(index: int, content: bytes) -> Item:
    return Item(index=index, sha256=hashlib.sha256(content).hexdigest(), size=len(content), label=-1)


def incoming(contents: Sequence[bytes] = CONTENTS, held: Held | None = None) -> Incoming:
    record = DatasetRecord(id="ds", classes=("a",), item_count=len(contents), created="")
    items = {index: item(index, content) for index, content in enumerate(contents)}
    return Incoming(DatasetState(record, "", items=items), held or Held())


def whole(indices: Sequence[int], data: bytes) -> dataset_pb2.UploadItemsRequest:
    return dataset_pb2.UploadItemsRequest(whole_items=indices, data=data)


def test_several_items_come_in_one_message() -> None:
    held = Held()
    upload = incoming(held=held)
    upload.take(whole([3, 0, 2], CONTENTS[3] + CONTENTS[0] + CONTENTS[2]))
    upload.take(dataset_pb2.UploadItemsRequest(index=1, data=CONTENTS[1]))
    upload.take(whole([0], CONTENTS[0]))  # once more
    upload.end()
    assert upload.pending == [(index, CONTENTS[index]) for index in (3, 0, 2, 1)]
    assert upload.pending_bytes == held.bytes == sum(map(len, CONTENTS))
    upload.dropped()
    assert held.bytes == 0


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        (whole([0, 1], b"firstsecond"), DataError, "as 12 bytes and come as 11"),
        (whole([0, 1], b"firstsecond!?"), DataError, "as 12 bytes and come as 13"),
        (whole([0, 1], b"firstsecond?"), DataError, "item 1 differs from its SHA-256"),
        (whole([0, 9], b"first"), RequestError, "item 9 has not been described"),
        (whole([-1], b""), RequestError, "item -1 has not been described"),
        (whole([2] * 10_001, b""), RequestError, "at most 10000 items"),
        (whole([0], bytes(1 + (1 << 20))), RequestError, "at most 1048576 bytes"),
    ],
)
def test_whole_items_that_are_refused(message: dataset_pb2.UploadItemsRequest, kind: type[ZooError], said: str) -> None:
    with pytest.raises(kind, match=said):
        incoming().take(message)


def test_whole_items_wait_for_the_end_of_another() -> None:
    upload = incoming()
    upload.take(dataset_pb2.UploadItemsRequest(index=1, data=b"sec"))
    with pytest.raises(RequestError, match="before item 1 is whole"):
        upload.take(whole([0], CONTENTS[0]))
    with pytest.raises(DataError, match="3 of 7 bytes"):
        upload.end()


def test_packs_are_small_where_much_is_held() -> None:
    content = bytes(1 << 20)
    held = Held()
    upload = incoming([content], held)
    upload.take(whole([0], content))
    assert not upload.full
    held.bytes += MUCH
    assert upload.full
    held.bytes -= MUCH
    assert not upload.full


def test_a_tenant_does_not_fill_the_memory_with_items_that_are_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TENANT_BYTES", 9)
    held = Held()
    begun, another = (incoming(held=held) for _ in range(2))
    begun.take(dataset_pb2.UploadItemsRequest(index=3, data=CONTENTS[3][:8]))
    with pytest.raises(LimitExceeded, match="not whole yet") as caught:
        another.take(dataset_pb2.UploadItemsRequest(index=1, data=CONTENTS[1][:6]))
    assert caught.value.retry_s
    with pytest.raises(LimitExceeded):
        another.take(whole([0], CONTENTS[0]))
    Incoming(another.state, held, "globex").take(whole([0], CONTENTS[0]))
    # What one call alone sends is never too much, or a large item could not be sent at all.
    begun.take(dataset_pb2.UploadItemsRequest(index=3, data=CONTENTS[3][8:]))
    begun.pack()
    another.take(whole([1], CONTENTS[1]))
    another.dropped()
    assert held.waiting == {"globex": 5}


def test_what_follows_is_taken_while_a_pack_is_stored() -> None:
    stored: list[Pack] = []
    go_on = threading.Event()

    def write(pack: Pack) -> None:
        assert go_on.wait(60)
        stored.append(pack)

    async def check() -> None:
        held = Held()
        upload = incoming(held=held)
        with ThreadPoolExecutor(1) as threads:
            writer = PackWriter(write, threads, held)
            upload.take(whole([0], CONTENTS[0]))
            writer.begin(upload.pack())
            upload.take(whole([1], CONTENTS[1]))
            assert (writer.stored_count, held.bytes) == (0, 12)
            go_on.set()
            await writer.stored()
            assert (writer.stored_count, writer.stored_bytes, held.bytes) == (1, 5, 7)
            writer.begin(upload.pack())
            await writer.stored()
        assert stored == [[(0, CONTENTS[0])], [(1, CONTENTS[1])]]
        assert (writer.stored_count, writer.stored_bytes, held.bytes) == (2, 12, 0)

    asyncio.run(check())


def test_a_pack_that_cannot_be_stored_ends_the_call() -> None:
    def write(_: Pack) -> None:
        raise StoreError("the store is full")

    async def check() -> None:
        held = Held()
        upload = incoming(held=held)
        upload.take(whole([0], CONTENTS[0]))
        with ThreadPoolExecutor(1) as threads:
            writer = PackWriter(write, threads, held)
            writer.begin(upload.pack())
            with pytest.raises(StoreError, match="full"):
                await writer.stored()
            await writer.given_up()
        assert (writer.stored_count, held.bytes) == (0, 0)

    asyncio.run(check())


def test_packs_of_calls_that_were_given_up_count_until_they_are_stored() -> None:
    stored: list[Pack] = []
    go_on = threading.Event()

    def write(pack: Pack) -> None:
        assert go_on.wait(60)
        stored.append(pack)

    async def give_up(held: Held, threads: ThreadPoolExecutor) -> PackWriter:
        upload = incoming(held=held)
        writer = PackWriter(write, threads, held)
        upload.take(whole([0], CONTENTS[0]))
        writer.begin(upload.pack())
        waiting = asyncio.create_task(writer.stored())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        return writer

    async def check() -> None:
        held = Held()
        with ThreadPoolExecutor(1) as threads:
            writers = [await give_up(held, threads) for _ in range(3)]
            assert held.bytes == 15, "one is being stored, and two wait for the thread"
            go_on.set()
            for writer in writers:
                await writer.given_up()
        assert (len(stored), held.bytes) == (3, 0)

    asyncio.run(check())


class CountingStore(MemoryStore):
    """Says what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def get(self, key: str) -> bytes:
        self.read.append(key)
        return super().get(key)


def test_what_this_server_wrote_it_does_not_read_again() -> None:
    store = CountingStore()
    here, elsewhere = (Datasets(store, max_items=10, max_item_bytes=100) for _ in range(2))
    made = here.create("r", ("a",), len(CONTENTS))
    here.append(made.record.id, [item(index, content) for index, content in enumerate(CONTENTS)])
    here.write_pack(made.record.id, list(enumerate(CONTENTS))[:2])
    assert here.state(made.record.id).missing == [2, 3]
    assert store.read == []
    # Another replica reads it, and what that one writes is read here.
    assert elsewhere.state(made.record.id) == here.state(made.record.id)
    assert [Path(key).suffix for key in store.read] == [".json", ".json"]
    elsewhere.write_pack(made.record.id, list(enumerate(CONTENTS))[2:])
    assert here.state(made.record.id) == elsewhere.state(made.record.id)
    assert here.state(made.record.id).complete


def test_a_dataset_made_anew_in_the_same_second_is_another_one() -> None:
    store = MemoryStore()
    here, elsewhere = (Datasets(store, max_items=10, max_item_bytes=100) for _ in range(2))
    dataset_id = here.create("r", ("a",), 1).record.id
    here.append(dataset_id, [item(0, b"before")])
    elsewhere.delete(dataset_id)
    assert elsewhere.create("r", ("a",), 1).record.id == dataset_id
    elsewhere.append(dataset_id, [item(0, b"after that")])
    assert here.state(dataset_id).items == elsewhere.state(dataset_id).items == {0: item(0, b"after that")}
