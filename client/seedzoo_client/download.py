"""Fetch a model into the cache: resumed where it broke off, verified, and visible only when whole."""

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
from seedzoo_client.cache import CachedModel, ModelCache
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.retry import Backoff
from seedzoo_client.settings import RetryConfig
from seedzoo_client.status import from_rpc_error, is_transient, trouble
from seedzoo_protos.v1 import catalog_pb2, catalog_pb2_grpc

try:
    import fcntl
except ImportError:  # Windows has no flock: two downloads of one model may then disturb, but never corrupt, each other
    fcntl = None  # type: ignore[assignment]

__all__ = ["Downloader"]

_BLOCK = 1 << 20


class Downloader:
    """Fetches models through one channel.

    Args:
        channel: Channel to the server.
        cache: Where models go.
        server: The server's address as people are told.
        retry: How long a broken stream is taken up again.
    """

    def __init__(self, channel: grpc.Channel, cache: ModelCache, *, server: str, retry: RetryConfig) -> None:
        self._stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        self._cache = cache
        self._server = server
        self._retry = retry

    def fetch(self, model: CachedModel, *, progress: ProgressCallback) -> Path:
        """The whole, verified model in the cache; downloaded only when it is not there.

        Raises:
            IntegrityError: What arrived is not what was published; nothing of it is kept.
            LocalFailure: The disk is full or refuses; no half file is kept.
            Unavailable: The stream stayed broken for too long; what arrived is kept for the next attempt.
        """
        found = self._cache.find(model.sha256)
        if found is not None:
            return found
        self._cache.make_folders()
        part, target = self._cache.part_path(model.sha256), self._cache.model_path(model.sha256)
        try:
            with _locked(part) as file:
                # Another process may have finished while this one waited for the lock.
                found = self._cache.find(model.sha256)
                if found is None:
                    self._fill(file, model, progress)
                    file.flush()
                    os.fsync(file.fileno())
                    part.replace(target)
                else:
                    part.unlink(missing_ok=True)
        except OSError as error:
            # A half file would keep a full disk full.
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise local_failure(error, target) from error
        except IntegrityError:
            part.unlink(missing_ok=True)
            raise
        return target

    def _fill(self, file: BinaryIO, model: CachedModel, progress: ProgressCallback) -> None:
        resumed = file.seek(0, os.SEEK_END) > 0
        if self._receive(file, model, progress):
            return
        # Bytes from an earlier run may have been damaged since; only a download in one piece is blamed on the server.
        if resumed:
            file.truncate(0)
            if self._receive(file, model, progress):
                return
        raise IntegrityError(
            f"the bytes of {model.family}/{model.tag} are not those that were published (SHA-256); nothing is kept",
            hint="Tell whoever runs the server: its store, or something on the way, is damaged.",
        )

    def _receive(self, file: BinaryIO, model: CachedModel, progress: ProgressCallback) -> bool:
        """Bring the file to its full size; whether its hash is right."""
        if file.seek(0, os.SEEK_END) > model.size:
            file.truncate(0)
        digest = _digest_of(file)
        backoff = Backoff(self._retry, progress=progress)
        while (offset := file.seek(0, os.SEEK_END)) < model.size:
            failure: grpc.RpcError | None = None
            try:
                self._stream(file, digest, model, progress)
            except grpc.RpcError as error:
                if not is_transient(error):
                    raise from_rpc_error(error, server=self._server) from error
                failure = error
            now = file.seek(0, os.SEEK_END)
            if now > offset:
                backoff.progressed()
            if now < model.size and not backoff.pause(trouble(failure)):
                raise Unavailable(
                    f"the download from {self._server} broke off at {now:,} of {model.size:,} bytes: "
                    f"{trouble(failure)}",
                    hint="What arrived is kept: run the same command again to get the rest.",
                ) from failure
        return digest.hexdigest() == model.sha256

    def _stream(self, file: BinaryIO, digest: hashlib._Hash, model: CachedModel, progress: ProgressCallback) -> None:
        offset = file.tell()
        # The release is named, so an alias that moves meanwhile cannot mix two models.
        name = f"{model.family}@{model.release}/{model.tag}"
        request = catalog_pb2.DownloadModelRequest(variant=name, offset=offset, int8=model.int8)
        call = self._stub.DownloadModel(request)
        try:
            for message in call:
                if message.WhichOneof("part") == "header":
                    if (message.header.sha256, message.header.size) != (model.sha256, model.size):
                        raise IntegrityError(f"the server offers another file for {name} than it described")
                    continue
                offset += len(message.chunk)
                if offset > model.size:
                    raise IntegrityError(f"the server sent more bytes for {name} than it announced")
                _write(file, message.chunk)
                digest.update(message.chunk)
                progress(Progress(Stage.DOWNLOADING, offset, model.size))
        finally:
            call.cancel()


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


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open the growing file for this process alone; waits while another one downloads the same model."""
    while True:
        # Unbuffered: after a broken stream the file's size says what has arrived.
        file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644), "r+b", buffering=0)
        with file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held the lock may have renamed or removed this file: then it is no longer the one at this path.
            if _is_at(file.fileno(), part):
                yield file
                return


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
