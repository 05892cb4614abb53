"""A folder of an object store as a store of its own: whoever holds it cannot name anything outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from seedzoo.catalog.store import ClosingStore, ObjectInfo, ObjectStore, check_key, check_prefix

__all__ = ["ScopedStore"]


class ScopedStore(ClosingStore):
    """Every key is below one folder of another store; closing it leaves the other open.

    Args:
        store: Where the objects really are.
        folder: The folder, such as ``tenants/acme``.

    Raises:
        RequestError: The folder's name is no valid key, or empty.
    """

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store = store
        self._prefix = check_key(folder) + "/"

    @property
    def url(self) -> str:
        """Where the folder is, for people."""
        return f"{self._store.url.removesuffix('/')}/{self._prefix.removesuffix('/')}"

    def get(self, key: str) -> bytes:
        """As :class:`ObjectStore`."""
        return self._store.get(self._full(key))

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """As :class:`ObjectStore`."""
        return self._store.get_with_etag(self._full(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """As :class:`ObjectStore`."""
        return self._store.get_range(self._full(key), offset, length)

    def read_stream(self, key: str, offset: int = 0, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """As :class:`ObjectStore`."""
        return self._store.read_stream(self._full(key), offset, chunk_size)

    def head(self, key: str) -> ObjectInfo:
        """As :class:`ObjectStore`."""
        return self._own(self._store.head(self._full(key)))

    def exists(self, key: str) -> bool:
        """As :class:`ObjectStore`."""
        return self._store.exists(self._full(key))

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """As :class:`ObjectStore`."""
        return self._store.put(self._full(key), data, if_absent=if_absent, if_match=if_match)

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> str:
        """As :class:`ObjectStore`."""
        return self._store.put_file(self._full(key), path, if_absent=if_absent)

    def delete(self, key: str) -> None:
        """As :class:`ObjectStore`."""
        self._store.delete(self._full(key))

    def delete_prefix(self, prefix: str) -> int:
        """As :class:`ObjectStore`; all of the folder may not be deleted through it."""
        return self._store.delete_prefix(self._full(prefix.removesuffix("/")))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As :class:`ObjectStore`."""
        for info in self._store.list(self._prefix + check_prefix(prefix)):
            yield self._own(info)

    def list_folders(self, prefix: str, *, hollow: bool = False) -> Iterator[str]:
        """As :class:`ObjectStore`."""
        return self._store.list_folders(self._prefix + check_prefix(prefix), hollow=hollow)

    def presign_get(self, key: str, expires_s: int) -> str | None:
        """As :class:`ObjectStore`."""
        return self._store.presign_get(self._full(key), expires_s)

    def _full(self, key: str) -> str:
        # Checked before it is joined: a key that climbs out of the folder must not become one that is valid.
        return self._prefix + check_key(key)

    def _own(self, info: ObjectInfo) -> ObjectInfo:
        return dataclasses.replace(info, key=info.key.removeprefix(self._prefix))
