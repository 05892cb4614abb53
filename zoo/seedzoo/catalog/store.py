"""What an object store is to seedzoo: the protocol, the keys it takes, and what a listing tells.

All stores behave alike; ``tests/contract/test_object_store_contract.py`` holds them to it:

- An object is seen whole or not at all, and a write that returned is durable.
- A *prefix* is a folder: ``"a/b"`` and ``"a/b/"`` both mean the keys that start with ``a/b/``, never ``a/bc``
  and never the object ``a/b`` itself; ``""`` means everything.
- No key may be a folder of another key (``a`` beside ``a/b``): file systems cannot hold both.
- ``etag`` is opaque. It changes whenever the content changes; equal content may give an equal etag.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from seedzoo.errors import Conflict, LocalFailure, NotFound, RequestError, StoreError

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_SEGMENT_BYTES",
    "RESERVED_SEGMENT",
    "Conflict",
    "NotFound",
    "ObjectInfo",
    "ObjectStore",
    "StoreError",
    "check_conditions",
    "check_folder_to_delete",
    "check_key",
    "check_prefix",
    "check_range",
    "check_source",
    "folder_clash",
    "key_missing",
    "precondition_failed",
    "valid_segment",
]

MAX_KEY_BYTES = 900
"""S3 allows 1,024 bytes; the rest is room for the prefix of a shared bucket."""
MAX_SEGMENT_BYTES = 255
"""The longest file name that Linux and macOS take."""
RESERVED_SEGMENT = ".seedzoo"
"""First segment kept for a store's own files (temporary files and locks of a local directory)."""

_NOT_XML = ("\ufffe", "\uffff")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object as a listing shows it.

    Attributes:
        key: Full key, without any prefix that the store was opened under.
        size: Bytes.
        etag: Opaque version tag, usable as ``if_match``.
        modified: Time of the last write on the store's clock, in UTC.
    """

    key: str
    size: int
    etag: str
    modified: datetime


@runtime_checkable
class ObjectStore(Protocol):
    """A flat, durable map from keys to bytes with conditional writes; safe to share between threads.

    Every method raises RequestError for a malformed key, StoreError when the store fails, and LocalFailure
    when this machine does (disk full, no permission).
    """

    @property
    def url(self) -> str:
        """Where the store is, for people; holds no secrets."""
        ...

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound."""
        ...

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The whole object and the etag of exactly these bytes. Raises NotFound."""
        ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Bytes ``[offset, offset + length)``, cut at the object's end like a slice. Raises NotFound."""
        ...

    def read_stream(self, key: str, offset: int = 0, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """The bytes from ``offset`` on in chunks of at most ``chunk_size``, all of one version.

        Nothing is opened before the first ``next()``, which is also what raises NotFound.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Size, etag and time of an object. Raises NotFound."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        ...

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write an object and return its etag.

        Args:
            key: Where to.
            data: The whole content.
            if_absent: Only create: an object that is already there raises Conflict.
            if_match: Only replace the version with this etag: another or none raises Conflict.

        Raises:
            Conflict: The condition did not hold (reason ``PRECONDITION_FAILED``); nothing was written.
        """
        ...

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> str:
        """Write a file's content without reading it into memory at once; return the etag. Raises Conflict."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object in a folder and return how many there were; ``""`` is refused."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The objects in a folder and all folders below it, sorted by key."""
        ...

    def list_folders(self, prefix: str, *, hollow: bool = False) -> Iterator[str]:
        """The names (one segment each) of the folders directly in a folder, sorted.

        Args:
            prefix: Folder to look into.
            hollow: May also give names of folders that are empty by now: some stores list these, and looking into
                each is what takes time.
        """
        ...

    def presign_get(self, key: str, expires_s: int) -> str | None:
        """A URL that reads the object without credentials for ``expires_s`` seconds, or None."""
        ...

    def close(self) -> None:
        """Release connections; the store cannot be used afterwards."""
        ...


class ClosingStore:
    """Makes a store a context manager that closes itself."""

    def close(self) -> None:
        """Release nothing by default."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _segment_fault(segment: str) -> str:
    if not segment:
        return "has an empty segment (a leading, trailing or doubled '/')"
    if segment in {".", ".."}:
        return f"has the segment {segment!r}"
    if "\\" in segment:
        return "has a backslash"
    if any(char < " " or "\x7f" <= char <= "\x9f" or char in _NOT_XML for char in segment):
        return "has a control character"
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        return f"has a segment longer than {MAX_SEGMENT_BYTES} bytes"
    return ""


def _fault(key: str) -> str:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if size > MAX_KEY_BYTES:
        return f"has {size} bytes, more than {MAX_KEY_BYTES}"
    segments = key.split("/")
    if segments[0] == RESERVED_SEGMENT:
        return f"starts with {RESERVED_SEGMENT!r}, which is kept for the store itself"
    return next(filter(None, map(_segment_fault, segments)), "")


def check_key(key: str) -> str:
    """Return the key if every store can hold it.

    Raises:
        RequestError: Empty, longer than 900 bytes, with an empty, '.', '..' or over-long segment, with a
            backslash or control character, not valid Unicode, or in the reserved folder.
    """
    fault = _fault(key)
    if fault:
        shown = key if len(key) <= 80 else key[:80] + "…"
        raise RequestError(
            f"object key {shown!r} {fault}",
            hint="Use names joined by '/', without '.', '..', backslashes or control characters.",
            reason="KEY_INVALID",
            field="key",
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return the folder prefix as the string that its keys start with: ``""`` or one ending in ``/``.

    Raises:
        RequestError: The folder's name is not a valid key.
    """
    return "" if prefix == "" else check_key(prefix.removesuffix("/")) + "/"


def valid_segment(name: str) -> bool:
    """Whether a file name can be a segment of a key."""
    try:
        return not _segment_fault(name)
    except UnicodeEncodeError:
        return False


def check_range(offset: int, length: int, *, least: int = 0) -> None:
    """Refuse negative numbers, which a slice would count from the end, and lengths under ``least``."""
    if offset < 0 or length < least:
        raise RequestError(
            f"cannot read {length} bytes at offset {offset}",
            hint="Offset and length count from 0 upwards.",
            reason="RANGE_INVALID",
            field="offset",
        )


def check_folder_to_delete(prefix: str) -> str:
    """Like :func:`check_prefix`, but refuse ``""``: an empty variable must not empty the store."""
    if not prefix:
        raise RequestError("refusing to delete every object of the store", hint="Name a folder.", field="prefix")
    return check_prefix(prefix)


def check_source(path: Path) -> int:
    """The size of the regular file that is about to be stored."""
    try:
        found = path.stat()
    except OSError as error:
        raise LocalFailure(f"cannot read {path}: {error.strerror}", hint="Check the path.") from error
    if not stat.S_ISREG(found.st_mode):
        raise LocalFailure(f"cannot store {path}: not a regular file", hint="Give the path of a file.")
    return found.st_size


def check_conditions(*, if_absent: bool, if_match: str | None) -> None:
    """Refuse two conditions that can never hold together."""
    if if_absent and if_match is not None:
        raise RequestError(
            "a write cannot ask for both if_absent and if_match",
            hint="Create with if_absent, replace with if_match.",
            field="if_match",
        )


def key_missing(key: str, url: str) -> NotFound:
    """The error for an object that is not there."""
    return NotFound(f"no object {key!r} in {url}", reason="OBJECT_NOT_FOUND")


def precondition_failed(key: str, *, if_absent: bool) -> Conflict:
    """The error for a conditional write whose condition did not hold."""
    what = "it already exists" if if_absent else "it changed or vanished since it was read"
    return Conflict(
        f"object {key!r} was not written: {what}",
        hint="Read it again and decide anew.",
        reason="PRECONDITION_FAILED",
    )


def folder_clash(key: str, other: str) -> RequestError:
    """The error for a key that is a folder of another key, or the reverse."""
    return RequestError(
        f"object key {key!r} cannot be used beside {other!r}: one is a folder of the other",
        hint="Choose another key.",
        reason="KEY_INVALID",
        field="key",
    )
