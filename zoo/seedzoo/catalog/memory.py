"""An object store in memory: for tests and throw-away runs."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from seedzoo.catalog.store import (
    ClosingStore,
    ObjectInfo,
    check_conditions,
    check_folder_to_delete,
    check_key,
    check_prefix,
    check_range,
    check_source,
    folder_clash,
    key_missing,
    precondition_failed,
)
from seedzoo.errors import LocalFailure

__all__ = ["MemoryStore"]


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    info: ObjectInfo


class MemoryStore(ClosingStore):
    """An ObjectStore whose objects live as long as it does."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[str, _Object] = {}
        self._keys: list[str] = []

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._keys)} objects)"

    @property
    def url(self) -> str:
        """Where the store is, for people."""
        return "memory://"

    def _find(self, key: str) -> _Object:
        with self._lock:
            found = self._objects.get(check_key(key))
        if found is None:
            raise key_missing(key, self.url)
        return found

    def get(self, key: str) -> bytes:
        """See :meth:`ObjectStore.get`."""
        return self._find(key).data

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See :meth:`ObjectStore.get_with_etag`."""
        found = self._find(key)
        return found.data, found.info.etag

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """See :meth:`ObjectStore.get_range`."""
        check_range(offset, length)
        return self._find(key).data[offset : offset + length]

    def read_stream(self, key: str, offset: int = 0, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """See :meth:`ObjectStore.read_stream`."""
        check_range(offset, chunk_size, least=1)
        data = self._find(key).data
        for start in range(offset, len(data), chunk_size):
            yield data[start : start + chunk_size]

    def head(self, key: str) -> ObjectInfo:
        """See :meth:`ObjectStore.head`."""
        return self._find(key).info

    def exists(self, key: str) -> bool:
        """See :meth:`ObjectStore.exists`."""
        with self._lock:
            return check_key(key) in self._objects

    def _refuse_folder_clash(self, key: str) -> None:
        cut = key.find("/")
        while cut >= 0:
            if key[:cut] in self._objects:
                raise folder_clash(key, key[:cut])
            cut = key.find("/", cut + 1)
        inside = next(self._below(key + "/"), None)
        if inside is not None:
            raise folder_clash(key, inside)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """See :meth:`ObjectStore.put`."""
        check_key(key)
        check_conditions(if_absent=if_absent, if_match=if_match)
        content = bytes(data)
        etag = hashlib.sha256(content).hexdigest()
        with self._lock:
            old = self._objects.get(key)
            if if_absent and old is not None:
                raise precondition_failed(key, if_absent=True)
            if if_match is not None and (old is None or old.info.etag != if_match):
                raise precondition_failed(key, if_absent=False)
            if old is None:
                self._refuse_folder_clash(key)
                insort(self._keys, key)
            self._objects[key] = _Object(content, ObjectInfo(key, len(content), etag, datetime.now(UTC)))
        return etag

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> str:
        """See :meth:`ObjectStore.put_file`."""
        check_source(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise LocalFailure(f"cannot read {path}: {error.strerror}") from error
        return self.put(key, data, if_absent=if_absent)

    def delete(self, key: str) -> None:
        """See :meth:`ObjectStore.delete`."""
        with self._lock:
            if self._objects.pop(check_key(key), None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def delete_prefix(self, prefix: str) -> int:
        """See :meth:`ObjectStore.delete_prefix`."""
        start = check_folder_to_delete(prefix)
        with self._lock:
            doomed = list(self._below(start))
            for key in doomed:
                self.delete(key)
        return len(doomed)

    def _below(self, start: str) -> Iterator[str]:
        """Keys that start with a prefix; the caller holds the lock until it has taken all it wants."""
        for place in range(bisect_left(self._keys, start), len(self._keys)):
            if not self._keys[place].startswith(start):
                return
            yield self._keys[place]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See :meth:`ObjectStore.list`."""
        start = check_prefix(prefix)
        with self._lock:
            found = [self._objects[key].info for key in self._below(start)]
        yield from found

    def list_folders(self, prefix: str, *, hollow: bool = False) -> Iterator[str]:  # noqa: ARG002  (none is hollow)
        """See :meth:`ObjectStore.list_folders`."""
        start = check_prefix(prefix)
        with self._lock:
            rests = [key[len(start) :] for key in self._below(start)]
        yield from sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

    def presign_get(self, key: str, expires_s: int) -> str | None:  # noqa: ARG002  (nothing to sign for)
        """None: only this process can reach the objects."""
        check_key(key)
        return None
