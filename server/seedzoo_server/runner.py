"""Runs selections in worker threads, and tells watchers how far they are.

What is queued or running is marked in the store, which all replicas look at. Whoever works on a selection holds it
under an epoch and shows every few seconds that it lives; a record that has not changed for the time of a lease, on the
observer's own clock, is taken over under a higher epoch. Results are stored by compare-and-set and only under the
epoch that they were found in, so a worker that was taken for dead does no harm when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.names import FamilyRef
from seedzoo.engine import run_selection
from seedzoo.engine.spread_evaluator import OpenEvaluator
from seedzoo.errors import (
    Cancelled,
    DataError,
    LimitExceeded,
    LocalFailure,
    NotFound,
    StoreError,
    Unavailable,
    ZooError,
)
from seedzoo.inference.decoding import Decoder
from seedzoo.records import ProgressUpdate, SelectionPhase, SelectionReport, SelectionState
from seedzoo_server.asked import settings_of
from seedzoo_server.fair_queue import FairQueue
from seedzoo_server.job import GivenUp, Job
from seedzoo_server.labelling_service import Labelling
from seedzoo_server.metrics import Metrics
from seedzoo_server.settings import ServerSettings
from seedzoo_server.storage.selections import SelectionRecord
from seedzoo_server.tenants import Tenant, Tenants
from seedzoo_server.tracing import Tracing
from seedzoo_server.watched_thread import StuckError, WatchedThread

__all__ = ["Runner"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Key = tuple[str, str]
"""Tenant and selection."""

_LOOK_S = 0.1
_LOOK_STORE_S = 1.0
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_RESTS_S = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""How long a selection that the store broke off rests, each time that it happened in a row."""
_RETRIES = 3
"""After a rest, so many of the pauses are made while a worker waits: others want it."""
_CLOSE_S = 30.0
_BEATS_PER_LEASE = 5
_LONGEST_BEAT_S = 3.0
"""A selection that was cancelled through another server stops after about so long, whatever the lease."""


class Runner:
    """Owns the worker tasks; made and used inside one event loop.

    Args:
        catalog: Where families come from.
        tenants: Whose examples and records.
        labelling: Prepares selections that ask for labels.
        settings: Workers, lease and limits.
        metrics: Counts selections and failures of the store.
        decoder: Decodes the images of all selections.
        open_evaluator: Evaluates elsewhere than in this process; None for here.
        tracing: Makes spans of selections.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        tenants: Tenants,
        labelling: Labelling,
        settings: ServerSettings,
        metrics: Metrics,
        decoder: Decoder,
        open_evaluator: OpenEvaluator | None,
        tracing: Tracing,
    ) -> None:
        self._catalog = catalog
        self._tenants = tenants
        self._labelling = labelling
        self._settings = settings
        self._decoder = decoder
        self._open_evaluator = open_evaluator
        self._tracing = tracing
        self._name = secrets.token_hex(8)
        self._beat_s = min(settings.lease_s / _BEATS_PER_LEASE, _LONGEST_BEAT_S)
        self._threads: set[WatchedThread[None]] = set()
        self._queue = FairQueue()
        self._metrics = metrics
        metrics.watch_queue(self._queue.__len__)
        self._given_up: dict[_Key, GivenUp] = {}
        self._seen: dict[_Key, tuple[str, float]] = {}
        self._jobs: dict[_Key, Job] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Start the workers, show that they live, and look out for what others left unfinished."""
        works = [self._work() for _ in range(self._settings.concurrent_selections)]
        self._tasks = [asyncio.create_task(work) for work in (*works, self._beat(), self._look_out())]

    async def close(self) -> None:
        """Stop at the next block and hand back what is unfinished: whoever is free takes it up."""
        self._closing = True
        for job in self._jobs.values():
            job.stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        end = time.monotonic() + _CLOSE_S
        for thread in self._threads:
            if not await asyncio.to_thread(thread.join, max(0.0, end - time.monotonic())):
                _log.error("a selection does not stop; another server takes it over after the time of a lease")

    def check_room(self) -> None:
        """Refuse a new selection where too many wait. Raises LimitExceeded."""
        if len(self._queue) >= self._settings.max_queue:
            raise LimitExceeded(
                f"{len(self._queue)} selections are waiting on this server already",
                hint="Try again in a minute.",
                reason="QUEUE_FULL",
                retry_s=60,
            )

    def submit(self, tenant: Tenant, selection_id: str, *, abandoned: str | None = None) -> None:
        """Queue a selection; one that is queued already stays where it is.

        Args:
            tenant: Whose it is.
            selection_id: Which one.
            abandoned: Etag of the record of a dead worker, if it had one.
        """
        key = (tenant.name, selection_id)
        if key not in self._jobs:
            mark = self._given_up.pop(key, None)
            given_up = 0 if mark is None else mark.times
            self._jobs[key] = Job(abandoned=abandoned, given_up=given_up, origin=self._tracing.origin())
            self._queue.put(*key)

    async def _beat(self) -> None:
        """Show that what this process works on is alive, and find out what is its own no more."""
        while True:
            await asyncio.sleep(self._beat_s)
            for (name, selection_id), job in list(self._jobs.items()):
                if job.epoch == 0 or job.lost:
                    continue
                selections = self._tenants.of(name).selections
                try:
                    ours = await asyncio.to_thread(
                        selections.renew, selection_id, epoch=job.epoch, progress=job.progress
                    )
                except NotFound:
                    ours = False
                except ZooError as error:
                    _log.warning("no sign of life of selection %s: %s", selection_id, error.message)
                    continue
                if not ours:
                    job.lost = True
                    job.stop.set()

    async def _look_out(self) -> None:
        """Take up what waits while this process is idle, and what has lost its worker."""
        away = False
        while True:
            try:
                found = set()
                names = await asyncio.to_thread(self._tenants.names)
                if away:  # the store is back: what it broke off rests no longer
                    self._given_up = {key: replace(mark, until=0.0) for key, mark in self._given_up.items()}
                    away = False
                for name in names:
                    tenant = self._tenants.of(name)
                    for record, etag in await asyncio.to_thread(tenant.selections.unfinished):
                        found.add((name, record.id))
                        self._consider(tenant, record, etag)
                self._seen = {key: seen for key, seen in self._seen.items() if key in found}
                self._given_up = {key: mark for key, mark in self._given_up.items() if key in found}
            except ZooError as error:
                away = True
                _log.warning("cannot look for unfinished selections: %s", error.message)
            await asyncio.sleep(self._beat_s)

    def _consider(self, tenant: Tenant, record: SelectionRecord, etag: str) -> None:
        key = (tenant.name, record.id)
        now = time.monotonic()
        mark = self._left_by_us(key, record)
        if key in self._jobs or (mark is not None and now < mark.until):
            return
        seen, since = self._seen.get(key, ("", now))
        if seen != etag:
            self._seen[key] = (etag, now)
            since = now
        # What this process has given up has no worker, and need not be watched for the time of a lease.
        ours = mark is not None and record.state is SelectionState.RUNNING
        dead = ours or now - since >= self._settings.lease_s
        idle = len(self._jobs) < self._settings.concurrent_selections
        if dead or (record.state is SelectionState.PENDING and idle):
            self._seen.pop(key, None)
            _log.info("taking up selection %s of %s (epoch %d)", record.id, tenant.name, record.epoch + 1)
            self.submit(tenant, record.id, abandoned=etag if dead else None)

    def _left_by_us(self, key: _Key, record: SelectionRecord) -> GivenUp | None:
        """That this process gave up the selection, as long as nobody else has worked on it since."""
        mark = self._given_up.get(key)
        if mark is None:
            return None
        others = record.state is SelectionState.RUNNING and record.worker != self._name
        return None if others or 0 < mark.epoch < record.epoch else mark

    async def cancel(self, tenant: Tenant, selection_id: str) -> SelectionRecord:
        """Cancel a selection; one that has ended stays as it is. Raises NotFound."""
        record = await asyncio.to_thread(tenant.selections.cancel, selection_id)
        if (job := self._jobs.get((tenant.name, selection_id))) is not None:
            job.stop.set()
        return record

    async def watch(self, tenant: Tenant, selection_id: str) -> AsyncIterator[tuple[ProgressUpdate, SelectionRecord]]:
        """Progress and record whenever one of them changes; ends with the final one, or where labels are awaited.

        A selection that another process runs is seen through its record in the store.
        """
        last: tuple[ProgressUpdate, SelectionState] | None = None
        record = await asyncio.to_thread(tenant.selections.get, selection_id)
        since_store = 0.0
        while True:
            job = self._jobs.get((tenant.name, selection_id))
            if job is None or since_store >= _LOOK_STORE_S:
                record = await asyncio.to_thread(tenant.selections.get, selection_id)
                since_store = 0.0
            progress = job.progress if job is not None else _progress_of(record)
            if (progress, record.state) != last:
                last = (progress, record.state)
                yield progress, record
            if record.rests:
                return
            if job is None and (mark := self._left_by_us((tenant.name, selection_id), record)) is not None:
                rest_s = max(1, math.ceil(mark.until - time.monotonic()))
                raise Unavailable(
                    f"the store fails during this selection, which is tried again in {rest_s} s",
                    hint="What was evaluated is kept. Watch it again then, or run the same command again.",
                    reason="STORE_FAILS",
                )
            if job is None:
                await asyncio.sleep(_LOOK_STORE_S)
                continue
            # Who waits for the answer gets it when it is there, not at the next look.
            with suppress(TimeoutError):
                await asyncio.wait_for(job.ended.wait(), _LOOK_S)
            since_store += _LOOK_S

    async def _work(self) -> None:
        while True:
            key = name, selection_id = await self._queue.get()
            job = self._jobs[key]
            try:
                await self._run_watched(self._tenants.of(name), selection_id, job)
            except NotFound:
                _log.info("selection %s was deleted while it was worked on", selection_id)
            except ZooError as error:
                # Its mark is still in the store: others take it up, or this process later.
                rest_s = _RESTS_S[min(job.given_up, len(_RESTS_S) - 1)]
                _log.error("selection %s is given up for %g s: %s", selection_id, rest_s, error.message)
                self._given_up[key] = GivenUp(time.monotonic() + rest_s, job.given_up + 1, job.epoch)
            except Exception:  # noqa: BLE001  (a bug in one selection must not end the worker)
                _log.exception("selection %s broke the runner's rules", selection_id)
            finally:
                del self._jobs[key]
                job.ended.set()

    async def _run_watched(self, tenant: Tenant, selection_id: str, job: Job) -> None:
        """Run one selection; one that hangs fails, and its thread is left behind so that others get their turn."""
        stuck_s = self._settings.stuck_s
        job.moved = time.monotonic()
        # A thread of its own: a selection must not take those that calls need for the store.
        thread = WatchedThread(partial(self._run, tenant, selection_id, job), name="seedzoo-selection")
        self._threads.add(thread)
        try:
            await thread.result(is_stuck=lambda: time.monotonic() - job.moved > stuck_s)
        except StuckError:
            _log.error("selection %s has not moved for %g s; its thread is left behind", selection_id, stuck_s)
            job.stop.set()
            failure = ZooError(
                f"the server's work on this selection did not move for {stuck_s:g} s and was given up",
                hint="Tell whoever runs the server: its log names this selection.",
                reason="SELECTION_STUCK",
            )
            if job.epoch:
                await asyncio.to_thread(tenant.selections.fail, selection_id, failure, epoch=job.epoch)
            self._ended(job, "failed")
        finally:
            if not self._closing:  # else it is waited for
                self._threads.discard(thread)

    def _run(self, tenant: Tenant, selection_id: str, job: Job) -> None:
        """In a worker thread: run one selection and record how it ended."""
        record = self._patiently(
            job, lambda: tenant.selections.claim(selection_id, worker=self._name, abandoned=job.abandoned)
        )
        if record is None:
            return
        job.epoch = record.epoch
        with self._tracing.selection(selection_id, epoch=record.epoch, origin=job.origin) as job.trace:
            self._run_claimed(tenant, record, job)

    def _run_claimed(self, tenant: Tenant, record: SelectionRecord, job: Job) -> None:
        selection_id, epoch = record.id, record.epoch
        try:
            if record.request.labelling is not None:
                self._patiently(job, lambda: self._prepare_labelling(tenant, record, job))
                self._patiently(job, lambda: tenant.selections.await_labels(selection_id, epoch=epoch))
                self._ended(job, "awaiting_labels")
                return
            report = self._patiently(job, lambda: self._evaluate(tenant, record, job))
        except Cancelled:
            if self._closing:
                tenant.selections.release(selection_id, epoch=epoch)
            self._ended(job, "stopped")
            return
        except ZooError as error:
            failure = error
        except Exception:  # noqa: BLE001  (whoever asked must get an answer)
            _log.exception("selection %s failed", selection_id)
            failure = ZooError("the server failed on this selection; its log says why", reason="INTERNAL")
        else:
            self._patiently(job, lambda: tenant.selections.succeed(selection_id, report, epoch=epoch))
            if report.provider:
                _log.info("selection %s ran on %s", selection_id, report.provider)
            self._ended(job, "succeeded", report)
            return
        self._patiently(job, lambda: tenant.selections.fail(selection_id, failure, epoch=epoch))
        self._ended(job, "failed")

    def _ended(self, job: Job, outcome: str, report: SelectionReport | None = None) -> None:
        self._metrics.selection_ended(outcome, report)
        job.trace.ended(outcome, report)

    def _patiently(self, job: Job, action: Callable[[], T]) -> T:
        """Do something with the store, again after growing pauses while the store fails.

        Raises:
            Cancelled: The selection was cancelled, or the server stops, while it waited.
            ZooError: The store still failed at the last try.
        """
        for pause in _PAUSES_S[:_RETRIES] if job.given_up else _PAUSES_S:
            try:
                return action()
            except (StoreError, LocalFailure) as error:
                self._metrics.store_failed()
                _log.warning("trying again in %g s: %s", pause, error.message)
            if job.stop.wait(pause):
                raise Cancelled("stopped while the store was away")
            job.moved = time.monotonic()
        return action()

    def _evaluate(self, tenant: Tenant, record: SelectionRecord, job: Job) -> SelectionReport:
        request = record.request
        family, release = self._catalog.selectable(FamilyRef(request.family, request.release))
        state = tenant.datasets.state(request.dataset_id)
        if not state.complete:
            raise DataError("the dataset is not complete", reason="DATASET_INCOMPLETE")
        return run_selection(
            family=family,
            release=release,
            load_model=lambda variant: self._catalog.model(release, variant),
            profile=self._catalog.profile(release),
            signatures=self._catalog.signatures(release),
            examples=tenant.datasets.examples(state),
            settings=settings_of(request, max_pixels=tenant.largest_image(self._settings.max_pixels)),
            selections_served=tenant.selections.served(record, tenant.datasets.selections(request.dataset_id)),
            predictions=tenant.datasets.predictions(request.dataset_id, release.id),
            # Read anew: an attempt that the store broke off may have decided.
            decision=tenant.selections.get(record.id).decision,
            on_decision=lambda made: self._patiently(
                job, lambda: tenant.selections.decide(record.id, made, epoch=record.epoch)
            ),
            on_progress=job.report,
            should_stop=job.should_stop,
            decoder=self._decoder,
            open_evaluator=self._open_evaluator,
            inference=self._settings.inference(),
        )

    def _prepare_labelling(self, tenant: Tenant, record: SelectionRecord, job: Job) -> None:
        self._labelling.prepare(tenant, record, on_progress=job.report, should_stop=job.should_stop)


def _progress_of(record: SelectionRecord) -> ProgressUpdate:
    if record.state is SelectionState.AWAITING_LABELS:
        return ProgressUpdate(SelectionPhase.LABELLING)
    if record.progress is not None:
        return record.progress
    return ProgressUpdate(SelectionPhase.DONE if record.state.finished else SelectionPhase.QUEUED)
