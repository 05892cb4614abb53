"""Stores whose clock a test moves, and which call the test back before every operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.store import ObjectInfo


class Clock:
    """Says the time that a test has set."""

    def __init__(self) -> None:
        self.start = datetime(2026, 1, 1, tzinfo=UTC)
        self.now = self.start

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)

    def seconds(self) -> float:
        """As ``time.monotonic``."""
        return (self.now - self.start).total_seconds()


class ClockedStore(MemoryStore):
    """A store in memory on a clock of its own.

    Args:
        clock: When things are written.
        before: Called with the name of each operation and its key before it happens.
    """

    def __init__(self, clock: Clock, before: Callable[[str, str], None] = lambda _operation, _key: None) -> None:
        super().__init__()
        self.clock = clock
        self.before = before

    def get(self, key: str) -> bytes:
        self.before("get", key)
        return super().get(key)

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        self.before("get", key)
        return super().get_with_etag(key)

    def head(self, key: str) -> ObjectInfo:
        self.before("head", key)
        return super().head(key)

    def exists(self, key: str) -> bool:
        self.before("exists", key)
        return super().exists(key)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        self.before("put", key)
        with self._lock:
            etag = super().put(key, data, if_absent=if_absent, if_match=if_match)
            written = self._objects[key]
            self._objects[key] = replace(written, info=replace(written.info, modified=self.clock()))
        return etag

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> str:
        return self.put(key, path.read_bytes(), if_absent=if_absent)

    def delete(self, key: str) -> None:
        self.before("delete", key)
        super().delete(key)

    def delete_prefix(self, prefix: str) -> int:
        # As S3 does: the listing is one request, and each deletion another.
        doomed = [info.key for info in self.list(prefix)]
        for key in doomed:
            self.delete(key)
        return len(doomed)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.before("list", prefix)
        yield from super().list(prefix)

    def list_folders(self, prefix: str, *, hollow: bool = False) -> Iterator[str]:
        self.before("list", prefix)
        yield from super().list_folders(prefix, hollow=hollow)

    def keys(self, prefix: str = "") -> list[str]:
        """What is there, without being called back."""
        return [info.key for info in super().list(prefix)]
