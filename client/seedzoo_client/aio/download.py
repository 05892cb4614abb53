"""Fetch a model into the cache: resumed where it broke off, verified, and visible only when whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import grpc

from seedzoo_client.aio.connection import Connection
from seedzoo_client.aio.threads import finished
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

__all__ = ["AsyncDownloader"]

_LOOK_SECONDS = 0.1


class AsyncDownloader:
    """Fetches models through one connection.

    Args:
        connection: To the server.
        cache: Where models go.
    """

    def __init__(self, connection: Connection, cache: ModelCache) -> None:
        self._connection = connection
        self._cache = cache

    async def fetch(self, model: CachedModel, *, progress: ProgressCallback) -> Path:
        """The whole, verified model in the cache; as :meth:`seedzoo_client.download.Downloader.fetch`.

        Raises:
            IntegrityError: What arrived is not what was published; nothing of it is kept.
            LocalFailure: The disk is full or refuses; no half file is kept.
            Unavailable: The stream stayed broken for too long; what arrived is kept for the next attempt.
        """
        find = partial(self._cache.find, model.sha256)
        found = await finished(find)
        if found is not None:
            return found
        await finished(self._cache.make_folders)
        part, target = self._cache.part_path(model.sha256), self._cache.model_path(model.sha256)
        with half_file_removed(part, target):
            async with _locked(part) as file:
                # Another task or process may have finished while this one waited for the lock.
                if await finished(find) is None:
                    await self._fill(file, model, progress)
                    await finished(partial(finish_part, file, part, target))
                else:
                    part.unlink(missing_ok=True)
        return target

    async def _fill(self, file: BinaryIO, model: CachedModel, progress: ProgressCallback) -> None:
        arriving = await finished(partial(Arriving, file, model))
        resumed = arriving.size > 0
        if await self._receive(arriving, model, progress):
            return
        # As in the synchronous client: only a download in one piece is blamed on the server.
        if resumed:
            file.truncate(0)
            if await self._receive(await finished(partial(Arriving, file, model)), model, progress):
                return
        raise wrong_bytes(model)

    async def _receive(self, arriving: Arriving, model: CachedModel, progress: ProgressCallback) -> bool:
        """Bring the file to its full size; whether its hash is right."""
        connection = self._connection
        attempts = Attempts(arriving, model, server=connection.server, retry=connection.retry, progress=progress)
        while not arriving.whole:
            failure: grpc.RpcError | None = None
            try:
                request = arriving.request()
                async with aclosing(connection.stream(connection.catalog.DownloadModel, request)) as messages:
                    async for message in messages:
                        report = await finished(partial(arriving.take, message))
                        if report is not None:
                            progress(report)
            except grpc.RpcError as error:
                failure = error
            await asyncio.sleep(attempts.ended(failure))
        return arriving.right


@asynccontextmanager
async def _locked(part: Path) -> AsyncIterator[BinaryIO]:
    """Open the growing file for this task alone; waits while another task or process downloads the same model."""
    while True:
        with open_part(part) as file:
            # A thread that waits for the lock could not be cancelled, and would keep it when it gets it.
            while (ours := try_lock(file, part, wait=False)) is False:
                await asyncio.sleep(_LOOK_SECONDS)
            if ours:
                yield file
                return
