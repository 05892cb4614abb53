"""Follow a selection to its end, or to where it awaits labels, across broken streams."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import grpc

from seedzoo.records import SelectionReport
from seedzoo_client.aio.connection import Connection
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.progress import ProgressCallback
from seedzoo_client.sight import CANCEL_SECONDS, ENDS, Sight, final_report, settled
from seedzoo_protos.v1 import selection_pb2

__all__ = ["AsyncWatcher"]


class AsyncWatcher:
    """Waits for selections; as :class:`seedzoo_client.watch.Watcher`.

    Args:
        connection: To the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = connection.selections

    async def report(
        self, started: selection_pb2.Selection, *, dataset: LocalDataset, progress: ProgressCallback
    ) -> SelectionReport:
        """Wait until the selection ends.

        Raises:
            Cancelled: Somebody cancelled it.
            ZooError: It failed, or the server cannot be reached for too long.
        """
        return final_report(await self.settled(started, dataset=dataset, progress=progress), progress=progress)

    async def settled(
        self, started: selection_pb2.Selection, *, dataset: LocalDataset, progress: ProgressCallback
    ) -> selection_pb2.Selection:
        """Wait until the selection has succeeded or awaits labels; errors as for :meth:`report`."""
        ended = started if started.state in ENDS else await self._follow(started.id, progress)
        return settled(ended, dataset=dataset)

    async def _follow(self, selection_id: str, progress: ProgressCallback) -> selection_pb2.Selection:
        connection = self._connection
        sight = Sight(selection_id, server=connection.server, retry=connection.retry, progress=progress)
        while True:
            failure: grpc.RpcError | None = None
            sight.opened()
            try:
                async with aclosing(connection.stream(self._stub.WatchSelection, sight.request)) as messages:
                    async for message in messages:
                        if (ended := sight.seen(message)) is not None:
                            return ended
            except grpc.RpcError as error:
                failure = error
            await asyncio.sleep(sight.lost(failure))

    async def abandon(self, request: selection_pb2.StartSelectionRequest, selection_id: str) -> None:
        """Cancel a selection, best effort: who wants to leave is not held up by an unreachable server.

        Args:
            request: What started it.
            selection_id: Empty where the call that started it was cancelled before it told: the same request finds
                the selection, or makes it, and then it is cancelled.
        """
        with suppress(grpc.RpcError):
            if not selection_id:
                found = await self._connection.call(self._stub.StartSelection, request, timeout=CANCEL_SECONDS)
                selection_id = found.id
            cancelled = selection_pb2.CancelSelectionRequest(selection_id=selection_id)
            await self._connection.call(self._stub.CancelSelection, cancelled, timeout=CANCEL_SECONDS)
