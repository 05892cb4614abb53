"""The label-efficient mode of the asynchronous client; what it does is told in :mod:`seedzoo_client.labelling`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import grpc

from seedzoo.errors import AlreadyExists, NotFound, RequestError, ZooError
from seedzoo.records import SelectionReport
from seedzoo_client.aio.connection import Connection
from seedzoo_client.aio.watch import AsyncWatcher
from seedzoo_client.labelling_state import (
    LabellingSettings,
    LabellingState,
    Question,
    data_gone,
    not_now,
    session_request,
    started_over,
)
from seedzoo_client.progress import ProgressCallback, ignore
from seedzoo_client.upload_steps import UploadedDataset
from seedzoo_protos.v1 import selection_pb2

__all__ = ["AsyncLabellingSession", "open_async_session"]

_Q = TypeVar("_Q")
_R = TypeVar("_R")


class AsyncLabellingSession(LabellingState):
    """Questions and answers about one dataset; made by :meth:`seedzoo_client.AsyncClient.label`.

    Arguments, results and errors of its methods are those of :class:`seedzoo_client.LabellingSession`.

    Args:
        connection: To the server.
        selection: The selection, which awaits labels or has succeeded.
        uploaded: The images.
        settings: What it was started with.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        selection: selection_pb2.Selection,
        uploaded: UploadedDataset,
        settings: LabellingSettings,
    ) -> None:
        super().__init__(selection=selection, uploaded=uploaded, settings=settings)
        self._connection = connection
        self._stub = connection.selections

    async def next(self, *, progress: ProgressCallback | None = None) -> tuple[Question, ...]:
        """What to label next: the rest of the random sample, then one image at a time; nothing at the end."""
        if self.report is not None:
            return ()
        try:
            return self._asked(await self._call(self._stub.NextItems, self._next_request(), progress))
        except RequestError as error:
            return self._none_asked(error)

    async def submit(self, labels: Mapping[int, int | str], *, progress: ProgressCallback | None = None) -> int:
        """Give labels of images that were asked for; how many there are now.

        Raises:
            RequestError: An image that was not asked for, or no class of the task.
            AlreadyExists: An image has another label already.
        """
        for request in self._label_requests(labels):
            try:
                answer = await self._call(self._stub.SubmitLabels, request, progress)
            except AlreadyExists as error:
                raise self._named(error) from error
            self.labelled = answer.labelled_count
        return self.labelled

    async def knows(self, index: int, label: int | str, *, progress: ProgressCallback | None = None) -> bool:
        """Whether the server has this label, or takes it as the answer to its question; False where it did not ask.

        Raises:
            AlreadyExists: It has another one.
        """
        try:
            await self.submit({index: label}, progress=progress)
        except AlreadyExists:
            raise
        except ZooError as error:
            if not_now(error):
                return False
            raise
        return True

    async def finish(self, *, progress: ProgressCallback | None = None) -> SelectionReport:
        """Conclude with the labels given; the same answer whenever it is asked again."""
        if self.report is None:
            answer = await self._call(self._stub.SubmitLabels, self._finish_request(), progress)
            self._conclude(answer.selection.report)
        assert self.report is not None
        return self.report

    async def _call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[_Q, _R], request: _Q, progress: ProgressCallback | None
    ) -> _R:
        try:
            return await self._connection.persistently(method, request, progress=progress or ignore)
        except NotFound as error:
            if (told := data_gone(error)) is None:
                raise
            raise told from error


async def open_async_session(
    connection: Connection,
    uploaded: UploadedDataset,
    settings: LabellingSettings,
    *,
    family: str,
    progress: ProgressCallback,
) -> AsyncLabellingSession:
    """Start a session or take it up, and wait until everything is evaluated.

    Args:
        connection: To the server.
        uploaded: The images.
        settings: Budget, audit, seed and levels.
        family: ``<family>@<release>``.
        progress: Called as the work moves on.

    Raises:
        ZooError: The evaluation failed, or the server cannot be reached for too long.
    """
    attempt = 0
    while True:
        request = session_request(uploaded, settings, family=family, attempt=attempt)
        started = await connection.persistently(connection.selections.StartSelection, request, progress=progress)
        if not started_over(started):
            break
        attempt += 1
    selection = await AsyncWatcher(connection).settled(started, dataset=uploaded.local, progress=progress)
    return AsyncLabellingSession(connection, selection=selection, uploaded=uploaded, settings=settings)
