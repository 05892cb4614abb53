"""A model that arrives: the growing file, its lock, and the checks of what comes in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import grpc

from seedzoo.errors import IntegrityError, Unavailable
from seedzoo.files import local_failure
from seedzoo_client.cache import CachedModel
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.retry import Backoff
from seedzoo_client.settings import RetryConfig
from seedzoo_client.status import from_rpc_error, is_transient, trouble
from seedzoo_protos.v1 import catalog_pb2

try:
    import fcntl
except ImportError:  # Windows has no flock: two downloads of one model may then disturb, but never corrupt, each other
    fcntl = None  # type: ignore[assignment]

__all__ = ["Arriving", "Attempts", "finish_part", "half_file_removed", "open_part", "try_lock", "wrong_bytes"]

_BLOCK = 1 << 20


class Arriving:
    """A model's growing file, brought to its full size message by message.

    Args:
        file: The file, opened for this process alone.
        model: What it shall become.
    """

    def __init__(self, file: BinaryIO, model: CachedModel) -> None:
        self._file = file
        self._model = model
        # The release is named, so an alias that moves meanwhile cannot mix two models.
        self._name = f"{model.family}@{model.release}/{model.tag}"
        if file.seek(0, os.SEEK_END) > model.size:
            file.truncate(0)
        self._digest = _digest_of(file)

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self._file.seek(0, os.SEEK_END)

    @property
    def whole(self) -> bool:
        """Whether all bytes have arrived."""
        return self.size >= self._model.size

    @property
    def right(self) -> bool:
        """Whether the bytes are those that were published."""
        return self._digest.hexdigest() == self._model.sha256

    def request(self) -> catalog_pb2.DownloadModelRequest:
        """The request for the rest."""
        return catalog_pb2.DownloadModelRequest(variant=self._name, offset=self.size, int8=self._model.int8)

    def take(self, message: catalog_pb2.DownloadModelResponse) -> Progress | None:
        """Write what a message brings; how far the file is, where it brought bytes.

        Raises:
            IntegrityError: The server sends another file than it described.
            OSError: The disk is full or refuses.
        """
        model = self._model
        if message.WhichOneof("part") == "header":
            if (message.header.sha256, message.header.size) != (model.sha256, model.size):
                raise IntegrityError(f"the server offers another file for {self._name} than it described")
            return None
        arrived = self.size + len(message.chunk)
        if arrived > model.size:
            raise IntegrityError(f"the server sent more bytes for {self._name} than it announced")
        _write(self._file, message.chunk)
        self._digest.update(message.chunk)
        return Progress(Stage.DOWNLOADING, arrived, model.size)


class Attempts:
    """Streams of one download: whether another one is worth it, and when.

    Args:
        arriving: The file.
        model: What it shall become.
        server: The server's address as people are told.
        retry: How long a broken stream is taken up again.
        progress: Told while it does not move on.
    """

    def __init__(
        self, arriving: Arriving, model: CachedModel, *, server: str, retry: RetryConfig, progress: ProgressCallback
    ) -> None:
        self._arriving = arriving
        self._model = model
        self._server = server
        self._backoff = Backoff(retry, progress=progress)
        self._before = arriving.size

    def ended(self, failure: grpc.RpcError | None) -> float:
        """A stream ended, with or without failure: seconds to wait before the next one; 0 where none is needed.

        Raises:
            ZooError: It failed for good, or for too long.
        """
        if failure is not None and not is_transient(failure):
            raise from_rpc_error(failure, server=self._server) from failure
        now = self._arriving.size
        if now > self._before:
            self._backoff.progressed()
        self._before = now
        if now >= self._model.size:
            return 0.0
        seconds = self._backoff.delay(failure)
        if seconds is None:
            raise Unavailable(
                f"the download from {self._server} broke off at {now:,} of {self._model.size:,} bytes: "
                f"{trouble(failure)}",
                hint="What arrived is kept: run the same command again to get the rest.",
            ) from failure
        return seconds


def wrong_bytes(model: CachedModel) -> IntegrityError:
    """The error for a model that was downloaded in one piece and is not what was published."""
    return IntegrityError(
        f"the bytes of {model.family}/{model.tag} are not those that were published (SHA-256); nothing is kept",
        hint="Tell whoever runs the server: its store, or something on the way, is damaged.",
    )


def finish_part(file: BinaryIO, part: Path, target: Path) -> None:
    """Give the whole file its name, durably."""
    file.flush()
    os.fsync(file.fileno())
    part.replace(target)


@contextmanager
def half_file_removed(part: Path, target: Path) -> Iterator[None]:
    """Remove what has arrived where it is of no use.

    Raises:
        LocalFailure: The disk is full or refuses.
        IntegrityError: As it was raised inside.
    """
    try:
        yield
    except OSError as error:
        # A half file would keep a full disk full.
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise local_failure(error, target) from error
    except IntegrityError:
        part.unlink(missing_ok=True)
        raise


def open_part(part: Path) -> BinaryIO:
    """Open the growing file; unbuffered: after a broken stream the file's size says what has arrived."""
    return os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644), "r+b", buffering=0)


def try_lock(file: BinaryIO, part: Path, *, wait: bool) -> bool | None:
    """Take the growing file for this process alone.

    Args:
        file: As :func:`open_part` opened it.
        part: Its path.
        wait: Whether to wait for another process.

    Returns:
        True where it is ours; False where another process has it; None where whoever had it renamed or removed it:
        then it is no longer the file at this path.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
    return True if _is_at(file.fileno(), part) else None


def _digest_of(file: BinaryIO) -> hashlib._Hash:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest


def _write(file: BinaryIO, data: bytes) -> None:
    # An unbuffered file may take a part only, above all when the disk is nearly full.
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
