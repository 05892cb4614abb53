"""The label-efficient mode: the server names the image whose label says most, one after the other.

::

    session = zoo.label("unlabelled/", budget=50)
    while questions := session.next():
        session.submit({question.index: ask_somebody(question.path) for question in questions})
    report = session.finish()

A session belongs to the data, the release of the family, and the numbers that it was started with; starting it again
with the same goes on where it stood. A concluded one stays as it is, so a larger budget is a session of its own: it
asks the same first questions (same seed), which the labels given before answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import grpc

from seedzoo.errors import AlreadyExists, NotFound, RequestError, ZooError
from seedzoo.records import SelectionReport
from seedzoo_client.background import in_background
from seedzoo_client.labelling_state import (
    DATA_GONE,
    LabelDiffers,
    LabellingSettings,
    LabellingState,
    Question,
    data_gone,
    not_now,
    session_request,
    started_over,
    without_labels,
)
from seedzoo_client.progress import ProgressCallback, ignore
from seedzoo_client.retry import persistently
from seedzoo_client.settings import RetryConfig
from seedzoo_client.upload_steps import UploadedDataset
from seedzoo_client.watch import Watcher
from seedzoo_protos.v1 import selection_pb2, selection_pb2_grpc

__all__ = [
    "DATA_GONE",
    "LabelDiffers",
    "LabellingSession",
    "LabellingSettings",
    "Question",
    "open_session",
    "without_labels",
]

_T = TypeVar("_T")


class LabellingSession(LabellingState):
    """Questions and answers about one dataset; made by :meth:`seedzoo_client.Client.label`.

    Every label is stored on the server before :meth:`submit` returns. A question that was asked stays until it is
    answered, because leaving out images that are hard to label would bias the sample.

    Args:
        channel: Channel to the server.
        server: The server's address as people are told.
        timeout: Seconds for each call.
        retry: How long a call is repeated while the server is away.
        selection: The selection, which awaits labels or has succeeded.
        uploaded: The images.
        settings: What it was started with.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        server: str,
        timeout: float,
        retry: RetryConfig,
        selection: selection_pb2.Selection,
        uploaded: UploadedDataset,
        settings: LabellingSettings,
    ) -> None:
        super().__init__(selection=selection, uploaded=uploaded, settings=settings)
        self._stub = selection_pb2_grpc.SelectionServiceStub(channel)
        self._server = server
        self._timeout = timeout
        self._retry = retry

    def next(self, *, progress: ProgressCallback | None = None) -> tuple[Question, ...]:
        """What to label next: the rest of the random sample, then one image at a time.

        Returns:
            Nothing when the budget is used up, the session is concluded, or no further label could change the choice:
            all variants agree on what is left, or a single one can still be the best.

        Args:
            progress: Told while the server cannot be reached.
        """
        if self.report is not None:
            return ()
        request = self._next_request()
        try:
            return self._asked(self._call(lambda: self._stub.NextItems(request, timeout=self._timeout), progress))
        except RequestError as error:
            return self._none_asked(error)

    def submit(self, labels: Mapping[int, int | str], *, progress: ProgressCallback | None = None) -> int:
        """Give labels of images that were asked for; the same label again changes nothing.

        Args:
            labels: Index of the image to its class, by name or number.
            progress: Told while the server cannot be reached.

        Returns:
            How many labels there are now.

        Raises:
            RequestError: An image that was not asked for, or no class of the task.
            AlreadyExists: An image has another label already.
        """
        for request in self._label_requests(labels):
            try:
                answer = self._call(partial(self._stub.SubmitLabels, request, timeout=self._timeout), progress)
            except AlreadyExists as error:
                raise self._named(error) from error
            self.labelled = answer.labelled_count
        return self.labelled

    def knows(self, index: int, label: int | str, *, progress: ProgressCallback | None = None) -> bool:
        """Whether the server has this label, or takes it as the answer to its question; False where it did not ask.

        Raises:
            AlreadyExists: It has another one.
        """
        try:
            self.submit({index: label}, progress=progress)
        except AlreadyExists:
            raise
        except ZooError as error:
            if not_now(error):
                return False
            raise
        return True

    def finish(self, *, progress: ProgressCallback | None = None) -> SelectionReport:
        """Conclude with the labels given; the same answer whenever it is asked again."""
        if self.report is None:
            request = self._finish_request()
            answer = self._call(lambda: self._stub.SubmitLabels(request, timeout=self._timeout), progress)
            self._conclude(answer.selection.report)
        assert self.report is not None
        return self.report

    def _call(self, call: Callable[[], _T], progress: ProgressCallback | None) -> _T:
        try:
            return in_background(
                lambda show: persistently(call, config=self._retry, server=self._server, progress=show),
                progress=progress or ignore,
            )
        except NotFound as error:
            if (told := data_gone(error)) is None:
                raise
            raise told from error


def open_session(
    channel: grpc.Channel,
    uploaded: UploadedDataset,
    settings: LabellingSettings,
    *,
    family: str,
    server: str,
    timeout: float,
    retry: RetryConfig,
    progress: ProgressCallback,
) -> LabellingSession:
    """Start a session or take it up, and wait until everything is evaluated.

    Args:
        channel: Channel to the server.
        uploaded: The images.
        settings: Budget, audit, seed and levels.
        family: ``<family>@<release>``.
        server: The server's address as people are told.
        timeout: Seconds for each call.
        retry: How long a broken connection is taken up again.
        progress: Called as the work moves on.

    Raises:
        ZooError: The evaluation failed, or the server cannot be reached for too long.
    """
    stub = selection_pb2_grpc.SelectionServiceStub(channel)
    attempt = 0
    while True:
        request = session_request(uploaded, settings, family=family, attempt=attempt)
        started = persistently(
            partial(stub.StartSelection, request, timeout=timeout), config=retry, server=server, progress=progress
        )
        if not started_over(started):
            break
        attempt += 1
    watcher = Watcher(channel, server=server, retry=retry)
    selection = watcher.settled(started, dataset=uploaded.local, progress=progress)
    return LabellingSession(
        channel,
        server=server,
        timeout=timeout,
        retry=retry,
        selection=selection,
        uploaded=uploaded,
        settings=settings,
    )
