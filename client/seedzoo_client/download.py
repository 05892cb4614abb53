"""Fetch a model into the cache: resumed where it broke off, verified, and visible only when whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import grpc

from seedzoo_client.arriving import (
    Arriving,
    Attempts,
    finish_part,
    half_file_removed,
    open_part,
    try_lock,
    wrong_bytes,
)
from seedzoo_client.cache import CachedModel, ModelCache
from seedzoo_client.progress import ProgressCallback
from seedzoo_client.settings import RetryConfig
from seedzoo_protos.v1 import catalog_pb2_grpc

__all__ = ["Downloader"]


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
        with half_file_removed(part, target), _locked(part) as file:
            # Another process may have finished while this one waited for the lock.
            if self._cache.find(model.sha256) is None:
                self._fill(file, model, progress)
                finish_part(file, part, target)
            else:
                part.unlink(missing_ok=True)
        return target

    def _fill(self, file: BinaryIO, model: CachedModel, progress: ProgressCallback) -> None:
        arriving = Arriving(file, model)
        resumed = arriving.size > 0
        if self._receive(arriving, model, progress):
            return
        # Bytes from an earlier run may have been damaged since; only a download in one piece is blamed on the server.
        if resumed:
            file.truncate(0)
            if self._receive(Arriving(file, model), model, progress):
                return
        raise wrong_bytes(model)

    def _receive(self, arriving: Arriving, model: CachedModel, progress: ProgressCallback) -> bool:
        """Bring the file to its full size; whether its hash is right."""
        attempts = Attempts(arriving, model, server=self._server, retry=self._retry, progress=progress)
        while not arriving.whole:
            failure: grpc.RpcError | None = None
            call = self._stub.DownloadModel(arriving.request())
            try:
                for message in call:
                    if (report := arriving.take(message)) is not None:
                        progress(report)
            except grpc.RpcError as error:
                failure = error
            finally:
                call.cancel()
            time.sleep(attempts.ended(failure))
        return arriving.right


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open the growing file for this process alone; waits while another one downloads the same model."""
    while True:
        with open_part(part) as file:
            if try_lock(file, part, wait=True):
                yield file
                return
