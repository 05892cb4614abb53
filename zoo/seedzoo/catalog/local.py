"""An object store in a directory: one file per object, readable with ordinary tools.

Writes go to a temporary file in ``<root>/.seedzoo/tmp``, are synced, and then take their name in one step,
so a crash leaves the old object or the new one, never half of either. Creating uses ``os.link``, which fails
where the name is taken; replacing and deleting hold a file lock, so a comparison and the write it allows are
one step for every process on this machine.

An etag is the SHA-256 of the content up to 1 MiB, which covers every record that is compared and swapped.
Larger objects (models, packs) get inode, size and time of writing instead: hashing them would make a listing
read gigabytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from seedzoo.catalog.local_root import ABSENT, local_root, translate
from seedzoo.catalog.store import (
    RESERVED_SEGMENT,
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
    valid_segment,
)
from seedzoo.errors import StoreError, ZooError
from seedzoo.flock import flock, require_flock

__all__ = ["LocalStore"]

_HASHED_SIZE = 1 << 20
_COPY_SIZE = 1 << 20
_LOCK_STRIPES = 256
_STALE_TEMP_S = 24 * 3600.0
_FOLDER_RACES = 100

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


def _sync_folder(folder: Path) -> None:
    """Make a new name durable; a few network file systems cannot sync a folder and need not."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # somebody removed its last object meanwhile
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def _etag(file: BinaryIO, found: os.stat_result) -> str:
    if found.st_size > _HASHED_SIZE:
        return f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
    return hashlib.sha256(os.pread(file.fileno(), _HASHED_SIZE, 0)).hexdigest()


class LocalStore(ClosingStore):
    """An ObjectStore in a directory, which the first write creates.

    Args:
        root: The directory. Everything in it that is a regular file is an object.

    Raises:
        RequestError: It is a file, or in the home of a user that does not exist.
        LocalFailure: This system has no locks on files, or it cannot be looked at.
        StoreError: No directory can be called so.
    """

    def __init__(self, root: Path | str) -> None:
        require_flock()
        self._root = local_root(root)
        self._temp = self._root / RESERVED_SEGMENT / "tmp"
        self._locks = self._root / RESERVED_SEGMENT / "locks"
        self._ready = False

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    @property
    def root(self) -> Path:
        """The directory."""
        return self._root

    @property
    def url(self) -> str:
        """Where the store is, for people."""
        return self._root.as_uri()

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*check_key(key).split("/"))

    @contextmanager
    def _reading(self, key: str) -> Iterator[BinaryIO]:
        """The object's file; none is ever changed in place, so an open one is one version of the object."""
        try:
            with self._path(key).open("rb") as file:
                yield file
        except ABSENT:
            raise key_missing(key, self.url) from None
        except OSError as error:
            raise translate(error, f"cannot read {key!r} in {self.url}") from error

    def get(self, key: str) -> bytes:
        """See :meth:`ObjectStore.get`."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See :meth:`ObjectStore.get_with_etag`."""
        with self._reading(key) as file:
            data = file.read()
            return data, _etag(file, os.fstat(file.fileno()))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """See :meth:`ObjectStore.get_range`."""
        check_range(offset, length)
        with self._reading(key) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(min(offset, size))
            return file.read(min(length, max(0, size - offset)))

    def read_stream(self, key: str, offset: int = 0, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """See :meth:`ObjectStore.read_stream`."""
        check_range(offset, chunk_size, least=1)
        with self._reading(key) as file:
            file.seek(min(offset, os.fstat(file.fileno()).st_size))
            while chunk := file.read(chunk_size):
                yield chunk

    def head(self, key: str) -> ObjectInfo:
        """See :meth:`ObjectStore.head`."""
        with self._reading(key) as file:
            found = os.fstat(file.fileno())
            modified = datetime.fromtimestamp(found.st_mtime, UTC)
            return ObjectInfo(key, found.st_size, _etag(file, found), modified)

    def exists(self, key: str) -> bool:
        """See :meth:`ObjectStore.exists`."""
        try:
            return self._path(key).is_file()
        except OSError as error:
            raise translate(error, f"cannot look for {key!r} in {self.url}") from error

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """See :meth:`ObjectStore.put`."""
        check_conditions(if_absent=if_absent, if_match=if_match)
        return self._write(key, lambda file: file.write(data), if_absent=if_absent, if_match=if_match)

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> str:
        """See :meth:`ObjectStore.put_file`."""
        check_source(path)
        try:
            source = path.open("rb")
        except OSError as error:
            raise translate(error, f"cannot read {path}") from error
        with source:
            return self._write(
                key,
                lambda file: shutil.copyfileobj(source, file, _COPY_SIZE),
                if_absent=if_absent,
                if_match=None,
            )

    def _write(self, key: str, fill: Callable[[BinaryIO], object], *, if_absent: bool, if_match: str | None) -> str:
        target = self._path(key)
        temp = self._temp / secrets.token_hex(16)
        try:
            self._make_private_folders()
            with temp.open("x+b") as file:
                fill(file)
                file.flush()
                # The kernel's own time advances in steps of milliseconds; two versions must not share one.
                os.utime(file.fileno(), ns=(time.time_ns(), time.time_ns()))
                os.fsync(file.fileno())
                etag = _etag(file, os.fstat(file.fileno()))
            self._place(temp, target, key, if_absent=if_absent, if_match=if_match)
        except OSError as error:
            raise translate(error, f"cannot write {key!r} in {self.url}") from error
        finally:
            with suppress(OSError):
                temp.unlink(missing_ok=True)
        return etag

    def _make_private_folders(self) -> None:
        if self._ready:
            return
        self._temp.mkdir(parents=True, exist_ok=True)
        self._locks.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._ready = True

    def _sweep(self) -> None:
        """Remove temporary files that a crash left more than a day ago."""
        for left in self._temp.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _STALE_TEMP_S:
                    left.unlink()

    def _place(self, temp: Path, target: Path, key: str, *, if_absent: bool, if_match: str | None) -> None:
        """Give the finished file its name, if the condition holds."""
        for _ in range(_FOLDER_RACES):
            self._make_folder(target.parent, key)
            try:
                if if_absent:
                    self._link(temp, target, key)
                else:
                    self._replace(temp, target, key, if_match)
            except FileNotFoundError:
                continue  # somebody removed the last object of the folder, and the folder with it
            except IsADirectoryError:
                self._remove_empty_folder(target, key)
                continue
            _sync_folder(target.parent)
            return
        raise StoreError(f"cannot write {key!r} in {self.url}: its folder keeps vanishing", hint="Retry.")

    def _link(self, temp: Path, target: Path, key: str) -> None:
        try:
            os.link(temp, target)
        except FileExistsError:
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
            raise precondition_failed(key, if_absent=True) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with self._lock(key):
                if target.is_file():
                    raise precondition_failed(key, if_absent=True) from None
                temp.replace(target)

    def _replace(self, temp: Path, target: Path, key: str, if_match: str | None) -> None:
        with self._lock(key):
            if if_match is not None and self._current_etag(target) != if_match:
                raise precondition_failed(key, if_absent=False)
            temp.replace(target)

    @staticmethod
    def _current_etag(target: Path) -> str | None:
        try:
            with target.open("rb") as file:
                return _etag(file, os.fstat(file.fileno()))
        except ABSENT:
            return None

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold the lock of a key; all keys share a few files, for removing a lock file breaks the lock."""
        stripe = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % _LOCK_STRIPES
        handle = os.open(self._locks / f"{stripe:02x}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            flock(handle)
            yield
        finally:
            os.close(handle)

    def _make_folder(self, folder: Path, key: str) -> None:
        if folder.is_dir() or folder == self._root:
            return
        self._make_folder(folder.parent, key)
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise folder_clash(key, folder.relative_to(self._root).as_posix()) from None
        except FileNotFoundError:
            self._make_folder(folder, key)
        else:
            _sync_folder(folder.parent)

    def _remove_empty_folder(self, folder: Path, key: str) -> None:
        inside = next(self._walk(folder, key + "/"), None)
        if inside is not None:
            raise folder_clash(key, inside[0])
        for place, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # somebody was faster, or is writing into it: the caller looks again
                Path(place).rmdir()

    def delete(self, key: str) -> None:
        """See :meth:`ObjectStore.delete`."""
        self._delete(key)

    def _delete(self, key: str) -> bool:
        target = self._path(key)
        if not self._root.is_dir():
            return False
        try:
            self._make_private_folders()
            with self._lock(key):
                target.unlink()
        except ABSENT:
            return False
        except OSError as error:
            if target.is_dir():
                return False
            raise translate(error, f"cannot delete {key!r} in {self.url}") from error
        for folder in target.parents:
            if folder == self._root:
                break
            try:
                folder.rmdir()
            except OSError:
                break
        _sync_folder(folder)
        return True

    def delete_prefix(self, prefix: str) -> int:
        """See :meth:`ObjectStore.delete_prefix`."""
        start = check_folder_to_delete(prefix)
        keys = [key for key, _ in self._walk(self._root / start, start)]
        return sum(self._delete(key) for key in keys)

    def _walk(self, folder: Path, start: str) -> Iterator[tuple[str, Path]]:
        """Keys and files below a folder, in the order of the keys."""
        try:
            with os.scandir(folder) as found:
                # "a-b" sorts before "a/x", so a folder takes its place by its name with the slash.
                entries = sorted((entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in found)
        except ABSENT:
            return
        except OSError as error:
            raise translate(error, f"cannot list {folder}") from error
        for name, entry in entries:
            if not valid_segment(entry.name) or (not start and entry.name == RESERVED_SEGMENT):
                continue
            if name.endswith("/"):
                yield from self._walk(folder / entry.name, start + name)
            elif entry.is_file():
                yield start + name, folder / entry.name

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See :meth:`ObjectStore.list`."""
        start = check_prefix(prefix)
        for key, _ in self._walk(self._root / start, start):
            try:
                yield self.head(key)
            except ZooError as error:
                if error.reason != "OBJECT_NOT_FOUND":  # deleted while the listing ran
                    raise

    def list_folders(self, prefix: str, *, hollow: bool = False) -> Iterator[str]:
        """See :meth:`ObjectStore.list_folders`."""
        start = check_prefix(prefix)
        folder = self._root / start
        try:
            with os.scandir(folder) as found:
                names = sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False))
        except ABSENT:
            return
        except OSError as error:
            raise translate(error, f"cannot list {folder}") from error
        for name in names:
            if not valid_segment(name) or (not start and name == RESERVED_SEGMENT):
                continue
            if hollow or any(self._walk(folder / name, f"{start}{name}/")):
                yield name

    def presign_get(self, key: str, expires_s: int) -> str | None:  # noqa: ARG002  (nothing to sign for)
        """None: a file has no URL that others could read."""
        check_key(key)
        return None
