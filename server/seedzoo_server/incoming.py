"""What an UploadItems call brings: verified item by item, gathered into packs, stored while more arrives.

All calls together hold about ``_HELD_BYTES``: beyond that each stores what it has as a smaller pack, and waits for it.
What cannot be stored yet, because an item or even a small pack is not whole, may stay in memory for as long as a call
sends nothing; of one tenant, ``_TENANT_BYTES`` of that at most.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass, field

from seedzoo.errors import DataError, LimitExceeded, RequestError
from seedzoo_protos.v1 import dataset_pb2
from seedzoo_server.storage.datasets import DatasetState

__all__ = ["Held", "Incoming", "Pack", "PackWriter"]

_PACK_BYTES = 8 << 20
_PACK_ITEMS = 10_000
_SMALL_PACK_BYTES = 1 << 20
_HELD_BYTES = 64 << 20
_TENANT_BYTES = 256 << 20
_AGAIN_S = 5.0
_MESSAGE_BYTES = 1 << 20
_MESSAGE_ITEMS = 10_000

Pack = list[tuple[int, bytes]]
"""Indices and contents of verified items."""


@dataclass
class Held:
    """Bytes in memory of all calls together."""

    bytes: int = 0
    waiting: Counter[str] = field(default_factory=Counter)
    """By tenant, those of them that are not being stored."""

    def wait(self, tenant: str, count: int) -> None:
        """So many bytes more of a tenant wait, or less."""
        self.waiting[tenant] += count
        if not self.waiting[tenant]:
            del self.waiting[tenant]

    @property
    def much(self) -> bool:
        """Whether packs should be stored before they are full."""
        return self.bytes > _HELD_BYTES


@dataclass
class Incoming:
    """The item that is arriving, and whole verified items that are not stored yet."""

    state: DatasetState
    held: Held = field(default_factory=Held)
    tenant: str = ""
    index: int = -1
    content: bytearray = field(default_factory=bytearray)
    """What has arrived of it. No list of pieces: of one byte each they would take fifty times the memory."""
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    """Of what has arrived of it: a large item is not hashed in one go, while all other calls wait."""
    taken: set[int] = field(default_factory=set)
    """Items of this call that are stored or pending: sent again, they are not stored again."""
    pending: Pack = field(default_factory=list)
    pending_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether what is pending should become a pack."""
        least = _SMALL_PACK_BYTES if self.held.much else _PACK_BYTES
        return self.pending_bytes >= least or len(self.pending) >= _PACK_ITEMS

    def take(self, message: dataset_pb2.UploadItemsRequest) -> None:
        """Take a message in.

        Raises:
            RequestError: It breaks a rule.
            DataError: An item is not what was described.
            LimitExceeded: The tenant's other calls hold too much by now.
        """
        if len(message.data) > _MESSAGE_BYTES:
            raise RequestError(f"a message carries at most {_MESSAGE_BYTES} bytes", field="data")
        waiting = self.held.waiting[self.tenant]
        if waiting > self._waiting and waiting + len(message.data) > _TENANT_BYTES:
            raise LimitExceeded(
                f"the uploads that are open have sent {waiting >> 20} MiB of items that are not whole yet",
                hint="Send fewer large items at the same time.",
                reason="UPLOADS_OPEN",
                retry_s=_AGAIN_S,
            )
        if message.whole_items:
            self._take_whole(message.whole_items, message.data)
        else:
            self._take_piece(message.index, message.data)

    def pack(self) -> Pack:
        """What is pending, which is the caller's from now on."""
        self.held.wait(self.tenant, -self.pending_bytes)
        pack, self.pending, self.pending_bytes = self.pending, [], 0
        return pack

    def end(self) -> None:
        """Nothing more comes.

        Raises:
            DataError: An item is not whole.
        """
        if self.index >= 0:
            size = self.state.items[self.index].size
            raise DataError(f"item {self.index} is cut off: {len(self.content)} of {size} bytes", reason="ITEM_CUT_OFF")

    def dropped(self) -> None:
        """The call is over: what it still holds is given up."""
        self._hold(-self._waiting)
        self.pending, self.pending_bytes, self.content = [], 0, bytearray()

    @property
    def _waiting(self) -> int:
        return self.pending_bytes + len(self.content)

    def _hold(self, count: int) -> None:
        self.held.bytes += count
        self.held.wait(self.tenant, count)

    def _size(self, index: int) -> int:
        if index not in self.state.items:
            raise RequestError(f"item {index} has not been described", hint="Call AppendItems first.", field="index")
        return self.state.items[index].size

    def _take_whole(self, indices: Sequence[int], data: bytes) -> None:
        if self.index >= 0:
            raise RequestError(f"other items start before item {self.index} is whole", field="whole_items")
        if len(indices) > _MESSAGE_ITEMS:
            raise RequestError(
                f"a message carries at most {_MESSAGE_ITEMS} items, not {len(indices)}", field="whole_items"
            )
        sizes = [self._size(index) for index in indices]
        if sum(sizes) != len(data):
            raise DataError(
                f"items {indices[0]} to {indices[-1]} were described as {sum(sizes)} bytes and come as {len(data)}",
                hint="They changed since they were described: describe them anew.",
                reason="ITEM_CHANGED",
            )
        start = 0
        for index, size in zip(indices, sizes, strict=True):
            content = data[start : start + size]
            self._keep(index, content, hashlib.sha256(content))
            start += size

    def _take_piece(self, index: int, data: bytes) -> None:
        if self.index < 0:
            self._size(index)
            self.index = index
        elif index != self.index:
            raise RequestError(f"item {index} starts before item {self.index} is whole", field="index")
        size = self._size(index)
        if not data and size:
            raise RequestError(f"a message for item {index} carries no data", field="data")
        if len(self.content) + len(data) > size:
            raise DataError(f"item {index} is longer than the {size} bytes described", reason="ITEM_CHANGED")
        self.content += data
        self.digest.update(data)
        self._hold(len(data))
        if len(self.content) < size:
            return
        content, digest = bytes(self.content), self.digest
        self._hold(-size)
        self.index, self.content, self.digest = -1, bytearray(), hashlib.sha256()
        self._keep(index, content, digest)

    def _keep(self, index: int, content: bytes, digest: hashlib._Hash) -> None:
        if digest.hexdigest() != self.state.items[index].sha256:
            raise DataError(
                f"item {index} differs from its SHA-256",
                hint="It changed since it was described, or was damaged on the way: send it again.",
                reason="ITEM_CHANGED",
            )
        if index not in self.state.places and index not in self.taken:
            self.taken.add(index)
            self.pending.append((index, content))
            self.pending_bytes += len(content)
            self._hold(len(content))


class PackWriter:
    """Stores the packs of one call one after the other, while the next one fills.

    Args:
        write: Stores a pack durably; called in a thread.
        threads: Where. Of their own: a slow store must not keep other calls waiting for a thread.
        held: What all calls hold.
    """

    def __init__(self, write: Callable[[Pack], None], threads: Executor, held: Held) -> None:
        self._write = write
        self._threads = threads
        self._held = held
        self._running: asyncio.Future[None] | None = None
        self._running_count = self._running_bytes = 0
        self.stored_count = 0
        """Items of the packs that are durable."""
        self.stored_bytes = 0

    def begin(self, pack: Pack) -> None:
        """Begin to store a pack; the one before is stored."""
        size = sum(len(content) for _, content in pack)

        def over(running: asyncio.Future[None]) -> None:
            self._held.bytes -= size
            if not running.cancelled():
                running.exception()  # looked at, or asyncio would log it where nobody waits any more

        self._running_count, self._running_bytes = len(pack), size
        loop = asyncio.get_running_loop()
        self._running = loop.run_in_executor(self._threads, copy_context().run, self._write, pack)
        self._running.add_done_callback(over)

    async def stored(self) -> None:
        """Wait until the pack that was begun is stored; raises what that failed with.

        Who is cancelled meanwhile leaves the pack alone: it is in memory, and counted, until it is stored.
        """
        if self._running is None:
            return
        await asyncio.shield(self._running)
        self._running = None
        self.stored_count += self._running_count
        self.stored_bytes += self._running_bytes

    async def given_up(self) -> None:
        """Wait for a pack that is still being stored, whatever becomes of it; for a call that failed otherwise."""
        if self._running is not None:
            await asyncio.wait([self._running])
