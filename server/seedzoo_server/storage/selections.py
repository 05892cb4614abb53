"""Records of selections in the object store, changed by compare-and-set only."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.recent import Recent
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import AlreadyExists, Conflict, IntegrityError, ItemsError, NotFound, ZooError
from seedzoo.records import Evaluation, Evidence, ProgressUpdate, RaceDecision, SelectionReport, SelectionState
from seedzoo_server.public import public
from seedzoo_server.storage.keys import (
    QUEUE,
    SELECTIONS,
    check_id,
    derived_id,
    queue_key,
    selection_key,
    unknown,
)

__all__ = ["Failure", "LabellingRequest", "SelectionRecord", "SelectionRequest", "Selections"]

_log = logging.getLogger(__name__)

_ATTEMPTS = 20
_MOST_FAULTS = 1000
_MARK_WITHOUT_RECORD = timedelta(hours=1)
_ENDED_BYTES = 10 << 20
"""Memory for what ended selections asked, some 1 kB each but for costs and proportions."""
_NUMBER_BYTES = 32


@dataclass(frozen=True, slots=True)
class LabellingRequest:
    """Labels are to be asked for one by one."""

    audit: int = 0
    """Examples of a uniform random sample to be labelled first; 0 for none."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SelectionRequest:
    """What was asked for; the release is the one that the family's name meant at that moment."""

    dataset_id: str
    family: str
    release: str
    objective: str
    alpha: float
    delta: float
    labelling: LabellingRequest | None = None
    requirements: tuple[str, ...] = ()
    class_proportions: tuple[float, ...] = ()
    costs: tuple[float, ...] = ()
    evaluation: Evaluation = Evaluation.AUTO
    use_prior: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a selection failed."""

    kind: str
    """Name of the error's class."""
    reason: str
    message: str
    hint: str
    items: tuple[tuple[int, str], ...] = ()
    """Index of each item at fault and what is wrong with it."""

    @classmethod
    def of(cls, error: ZooError) -> Failure:
        """The stored form of an error, as callers may see it."""
        error = public(error)
        items = tuple(sorted(error.faults.items()))[:_MOST_FAULTS] if isinstance(error, ItemsError) else ()
        return cls(kind=type(error).__name__, reason=error.reason, message=error.message, hint=error.hint, items=items)


@dataclass(frozen=True, slots=True)
class SelectionRecord:
    """``selections/<id>.json``."""

    id: str
    request: SelectionRequest
    request_sha256: str
    """Of the request as it came in, to tell a repeated call from a reused id."""
    created: str
    state: SelectionState = SelectionState.PENDING
    ended: str = ""
    failure: Failure | None = None
    report: SelectionReport | None = None
    worker: str = ""
    """Which server process works on it; empty while none does."""
    epoch: int = 0
    """Raised by every takeover: what a worker of an earlier epoch finds out does not count."""
    beat: int = 0
    """Raised by the worker every few seconds: a record that does not change has lost its worker."""
    progress: ProgressUpdate | None = None
    """As the worker last reported it."""
    decision: RaceDecision | None = None
    """Whether it races, once that was measured: a worker that takes over goes the same way."""

    @property
    def rests(self) -> bool:
        """Whether no server has to work on it: it has ended, or waits for people."""
        return self.state.finished or self.state is SelectionState.AWAITING_LABELS


@dataclass(frozen=True, slots=True)
class _Answered:
    """What an ended selection asked, and whether labels answered it."""

    request: SelectionRequest
    created: str
    by_labels: bool

    @property
    def size(self) -> int:
        """About the bytes of memory that it takes."""
        request = self.request
        numbers = len(request.costs) + len(request.class_proportions)
        return 1_000 + _NUMBER_BYTES * numbers + sum(map(len, request.requirements))


class _NotEnded(Exception):
    """A selection that may still change."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Selections:
    """Reads and writes selections; safe to share between threads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._listed: dict[str, tuple[str, SelectionRecord]] = {}
        self._ended: Recent[tuple[str, datetime], _Answered] = Recent(_ENDED_BYTES, weigh=lambda value: value.size)

    def earlier(self, request_id: str, body: bytes) -> SelectionRecord | None:
        """The selection that the same call started before, if any.

        Raises:
            AlreadyExists: The request id was used with another body.
        """
        try:
            record = self.get(derived_id("sel", request_id))
        except NotFound:
            return None
        if record.request_sha256 != hashlib.sha256(body).hexdigest():
            raise AlreadyExists(
                "request_id was used before for another selection",
                hint="Use a new request_id.",
                reason="REQUEST_ID_REUSED",
                field="request_id",
            )
        return record

    def create(self, request_id: str, body: bytes, request: SelectionRequest) -> SelectionRecord:
        """Store a new selection, queued; a concurrent call with the same id and body gets the same one."""
        record = SelectionRecord(
            id=derived_id("sel", request_id),
            request=request,
            request_sha256=hashlib.sha256(body).hexdigest(),
            created=_now(),
        )
        # The mark comes first: a record without a mark would never be resumed, a mark without a record is swept.
        self._store.put(queue_key(record.id), b"{}")
        try:
            self._store.put(selection_key(record.id), encode_json(record), if_absent=True)
        except Conflict:
            earlier = self.earlier(request_id, body)
            if earlier is None:
                raise
            return earlier
        return record

    def get(self, selection_id: str) -> SelectionRecord:
        """One selection. Raises NotFound."""
        return self._get(selection_id)[0]

    def _get(self, selection_id: str) -> tuple[SelectionRecord, str]:
        key = selection_key(check_id("sel", selection_id))
        try:
            raw, etag = self._store.get_with_etag(key)
        except NotFound as error:
            raise unknown("sel", selection_id) from error
        return decode_json(raw, SelectionRecord, where=key), etag

    def listed(self) -> list[SelectionRecord]:
        """All selections, newest first, without reports.

        Keys say nothing of the order, so every record counts; read are those that changed since the latest listing.
        """
        before = self._listed
        now: dict[str, tuple[str, SelectionRecord]] = {}
        for info in self._store.list(SELECTIONS):
            known = before.get(info.key)
            if known is not None and known[0] == info.etag:
                now[info.key] = known
                continue
            try:
                record = decode_json(self._store.get(info.key), SelectionRecord, where=info.key)
            except NotFound:
                continue  # deleted since it was listed
            except IntegrityError as error:
                _log.error("left out of the listing: %s", error.message)
                continue
            # A record that was written since it was listed is read once more at the next listing.
            now[info.key] = (info.etag, replace(record, report=None))
        self._listed = now
        return sorted((record for _, record in now.values()), key=lambda record: record.created, reverse=True)

    def unfinished(self) -> list[tuple[SelectionRecord, str]]:
        """Queued and running selections with the etags of their records; marks that stand for nothing are swept."""
        waiting = []
        for info in self._store.list(QUEUE):
            selection_id = info.key.rpartition("/")[2]
            try:
                record, etag = self._get(selection_id)
            except IntegrityError as error:
                _log.error("not taken up: %s", error.message)
                continue
            except NotFound:
                # The record may be about to be written; an old mark is that of a call which died before it did.
                if datetime.now(UTC) - info.modified >= _MARK_WITHOUT_RECORD:
                    self._store.delete(info.key)
                continue
            if record.rests:
                self._store.delete(info.key)
            else:
                waiting.append((record, etag))
        return waiting

    def served(self, record: SelectionRecord, of_dataset: Mapping[str, datetime]) -> int:
        """How many different questions a dataset's labels have answered, this one included; repeating adds nothing.

        Args:
            record: This selection.
            of_dataset: Identifiers of the selections that use the dataset, and when each was marked.
        """
        asked = {record.request}
        for selection_id, marked in of_dataset.items():
            if selection_id == record.id:
                continue
            # One that has ended changes no more: a dataset of many selections is not read all over for each new one.
            # Where it was deleted, by any replica, and started again under its id, its mark is a later one.
            with suppress(NotFound, IntegrityError, _NotEnded):
                other = self._ended.get((selection_id, marked), partial(self._answered, selection_id))
                if other.by_labels and other.created < record.created:
                    asked.add(other.request)
        return len(asked)

    def _answered(self, selection_id: str) -> _Answered:
        record = self.get(selection_id)
        if not record.state.finished:
            raise _NotEnded
        judged = record.report is not None and record.report.evidence is Evidence.LABELS
        return _Answered(record.request, record.created, by_labels=judged)

    def claim(self, selection_id: str, *, worker: str, abandoned: str | None = None) -> SelectionRecord | None:
        """Take a selection to work on, under a new epoch.

        Args:
            selection_id: Which one.
            worker: Who takes it.
            abandoned: Etag of the record of a worker that was found dead; it is taken over if it is still that one.

        Returns:
            The record under which to work; None where there is nothing to do, or somebody else does it.
        """
        record, etag = self._get(selection_id)
        free = record.state is SelectionState.PENDING or (record.state is SelectionState.RUNNING and etag == abandoned)
        if not free:
            return None
        taken = replace(record, state=SelectionState.RUNNING, worker=worker, epoch=record.epoch + 1, beat=0)
        try:
            self._store.put(selection_key(selection_id), encode_json(taken), if_match=etag)
        except Conflict:
            return None  # somebody else was faster, or the dead one lives
        return taken

    def renew(self, selection_id: str, *, epoch: int, progress: ProgressUpdate) -> bool:
        """Show that the worker of this epoch lives, and how far it is; False where the selection is its own no more."""
        record = self._change(
            selection_id, lambda record: replace(record, beat=record.beat + 1, progress=progress), epoch=epoch
        )
        return record.epoch == epoch and record.state is SelectionState.RUNNING

    def decide(self, selection_id: str, decision: RaceDecision, *, epoch: int) -> None:
        """Record whether the selection of this epoch races."""
        self._change(selection_id, lambda record: replace(record, decision=decision), epoch=epoch)

    def release(self, selection_id: str, *, epoch: int) -> None:
        """Hand a selection back: whoever is free takes it up."""
        self._change(selection_id, lambda record: replace(record, state=SelectionState.PENDING, worker=""), epoch=epoch)

    def await_labels(self, selection_id: str, *, epoch: int) -> SelectionRecord:
        """Everything is evaluated, the user's turn: no server takes it up. One that has ended stays as it is."""
        record = self._change(
            selection_id, lambda record: replace(record, state=SelectionState.AWAITING_LABELS), epoch=epoch
        )
        if record.rests:
            self._store.delete(queue_key(selection_id))
        return record

    def succeed(self, selection_id: str, report: SelectionReport, *, epoch: int | None = None) -> SelectionRecord:
        """Store the result of this epoch (of any where None), unless the selection has ended otherwise."""
        return self._end(selection_id, epoch=epoch, state=SelectionState.SUCCEEDED, report=report)

    def fail(self, selection_id: str, error: ZooError, *, epoch: int) -> SelectionRecord:
        """Store the failure of this epoch, unless the selection has ended otherwise."""
        return self._end(selection_id, epoch=epoch, state=SelectionState.FAILED, failure=Failure.of(error))

    def cancel(self, selection_id: str) -> SelectionRecord:
        """Mark as cancelled, unless the selection has ended; whoever works on it finds out by its next beat."""
        return self._end(selection_id, epoch=None, state=SelectionState.CANCELLED)

    def delete(self, selection_id: str) -> None:
        """Delete a selection's record and mark."""
        self._store.delete(selection_key(selection_id))
        self._store.delete(queue_key(selection_id))

    def _end(
        self,
        selection_id: str,
        *,
        epoch: int | None,
        state: SelectionState,
        report: SelectionReport | None = None,
        failure: Failure | None = None,
    ) -> SelectionRecord:
        record = self._change(
            selection_id,
            lambda record: replace(
                record, state=state, ended=_now(), report=report, failure=failure, worker="", progress=None
            ),
            epoch=epoch,
        )
        if record.state.finished:
            self._store.delete(queue_key(selection_id))
        return record

    def _change(
        self, selection_id: str, change: Callable[[SelectionRecord], SelectionRecord], *, epoch: int | None
    ) -> SelectionRecord:
        """Change a record that has not ended; with an epoch, only while that epoch's worker works on it."""
        for _ in range(_ATTEMPTS):
            record, etag = self._get(selection_id)
            if record.state.finished:
                return record
            if epoch is not None and (record.epoch != epoch or record.state is not SelectionState.RUNNING):
                return record
            changed = change(record)
            try:
                self._store.put(selection_key(selection_id), encode_json(changed), if_match=etag)
            except Conflict:
                continue
            return changed
        raise Conflict(f"selection {selection_id} kept changing while it was updated", hint="Try again.")
