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

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import grpc

from seedzoo.errors import AlreadyExists, NotFound, RequestError, ZooError
from seedzoo.records import SelectionReport
from seedzoo_client.arguments import as_number, as_whole
from seedzoo_client.background import in_background
from seedzoo_client.convert import selection_report
from seedzoo_client.datasets import DataSource, LocalDataset, scan_source
from seedzoo_client.labels import shorten
from seedzoo_client.progress import ProgressCallback, ignore
from seedzoo_client.quoting import quoted
from seedzoo_client.retry import persistently
from seedzoo_client.scan import Scan, scan_data
from seedzoo_client.settings import RetryConfig
from seedzoo_client.upload import UploadedDataset
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

DATA_GONE = frozenset({"DATASET_UNKNOWN", "SELECTION_UNKNOWN"})
"""Reasons that a server gives for images, or what was made of them, that it does not have (any more)."""

_CONCLUDED = "SELECTION_CONCLUDED"
_NOT_NOW = frozenset({"ITEM_NOT_ASKED", _CONCLUDED})
_STARTED_OVER = frozenset({selection_pb2.SELECTION_STATE_FAILED, selection_pb2.SELECTION_STATE_CANCELLED})
_PER_CALL = 1000
_OTHER_LABEL = re.compile(r"item (\d+) has the label (\d+) already, not (\d+)")


class LabelDiffers(AlreadyExists):
    """The server has another label of an image.

    Args:
        message: As in ZooError.
        known: The class that the server has.
        hint: As in ZooError.
    """

    default_reason = "LABEL_DIFFERS"

    def __init__(self, message: str, *, known: int, hint: str) -> None:
        super().__init__(message, hint=hint, field="labels")
        self.known = known


@dataclass(frozen=True, slots=True)
class LabellingSettings:
    """What a session is started with.

    Raises:
        RequestError: A number that cannot be used.
    """

    budget: int
    """Labels in all, those of the random sample included."""
    audit: int = 0
    """Size of a random sample that is asked for first, from which the accuracy is stated; 0 for none."""
    seed: int = 0
    """Same data and seed: same questions, as long as the answers are the same."""
    alpha: float = 0.05
    delta: float = 0.01

    def __post_init__(self) -> None:
        for name in ("budget", "audit", "seed"):
            object.__setattr__(self, name, as_whole(getattr(self, name), field=name))
        for name in ("alpha", "delta"):
            object.__setattr__(self, name, as_number(getattr(self, name), field=name))
        if self.budget < 1:
            raise RequestError(f"budget must be at least 1, not {self.budget}", field="budget")
        if not 0 <= self.audit <= self.budget:
            raise RequestError(
                f"audit must lie between 0 and the budget of {self.budget}, not {self.audit}",
                hint="Its labels count too: raise the budget.",
                field="audit",
            )
        if not 0 <= self.seed < 1 << 63:
            raise RequestError(f"seed must lie between 0 and 2^63 - 1, not {self.seed}", field="seed")
        for name, value in (("alpha", self.alpha), ("delta", self.delta)):
            if not 0 < value < 1:
                raise RequestError(f"{name} must lie between 0 and 1, not {value:g}", field=name)

    def request_id(self, dataset_id: str, family: str, attempt: int) -> str:
        """The same whenever the same session is started; ``family`` names a release."""
        told = [dataset_id, family, self.budget, self.audit, self.seed, self.alpha, self.delta, attempt]
        return f"label-{hashlib.sha256(json.dumps(told).encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Question:
    """An image whose label is wanted."""

    index: int
    path: Path
    probability: float | None
    """With what probability it was drawn; None for the random sample and where all variants agree."""


class LabellingSession:
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
        self._stub = selection_pb2_grpc.SelectionServiceStub(channel)
        self._server = server
        self._timeout = timeout
        self._retry = retry
        self.settings = settings
        self.selection_id = selection.id
        self.dataset_id = uploaded.id
        self.dataset: LocalDataset = uploaded.local
        self.warnings = uploaded.warnings
        """What is probably a mistake in the data."""
        self.report: SelectionReport | None = None
        """The answer, once the session is concluded."""
        self.labelled = 0
        """Labels given so far."""
        self.leader = ""
        """The variant that would be recommended now."""
        self.candidates = 0
        """How many variants may still be the best."""
        self.settled = False
        """Whether no further label could change the choice."""
        if selection.state == selection_pb2.SELECTION_STATE_SUCCEEDED:
            self._conclude(selection.report)

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
        request = selection_pb2.NextItemsRequest(selection_id=self.selection_id)
        try:
            answer = self._call(lambda: self._stub.NextItems(request, timeout=self._timeout), progress)
        except RequestError as error:
            # A client that died while it concluded has left this to us.
            if error.reason == _CONCLUDED:
                self.settled = True
                return ()
            raise
        self.labelled = answer.labelled_count
        self.leader = answer.leader
        self.candidates = answer.candidate_count
        undecided = answer.disagreement_left and answer.candidate_count > 1
        # The random sample comes before everything else.
        self.settled = not answer.items or not (undecided or self.labelled < self.settings.audit)
        if self.settled:
            return ()
        return tuple(
            Question(
                index=item.index,
                path=self.dataset.items[item.index].path,
                probability=item.probability if item.HasField("probability") else None,
            )
            for item in answer.items[: max(self.settings.budget - self.labelled, 0)]
        )

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
        if not isinstance(labels, Mapping):
            raise RequestError(
                f"labels must map images to classes, not {quoted(labels)}",
                hint="Give {question.index: class name or number}.",
                field="labels",
            )
        items = [
            selection_pb2.ItemLabel(index=self._item_number(index), label=self._class_number(label))
            for index, label in labels.items()
        ]
        for start in range(0, len(items), _PER_CALL):
            request = selection_pb2.SubmitLabelsRequest(
                selection_id=self.selection_id, labels=items[start : start + _PER_CALL]
            )
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
            if error.reason in _NOT_NOW:
                return False
            raise
        return True

    def finish(self, *, progress: ProgressCallback | None = None) -> SelectionReport:
        """Conclude with the labels given; the same answer whenever it is asked again."""
        if self.report is None:
            request = selection_pb2.SubmitLabelsRequest(selection_id=self.selection_id, finish=True)
            answer = self._call(lambda: self._stub.SubmitLabels(request, timeout=self._timeout), progress)
            self._conclude(answer.selection.report)
        assert self.report is not None
        return self.report

    def _conclude(self, report: selection_pb2.SelectionReport) -> None:
        self.report = selection_report(report)
        self.labelled = self.report.n_examples
        self.leader = self.report.recommended
        self.candidates = len(self.report.candidates)

    def _item_number(self, index: int) -> int:
        found = as_whole(index, field="labels")
        if not 0 <= found < len(self.dataset.items):
            raise RequestError(f"there is no image {found}: the data have {len(self.dataset.items)}", field="labels")
        return found

    def _class_number(self, label: int | str) -> int:
        classes = self.dataset.classes
        found = classes.index(label) if isinstance(label, str) and label in classes else None
        if found is None and not isinstance(label, str):
            found = as_whole(label, field="labels")
        if found is None or not 0 <= found < len(classes):
            raise RequestError(
                f"{quoted(label)} is no class; there are: {shorten(classes)}",
                hint=f"Classes may be given by number too, 0 to {len(classes) - 1}.",
                field="labels",
            )
        return found

    def _named(self, error: AlreadyExists) -> AlreadyExists:
        """The error with the image's path and the classes' names, which the server does not know."""
        found = _OTHER_LABEL.fullmatch(error.message)
        index, known, given = map(int, found.groups()) if found else (-1, -1, -1)
        classes = self.dataset.classes
        if not (0 <= index < len(self.dataset.items) and 0 <= known < len(classes) and 0 <= given < len(classes)):
            return error
        return LabelDiffers(
            f"{self.dataset.items[index].path} has the label {quoted(classes[known])} on the server already, "
            f"not {quoted(classes[given])}",
            known=known,
            hint=f"A label cannot be changed, the later questions follow from it: go on with {quoted(classes[known])}, "
            f"or start anew with seed {self.settings.seed + 1}.",
        )

    def _call(self, call: Callable[[], _T], progress: ProgressCallback | None) -> _T:
        try:
            return in_background(
                lambda show: persistently(call, config=self._retry, server=self._server, progress=show),
                progress=progress or ignore,
            )
        except NotFound as error:
            if error.reason not in DATA_GONE:
                raise
            raise NotFound(
                "the images of this session were deleted from the server, and what was made of them",
                hint="Start it again: the images are sent again, and the labels given so far go in as answers.",
                reason=error.reason,
                field=error.field,
            ) from error


def without_labels(data: DataSource) -> Scan:
    """The images of ``data``; labels that come with them are left out, and a warning says so.

    Raises:
        DataError: Nothing is there, or something that cannot be used; names it.
    """
    scan = scan_data(data, unlabelled=True) if isinstance(data, str | os.PathLike) else scan_source(data)
    labelled = sum(example.label is not None for example in scan.examples)
    warnings = scan.warnings
    if labelled:
        what = "folder names" if scan.source.is_dir() else "labels"
        warnings = (*warnings, f"the {what} of {labelled:,} images are not used: labels are asked for one by one")
    return replace(scan, examples=tuple(replace(example, label=None) for example in scan.examples), warnings=warnings)


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
        request = selection_pb2.StartSelectionRequest(
            request_id=settings.request_id(uploaded.id, family, attempt),
            dataset_id=uploaded.id,
            family=family,
            alpha=settings.alpha,
            delta=settings.delta,
            labelling=selection_pb2.Labelling(audit=settings.audit, seed=settings.seed),
        )
        started = persistently(
            partial(stub.StartSelection, request, timeout=timeout), config=retry, server=server, progress=progress
        )
        # What failed or was cancelled in an earlier run keeps its id: this run gets the next one.
        if started.state not in _STARTED_OVER:
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
