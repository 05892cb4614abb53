"""Snapshots of unfinished work: one state per job, in a local folder or an object store, whole or not there at all."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import NotFound
from seedzoo.files import local_failure, write_atomically

__all__ = ["FolderSnapshots", "Snapshots", "StoreSnapshots"]

_MAGIC = b"seedzoo-snapshot-1"


class Snapshots(Protocol):
    """Where one job keeps its latest state, to go on from after its worker died."""

    def load(self) -> bytes | None:
        """The state that was saved last, or None to begin from the beginning."""
        ...

    def save(self, raw: bytes) -> None:
        """Keep this state in place of the one before; durable when it returns."""
        ...

    def clear(self) -> None:
        """Forget the state: the job is finished."""
        ...


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def _sealed(content: bytes, key: str) -> bytes:
    return b"%s %s %s\n" % (_MAGIC, key.encode(), _digest(content, key)) + content


def _digest(content: bytes, key: str) -> bytes:
    return hashlib.sha256(key.encode() + b"\n" + content).hexdigest().encode()


def _opened(raw: bytes, key: str, *, where: str, on_damage: Callable[[str], None]) -> bytes | None:
    head, _, content = raw.partition(b"\n")
    match head.split(b" "):
        case [magic, of, digest] if magic == _MAGIC and digest == _digest(content, of.decode(errors="replace")):
            return content if of == key.encode() else None  # of another recipe: nothing is wrong with it
        case _:
            on_damage(f"the snapshot {where} is damaged; the work that it was of starts again from the beginning")
            return None


class FolderSnapshots:
    """A snapshot in a file.

    Args:
        path: The file; its folder is created when needed.
        key: What the snapshot belongs to, without blanks; one of another key is not loaded.
        on_damage: Told when a snapshot is damaged, which is then treated as missing; a warning when omitted.
    """

    def __init__(self, path: Path, *, key: str, on_damage: Callable[[str], None] = _warn) -> None:
        self._path = path
        self._key = key
        self._on_damage = on_damage

    def load(self) -> bytes | None:
        """See :class:`Snapshots`."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise local_failure(error, self._path) from error
        return _opened(raw, self._key, where=str(self._path), on_damage=self._on_damage)

    def save(self, raw: bytes) -> None:
        """See :class:`Snapshots`. Raises LocalFailure (disk full)."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise local_failure(error, self._path) from error
        write_atomically(self._path, _sealed(raw, self._key))

    def clear(self) -> None:
        """See :class:`Snapshots`."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise local_failure(error, self._path) from error


class StoreSnapshots:
    """A snapshot in an object store: the worker that goes on may run on another machine.

    Args:
        store: The store.
        name: The object's key in it.
        key: What the snapshot belongs to, without blanks; one of another key is not loaded.
        on_damage: As for :class:`FolderSnapshots`.
    """

    def __init__(self, store: ObjectStore, name: str, *, key: str, on_damage: Callable[[str], None] = _warn) -> None:
        self._store = store
        self._name = name
        self._key = key
        self._on_damage = on_damage

    def load(self) -> bytes | None:
        """See :class:`Snapshots`. Raises StoreError."""
        try:
            raw = self._store.get(self._name)
        except NotFound:
            return None
        return _opened(raw, self._key, where=f"{self._name} in {self._store.url}", on_damage=self._on_damage)

    def save(self, raw: bytes) -> None:
        """See :class:`Snapshots`. Raises StoreError."""
        self._store.put(self._name, _sealed(raw, self._key))

    def clear(self) -> None:
        """See :class:`Snapshots`. Raises StoreError."""
        self._store.delete(self._name)
