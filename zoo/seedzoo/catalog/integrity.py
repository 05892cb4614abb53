"""Check stored bytes against the size and SHA-256 that were committed: nothing unverified is ever used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import IntegrityError, LocalFailure

__all__ = ["VerifiedReader", "get_verified", "sha256_file", "sha256_hex", "stream_verified"]

_READ_SIZE = 1 << 20


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of bytes as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's content, read in pieces, as 64 lower-case hexadecimal digits."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LocalFailure(f"cannot read {path}: {error.strerror}", hint="Check the path.") from error


class VerifiedReader:
    """Passes chunks of one object on and raises as soon as they cannot be what was committed.

    The last chunk leaves only after the whole has been verified, so a consumer that got all bytes got the
    right ones; one that stopped early, or saw an error, must drop what it has.

    Args:
        chunks: The object's bytes from the start.
        key: Its key, for the error.
        size: Committed bytes.
        sha256: Committed digest, hexadecimal.
    """

    def __init__(self, chunks: Iterator[bytes], *, key: str, size: int, sha256: str) -> None:
        self._chunks = chunks
        self._key = key
        self._size = size
        self._sha256 = sha256.lower()

    def _damaged(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"object {self._key!r} {what}",
            hint="It was damaged or changed in the store: restore it from a backup, or publish it again.",
        )

    def __iter__(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        seen = 0
        held: bytes | None = None
        for chunk in self._chunks:
            seen += len(chunk)
            if seen > self._size:
                raise self._damaged(f"is longer than the committed {self._size} bytes")
            digest.update(chunk)
            if held is not None:
                yield held
            held = chunk
        if seen != self._size:
            raise self._damaged(f"has {seen} bytes, committed were {self._size}")
        if digest.hexdigest() != self._sha256:
            raise self._damaged(f"has SHA-256 {digest.hexdigest()}, committed was {self._sha256}")
        if held is not None:
            yield held


def get_verified(store: ObjectStore, key: str, *, size: int, sha256: str) -> bytes:
    """The whole object, if it is what was committed.

    Raises:
        IntegrityError: Size or SHA-256 differ; the message names the key and both values.
        NotFound: No such object.
    """
    return b"".join(VerifiedReader(store.read_stream(key), key=key, size=size, sha256=sha256))


def stream_verified(
    store: ObjectStore, key: str, *, size: int, sha256: str, offset: int = 0, chunk_size: int = _READ_SIZE
) -> Iterator[bytes]:
    """The bytes from ``offset`` on, the last chunk only after all of them were verified.

    A resumed download (``offset`` > 0) still reads the object from the start: a digest needs every byte.

    Raises:
        IntegrityError: Size or SHA-256 differ; raised before the last chunk.
        NotFound: No such object; raised by the first ``next()``.
    """
    skip = offset
    for chunk in VerifiedReader(store.read_stream(key, chunk_size=chunk_size), key=key, size=size, sha256=sha256):
        if skip < len(chunk):
            yield chunk[skip:]
        skip = max(0, skip - len(chunk))
