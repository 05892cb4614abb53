"""Runs selections one after the other in worker threads, and tells watchers how far they are.

What is queued or running is marked in the store, so a server that starts again takes up what an earlier one left. A
result is stored by compare-and-set: a selection that ended meanwhile (cancelled, deleted, finished elsewhere) stays
as it ended.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.names import FamilyRef
from seedzoo.errors import Cancelled, DataError, NotFound, StoreError, ZooError
from seedzoo.records import ProgressUpdate, SelectionPhase, SelectionReport, SelectionState
from seedzoo.select import SelectionSettings, run_selection
from seedzoo.stress.table import read_profile
from seedzoo_server.storage.datasets import Datasets
from seedzoo_server.storage.selections import SelectionRecord, Selections

__all__ = ["Runner"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.1
_LOOK_STORE_S = 1.0
_RETRY_S = 5.0
_TRIES = 10


@dataclass
class _Job:
    """A selection that this process has queued or runs."""

    progress: ProgressUpdate = field(default_factory=lambda: ProgressUpdate(SelectionPhase.QUEUED))
    stop: threading.Event = field(default_factory=threading.Event)


class Runner:
    """Owns the worker tasks; made and used inside one event loop.

    Args:
        catalog: Where families come from.
        datasets: Where examples come from.
        selections: Where records go.
        workers: Selections evaluated at the same time (each uses all cores).
        max_pixels: Largest image that is decoded.
    """

    def __init__(
        self, *, catalog: Catalog, datasets: Datasets, selections: Selections, workers: int, max_pixels: int
    ) -> None:
        self._catalog = catalog
        self._datasets = datasets
        self._selections = selections
        self._workers = workers
        self._max_pixels = max_pixels
        # Threads of its own: a selection must not take those that calls need for the store.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="seedzoo-selection")
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._tries: Counter[str] = Counter()
        self._jobs: dict[str, _Job] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Start the workers and take up what an earlier server left unfinished."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        for selection_id in await asyncio.to_thread(self._selections.unfinished):
            _log.info("taking up selection %s, left unfinished by an earlier server", selection_id)
            self.submit(selection_id)

    async def close(self) -> None:
        """Stop at the next block. Unfinished selections keep their marks and are taken up at the next start."""
        self._closing = True
        for job in self._jobs.values():
            job.stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)

    def submit(self, selection_id: str) -> None:
        """Queue a selection; one that is queued already stays where it is."""
        if selection_id not in self._jobs:
            self._jobs[selection_id] = _Job()
            self._queue.put_nowait(selection_id)

    async def cancel(self, selection_id: str) -> SelectionRecord:
        """Cancel a selection; one that has ended stays as it is. Raises NotFound."""
        record = await asyncio.to_thread(self._selections.cancel, selection_id)
        if (job := self._jobs.get(selection_id)) is not None:
            job.stop.set()
        return record

    async def watch(self, selection_id: str) -> AsyncIterator[tuple[ProgressUpdate, SelectionRecord]]:
        """Progress and record whenever one of them changes; ends with the final one.

        A selection that another process runs is seen through its record in the store.
        """
        last: tuple[ProgressUpdate, SelectionState] | None = None
        record = await asyncio.to_thread(self._selections.get, selection_id)
        since_store = 0.0
        while True:
            job = self._jobs.get(selection_id)
            if job is None or since_store >= _LOOK_STORE_S:
                record = await asyncio.to_thread(self._selections.get, selection_id)
                since_store = 0.0
            progress = job.progress if job is not None else _progress_of(record)
            if (progress, record.state) != last:
                last = (progress, record.state)
                yield progress, record
            if record.state.finished:
                return
            wait = _LOOK_S if job is not None else _LOOK_STORE_S
            await asyncio.sleep(wait)
            since_store += wait

    async def _work(self) -> None:
        while True:
            selection_id = await self._queue.get()
            job = self._jobs[selection_id]
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._run, selection_id, job)
            except NotFound:
                _log.info("selection %s was deleted while it was worked on", selection_id)
            except ZooError as error:
                # The store failed. The mark is still there, so a restart would take the selection up as well.
                _log.error("selection %s is tried again in %g s: %s", selection_id, _RETRY_S, error.message)
                asyncio.get_running_loop().call_later(_RETRY_S, self.submit, selection_id)
            except Exception:  # noqa: BLE001  (a bug in one selection must not end the worker)
                _log.exception("selection %s broke the runner's rules", selection_id)
            finally:
                del self._jobs[selection_id]

    def _run(self, selection_id: str, job: _Job) -> None:
        """In a worker thread: run one selection and record how it ended."""
        record = self._selections.start(selection_id)
        if record.state.finished:
            return
        try:
            report = self._evaluate(record, job)
        except Cancelled:
            if not self._closing:
                self._selections.cancel(selection_id)
        except ZooError as error:
            self._tries[selection_id] += 1
            if isinstance(error, StoreError) and self._tries[selection_id] < _TRIES:
                raise
            self._selections.fail(selection_id, error)
            del self._tries[selection_id]
        except Exception:  # noqa: BLE001  (whoever asked must get an answer)
            _log.exception("selection %s failed", selection_id)
            unexpected = ZooError("the server failed on this selection; its log says why", reason="INTERNAL")
            self._selections.fail(selection_id, unexpected)
        else:
            self._selections.succeed(selection_id, report)
            self._tries.pop(selection_id, None)

    def _evaluate(self, record: SelectionRecord, job: _Job) -> SelectionReport:
        request = record.request
        family, release = self._catalog.family(FamilyRef(request.family, request.release))
        state = self._datasets.state(request.dataset_id)
        if not state.complete:
            raise DataError("the dataset is not complete", reason="DATASET_INCOMPLETE")
        return run_selection(
            family=family,
            release=release,
            load_model=lambda variant: self._catalog.model(release, variant),
            profile=read_profile(self._catalog.profile_bytes(release)),
            examples=self._datasets.examples(state),
            settings=SelectionSettings(
                objective=request.objective, alpha=request.alpha, delta=request.delta, max_pixels=self._max_pixels
            ),
            selections_served=max(1, len(self._datasets.selections(request.dataset_id))),
            on_progress=lambda progress: setattr(job, "progress", progress),
            should_stop=job.stop.is_set,
        )


def _progress_of(record: SelectionRecord) -> ProgressUpdate:
    phase = SelectionPhase.DONE if record.state.finished else SelectionPhase.QUEUED
    return ProgressUpdate(phase)
