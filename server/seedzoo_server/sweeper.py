"""Sweeps the store: datasets that expired, and what broken-off calls left behind.

A dataset expires when nothing below its folder was written for ``dataset_days``: no description, pack, mark of a
selection, label or stored prediction, nor the mark that a client leaves which asks for the same dataset again. With it
go its selections, for a deleted dataset must leave no trace of results.

Everything here may run on several replicas at once and may stop at any point: what is to go is found by its age alone,
deleting twice is no error, and what a broken sweep left is found by the next one. Ages are taken on the store's clock,
so a replica with a wrong clock deletes nothing too early.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from seedzoo.catalog.garbage import collect_garbage, store_now
from seedzoo.catalog.store import ObjectInfo, ObjectStore
from seedzoo.errors import IntegrityError, NotFound, ZooError
from seedzoo_server.storage.keys import DATASETS, QUEUE, SELECTIONS, check_id, dataset_prefix, selection_key
from seedzoo_server.tenants import Tenant, Tenants

__all__ = ["Sweeper", "Swept", "keep_sweeping"]

_log = logging.getLogger(__name__)

_LEFT_BEHIND = timedelta(days=1)
"""Longer than any call takes: what a call has not finished by then, it never will."""
_GARBAGE_EVERY = timedelta(hours=1)
_EVERY_S = 600.0
_DELETERS = 8
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Swept:
    """How many of each were deleted, and how often deleting failed."""

    datasets: int = 0
    """Expired."""
    remains: int = 0
    """Folders of datasets whose deletion had broken off."""
    packs: int = 0
    """Without index."""
    marks: int = 0
    """Of selections that do not exist."""
    selections: int = 0
    """Of datasets that do not exist."""
    releases: int = 0
    """Never committed."""
    failures: int = 0


@dataclass
class _Folder:
    """What a listing shows of a dataset."""

    has_record: bool = False
    newest: datetime = _LONG_AGO
    marks: dict[str, datetime] = field(default_factory=dict)
    """When each selection that uses it was started."""
    packs: dict[str, datetime] = field(default_factory=dict)
    """When the bytes of each pack were written."""
    indexed: set[str] = field(default_factory=set)
    """Packs with an index."""

    @classmethod
    def of(cls, objects: Iterable[ObjectInfo]) -> Self:
        """What these objects show, all of one dataset."""
        folder = cls()
        for info in objects:
            folder.take(info)
        return folder

    def take(self, info: ObjectInfo) -> None:
        """Take one object of its folder into account."""
        self.newest = max(self.newest, info.modified)
        _, _, kind, *rest = info.key.split("/")
        name = "/".join(rest)
        if _is_record(info.key):
            self.has_record = True
        elif kind == "selections":
            self.marks[name] = info.modified
        elif kind == "packs" and name.endswith(".bin"):
            self.packs[name.removesuffix(".bin")] = info.modified
        elif kind == "packs":
            self.indexed.add(name.removesuffix(".json"))


class Sweeper:
    """Deletes what nobody needs any more; blocking, for one thread at a time.

    Args:
        tenants: Whose data.
        store: The whole store.
        dataset_days: Days until a dataset expires that nobody uses; 0 for never.
        clock: Says the time in UTC; the store's own clock when omitted.
    """

    def __init__(
        self,
        tenants: Tenants,
        store: ObjectStore,
        *,
        dataset_days: int,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._tenants = tenants
        self._store = store
        self._limit = timedelta(days=dataset_days) if dataset_days else None
        self._clock = clock or (lambda: store_now(store))
        self._garbage_collected: datetime | None = None
        self._stopping = threading.Event()
        self._counts: Counter[str] = Counter()

    def stop(self) -> None:
        """Make a sweep that runs return soon, and later ones at once."""
        self._stopping.set()

    def sweep(self) -> Swept:
        """Go once through all tenants. What fails is logged and counted, and the rest is swept nevertheless.

        Raises:
            StoreError: The store did not even tell the time or the tenants' names.
        """
        self._counts = Counter()
        now = self._clock()
        for name in self._until_stopped(self._tenants.names()):
            with self._guarded(f"tenant {name}"):
                self._sweep_tenant(self._tenants.of(name), now)
        if not self._stopping.is_set():
            self._collect_garbage(now)
        return Swept(**self._counts)

    def _until_stopped(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            if self._stopping.is_set():
                return
            yield name

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """One failure must not keep the rest from being swept."""
        try:
            yield
        except ZooError as error:
            _log.error("not swept: %s: %s", what, error.message)
            self._counts["failures"] += 1
        except Exception:  # noqa: BLE001  (a bug that one dataset meets must not keep the others)
            _log.exception("not swept: %s", what)
            self._counts["failures"] += 1

    def _sweep_tenant(self, tenant: Tenant, now: datetime) -> None:
        folders = _folders(tenant.store.list(DATASETS), tenant.name)
        # Listed after the marks: whoever marks a dataset has stored or is storing the record.
        selections = {
            info.key.rpartition("/")[2].removesuffix(".json"): info.modified for info in tenant.store.list(SELECTIONS)
        }
        for dataset_id in self._until_stopped(folders):
            with self._guarded(f"{dataset_id} of tenant {tenant.name}"):
                self._sweep_dataset(tenant, dataset_id, folders[dataset_id], selections.keys(), now)
        self._sweep_queue(tenant, selections.keys(), now)
        used = {mark for folder in folders.values() if folder.has_record for mark in folder.marks}
        forgotten = [name for name, at in selections.items() if name not in used and _older(at, now, self._kept)]
        for selection_id in self._until_stopped(forgotten):
            with self._guarded(f"{selection_id} of tenant {tenant.name}"):
                self._sweep_selection(tenant, selection_id)

    @property
    def _kept(self) -> timedelta:
        """How long a selection is kept whose dataset is gone."""
        return self._limit or _LEFT_BEHIND

    def _sweep_dataset(
        self, tenant: Tenant, dataset_id: str, folder: _Folder, selections: Iterable[str], now: datetime
    ) -> None:
        limit = self._limit if folder.has_record else _LEFT_BEHIND
        if limit is not None and _older(folder.newest, now, limit):
            self._remove(tenant, dataset_id, now)
            return
        if not folder.has_record:
            return
        prefix = dataset_prefix(dataset_id)
        for pack, at in folder.packs.items():
            if pack not in folder.indexed and _older(at, now, _LEFT_BEHIND):
                tenant.store.delete(f"{prefix}/packs/{pack}.bin")
                self._counts["packs"] += 1
        known = set(selections)
        for selection_id, at in folder.marks.items():
            if selection_id not in known and _older(at, now, _LEFT_BEHIND):
                self._drop_mark(tenant, f"{prefix}/selections/{selection_id}", selection_id)

    def _remove(self, tenant: Tenant, dataset_id: str, now: datetime) -> None:
        """Delete a dataset with its selections, unless it was used since it was listed, which may be long ago.

        Only what is there before the record goes is deleted: the same dataset may be made anew meanwhile.
        """
        objects = list(tenant.store.list(dataset_prefix(dataset_id)))
        folder = _Folder.of(objects)
        limit = self._limit if folder.has_record else _LEFT_BEHIND
        if limit is None or not _older(folder.newest, now, limit):
            return
        if folder.has_record and any(self._works(tenant, name, now, limit) for name in folder.marks):
            return
        if folder.has_record:
            tenant.datasets.delete_record(dataset_id)
        for selection_id in folder.marks:
            tenant.selections.delete(selection_id)
        with ThreadPoolExecutor(_DELETERS, thread_name_prefix="seedzoo-sweeper") as pool:
            for _ in pool.map(tenant.store.delete, [info.key for info in objects if not _is_record(info.key)]):
                pass
        _log.info("%s of tenant %s expired", dataset_id, tenant.name)
        self._counts["datasets" if folder.has_record else "remains"] += 1

    def _works(self, tenant: Tenant, selection_id: str, now: datetime, limit: timedelta) -> bool:
        """Whether a selection is unfinished and its record was written within the limit."""
        try:
            changed = tenant.store.head(selection_key(selection_id)).modified
            return not _older(changed, now, limit) and not tenant.selections.get(selection_id).state.finished
        except NotFound:
            return False
        except IntegrityError as error:
            _log.error("deleted with its dataset: %s", error.message)
            return False

    def _sweep_queue(self, tenant: Tenant, selections: Iterable[str], now: datetime) -> None:
        known = set(selections)
        for info in list(tenant.store.list(QUEUE)):
            selection_id = info.key.rpartition("/")[2]
            if selection_id not in known and _older(info.modified, now, _LEFT_BEHIND):
                with self._guarded(f"{info.key} of tenant {tenant.name}"):
                    self._drop_mark(tenant, info.key, selection_id)

    def _drop_mark(self, tenant: Tenant, mark: str, selection_id: str) -> None:
        tenant.store.delete(mark)
        if tenant.store.exists(selection_key(selection_id)):  # the same call came again, a day later
            tenant.store.put(mark, b"{}")
        else:
            self._counts["marks"] += 1

    def _sweep_selection(self, tenant: Tenant, selection_id: str) -> None:
        try:
            dataset_id = tenant.selections.get(selection_id).request.dataset_id
        except NotFound:
            return  # deleted since it was listed
        if not tenant.store.exists(f"{dataset_prefix(dataset_id)}/dataset.json"):
            tenant.selections.delete(selection_id)
            self._counts["selections"] += 1

    def _collect_garbage(self, now: datetime) -> None:
        if self._garbage_collected is not None and now - self._garbage_collected < _GARBAGE_EVERY:
            return
        with self._guarded("unfinished releases"):
            for release in collect_garbage(self._store, clock=self._clock):
                _log.info("release %s of %s was never committed: deleted", release.id, release.family)
                self._counts["releases"] += 1
            self._garbage_collected = now


async def keep_sweeping(sweeper: Sweeper, *, every_s: float = _EVERY_S) -> None:
    """Sweep for ever; first after a random pause, so that replicas that start together do not sweep together."""
    pause = random.uniform(0, every_s)
    while True:
        await asyncio.sleep(pause)
        pause = every_s
        try:
            swept = await asyncio.to_thread(sweeper.sweep)
        except ZooError as error:
            _log.error("nothing was swept: %s", error.message)
        except Exception:  # noqa: BLE001  (the next sweep may fare better)
            _log.exception("nothing was swept")
        else:
            if swept != Swept():
                _log.info("swept: %s", swept)


def _folders(listed: Iterable[ObjectInfo], tenant: str) -> dict[str, _Folder]:
    """Datasets by their id; what is no dataset's is left alone."""
    found: dict[str, _Folder] = {}
    for info in listed:
        parts = info.key.split("/")
        try:
            dataset_id = check_id("ds", parts[1])
        except NotFound:
            _log.warning("left alone in the store of tenant %s: %s", tenant, info.key)
            continue
        if len(parts) > 2:
            found.setdefault(dataset_id, _Folder()).take(info)
    return found


def _is_record(key: str) -> bool:
    return key.count("/") == 2 and key.endswith("/dataset.json")


def _older(at: datetime, now: datetime, age: timedelta) -> bool:
    return at < now - age
