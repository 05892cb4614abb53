"""Runs selections one after the other in worker threads, and tells watchers how far they are.

What is queued or running is marked in the store, so a server that starts again takes up what an earlier one left. A
result is stored by compare-and-set: a selection that ended meanwhile (cancelled, deleted, finished elsewhere) stays
as it ended.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.names import FamilyRef
from seedzoo.engine import run_selection
from seedzoo.errors import (
    Cancelled,
    DataError,
    LocalFailure,
    NotFound,
    StoreError,
    Unavailable,
    ZooError,
)
from seedzoo.records import ProgressUpdate, SelectionPhase, SelectionReport, SelectionState
from seedzoo.stress.table import read_profile
from seedzoo_server.asked import settings_of
from seedzoo_server.labelling_service import Labelling
from seedzoo_server.storage.selections import SelectionRecord
from seedzoo_server.tenants import Tenant, Tenants

__all__ = ["Runner"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Key = tuple[str, str]
"""Tenant and selection."""

_LOOK_S = 0.1
_LOOK_STORE_S = 1.0
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)


@dataclass
class _Job:
    """A selection that this process has queued or runs."""

    progress: ProgressUpdate = field(default_factory=lambda: ProgressUpdate(SelectionPhase.QUEUED))
    stop: threading.Event = field(default_factory=threading.Event)


class Runner:
    """Owns the worker tasks; made and used inside one event loop.

    Args:
        catalog: Where families come from.
        tenants: Whose examples and records.
        labelling: Prepares selections that ask for labels.
        workers: Selections evaluated at the same time (each uses all cores).
        max_pixels: Largest image that is decoded.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        tenants: Tenants,
        labelling: Labelling,
        workers: int,
        max_pixels: int,
    ) -> None:
        self._catalog = catalog
        self._tenants = tenants
        self._labelling = labelling
        self._workers = workers
        self._max_pixels = max_pixels
        # Threads of its own: a selection must not take those that calls need for the store.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="seedzoo-selection")
        self._queue: asyncio.Queue[_Key] = asyncio.Queue()
        self._given_up: set[_Key] = set()
        self._jobs: dict[_Key, _Job] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Start the workers and take up what an earlier server left unfinished."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        for name in await asyncio.to_thread(self._tenants.names):
            tenant = self._tenants.of(name)
            for selection_id in await asyncio.to_thread(tenant.selections.unfinished):
                _log.info("taking up selection %s of %s, left unfinished by an earlier server", selection_id, name)
                self.submit(tenant, selection_id)

    async def close(self) -> None:
        """Stop at the next block. Unfinished selections keep their marks and are taken up at the next start."""
        self._closing = True
        for job in self._jobs.values():
            job.stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)

    def submit(self, tenant: Tenant, selection_id: str) -> None:
        """Queue a selection; one that is queued already stays where it is."""
        key = (tenant.name, selection_id)
        if key not in self._jobs:
            self._given_up.discard(key)
            self._jobs[key] = _Job()
            self._queue.put_nowait(key)

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
            if record.state.finished or record.state is SelectionState.AWAITING_LABELS:
                return
            if job is None and (tenant.name, selection_id) in self._given_up:
                raise Unavailable(
                    "the store did not take the result of this selection",
                    hint="It is taken up again when the server restarts; or start it again.",
                )
            wait = _LOOK_S if job is not None else _LOOK_STORE_S
            await asyncio.sleep(wait)
            since_store += wait

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            name, selection_id = key
            job = self._jobs[key]
            try:
                await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._run, self._tenants.of(name), selection_id, job
                )
            except NotFound:
                _log.info("selection %s was deleted while it was worked on", selection_id)
            except ZooError as error:
                # Its mark is still in the store: the next start takes it up again.
                _log.error("selection %s is given up until the next start: %s", selection_id, error.message)
                self._given_up.add(key)
            except Exception:  # noqa: BLE001  (a bug in one selection must not end the worker)
                _log.exception("selection %s broke the runner's rules", selection_id)
            finally:
                del self._jobs[key]

    def _run(self, tenant: Tenant, selection_id: str, job: _Job) -> None:
        """In a worker thread: run one selection and record how it ended."""
        record = self._patiently(job, lambda: tenant.selections.start(selection_id))
        if record.state.finished or record.state is SelectionState.AWAITING_LABELS:
            return
        try:
            if record.request.labelling is not None:
                self._patiently(job, lambda: self._prepare_labelling(tenant, record, job))
                self._patiently(job, lambda: tenant.selections.await_labels(selection_id))
                return
            report = self._patiently(job, lambda: self._evaluate(tenant, record, job))
        except Cancelled:
            if not self._closing:
                tenant.selections.cancel(selection_id)
            return
        except ZooError as error:
            failure = error
        except Exception:  # noqa: BLE001  (whoever asked must get an answer)
            _log.exception("selection %s failed", selection_id)
            failure = ZooError("the server failed on this selection; its log says why", reason="INTERNAL")
        else:
            self._patiently(job, lambda: tenant.selections.succeed(selection_id, report))
            return
        self._patiently(job, lambda: tenant.selections.fail(selection_id, failure))

    def _patiently(self, job: _Job, action: Callable[[], T]) -> T:
        """Do something with the store, again after growing pauses while the store fails.

        Raises:
            Cancelled: The selection was cancelled, or the server stops, while it waited.
            ZooError: The store still failed at the last try.
        """
        for pause in _PAUSES_S:
            try:
                return action()
            except (StoreError, LocalFailure) as error:
                _log.warning("trying again in %g s: %s", pause, error.message)
            if job.stop.wait(pause):
                raise Cancelled("stopped while the store was away")
        return action()

    def _evaluate(self, tenant: Tenant, record: SelectionRecord, job: _Job) -> SelectionReport:
        request = record.request
        family, release = self._catalog.family(FamilyRef(request.family, request.release))
        state = tenant.datasets.state(request.dataset_id)
        if not state.complete:
            raise DataError("the dataset is not complete", reason="DATASET_INCOMPLETE")
        return run_selection(
            family=family,
            release=release,
            load_model=lambda variant: self._catalog.model(release, variant),
            profile=read_profile(self._catalog.profile_bytes(release)),
            signatures=self._catalog.signatures(release),
            examples=tenant.datasets.examples(state),
            settings=settings_of(request, max_pixels=self._max_pixels),
            selections_served=tenant.selections.served(record, tenant.datasets.selections(request.dataset_id)),
            on_progress=lambda progress: setattr(job, "progress", progress),
            should_stop=job.stop.is_set,
        )

    def _prepare_labelling(self, tenant: Tenant, record: SelectionRecord, job: _Job) -> None:
        self._labelling.prepare(
            tenant, record, on_progress=lambda progress: setattr(job, "progress", progress), should_stop=job.stop.is_set
        )


def _progress_of(record: SelectionRecord) -> ProgressUpdate:
    if record.state is SelectionState.AWAITING_LABELS:
        return ProgressUpdate(SelectionPhase.LABELLING)
    phase = SelectionPhase.DONE if record.state.finished else SelectionPhase.QUEUED
    return ProgressUpdate(phase)
