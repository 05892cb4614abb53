"""What a labelling session is and knows, apart from how its calls are made; see :mod:`seedzoo_client.labelling`."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from seedzoo.errors import AlreadyExists, NotFound, RequestError, ZooError
from seedzoo.records import SelectionReport
from seedzoo_client.arguments import as_number, as_whole
from seedzoo_client.convert import selection_report
from seedzoo_client.datasets import DataSource, LocalDataset, scan_source
from seedzoo_client.labels import shorten
from seedzoo_client.quoting import quoted
from seedzoo_client.scan import Scan, scan_data
from seedzoo_client.upload_steps import UploadedDataset
from seedzoo_protos.v1 import selection_pb2

__all__ = [
    "DATA_GONE",
    "LabelDiffers",
    "LabellingSettings",
    "LabellingState",
    "Question",
    "data_gone",
    "not_now",
    "session_request",
    "started_over",
    "without_labels",
]

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


class LabellingState:
    """Where a session stands: the common part of the sessions of both clients.

    Args:
        selection: The selection, which awaits labels or has succeeded.
        uploaded: The images.
        settings: What it was started with.
    """

    def __init__(
        self, *, selection: selection_pb2.Selection, uploaded: UploadedDataset, settings: LabellingSettings
    ) -> None:
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

    def _next_request(self) -> selection_pb2.NextItemsRequest:
        return selection_pb2.NextItemsRequest(selection_id=self.selection_id)

    def _asked(self, answer: selection_pb2.NextItemsResponse) -> tuple[Question, ...]:
        """The questions that an answer to NextItems asks."""
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

    def _none_asked(self, error: RequestError) -> tuple[Question, ...]:
        """No questions, where another client concluded the session and died; else the error is raised."""
        if error.reason != _CONCLUDED:
            raise error
        self.settled = True
        return ()

    def _label_requests(self, labels: Mapping[int, int | str]) -> Iterator[selection_pb2.SubmitLabelsRequest]:
        """The requests that give these labels; all are checked before the first."""
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
            yield selection_pb2.SubmitLabelsRequest(
                selection_id=self.selection_id, labels=items[start : start + _PER_CALL]
            )

    def _finish_request(self) -> selection_pb2.SubmitLabelsRequest:
        return selection_pb2.SubmitLabelsRequest(selection_id=self.selection_id, finish=True)

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


def not_now(error: ZooError) -> bool:
    """Whether a label was refused only because nothing asks for it (any more)."""
    return error.reason in _NOT_NOW


def data_gone(error: NotFound) -> NotFound | None:
    """The error as a session tells it where its images were deleted; None for any other."""
    if error.reason not in DATA_GONE:
        return None
    return NotFound(
        "the images of this session were deleted from the server, and what was made of them",
        hint="Start it again: the images are sent again, and the labels given so far go in as answers.",
        reason=error.reason,
        field=error.field,
    )


def started_over(selection: selection_pb2.Selection) -> bool:
    """Whether what failed or was cancelled in an earlier run, and keeps its id, is to be tried under the next one."""
    return selection.state in _STARTED_OVER


def session_request(
    uploaded: UploadedDataset, settings: LabellingSettings, *, family: str, attempt: int
) -> selection_pb2.StartSelectionRequest:
    """The request that starts a session or takes it up.

    Args:
        uploaded: The images.
        settings: Budget, audit, seed and levels.
        family: ``<family>@<release>``.
        attempt: How many sessions of the same kind have failed or were cancelled.
    """
    return selection_pb2.StartSelectionRequest(
        request_id=settings.request_id(uploaded.id, family, attempt),
        dataset_id=uploaded.id,
        family=family,
        alpha=settings.alpha,
        delta=settings.delta,
        labelling=selection_pb2.Labelling(audit=settings.audit, seed=settings.seed),
    )


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
