"""Quotas: what a tenant may keep, and how much it keeps.

    tenants/<tenant>/tenant.json    the tenant's own quota; where it says nothing, the server's default holds

What counts is what was announced and described, not what has arrived: a call that says how much will come is refused,
never an upload in the middle. Usage is measured by listing the tenant's datasets. A process does that once a minute at
most, while the tenant adds something, and counts what it adds itself in between as it happens. Other replicas add
without its knowledge for that minute: together they may pass a quota by a few percent. A refusal rests on numbers that
are a few seconds old at most, so what was deleted, and a quota that was raised, counts soon.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.store import ObjectInfo, ObjectStore
from seedzoo.errors import Conflict, IntegrityError, LimitExceeded, NotFound, RequestError
from seedzoo_server.storage.dataset_records import DatasetRecord, Item
from seedzoo_server.storage.keys import DATASETS

__all__ = ["TENANT_KEY", "Meter", "Quota", "QuotaGuard", "Usage", "change_quota", "read_quota", "show_bytes"]

_log = logging.getLogger(__name__)

TENANT_KEY = "tenant.json"
"""In the tenant's folder."""
REMEMBERED_S = 60.0
_REFUSES_WITHIN_S = 5.0
_READERS = 8
_ATTEMPTS = 10
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Quota:
    """``tenant.json``: at most so much; 0 for no limit, None for the server's default."""

    max_bytes: int | None = None
    """Bytes of all described items."""
    max_datasets: int | None = None
    max_items: int | None = None
    """Announced items of all datasets."""
    max_image_pixels: int | None = None
    """Pixels of the largest image that is decoded; the server's own limit holds beside it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 <= value <= _LARGEST:
                raise RequestError(
                    f"{field.name} = {value} is {'negative' if value < 0 else 'too large'}",
                    hint="0 means no limit.",
                    field=field.name,
                )

    def over(self, default: Quota) -> Quota:
        """This quota, and ``default`` where it says nothing."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(default, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Usage:
    """What is kept, or would be added."""

    datasets: int = 0
    items: int = 0
    bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.datasets + other.datasets, self.items + other.items, self.bytes + other.bytes)


def read_quota(store: ObjectStore) -> tuple[Quota, str | None]:
    """A tenant's own quota and its etag; one that says nothing, and None, where there is none.

    Args:
        store: The tenant's folder.

    Raises:
        IntegrityError: The record is damaged.
    """
    try:
        raw, etag = store.get_with_etag(TENANT_KEY)
    except NotFound:
        return Quota(), None
    try:
        return decode_json(raw, Quota, where=TENANT_KEY), etag
    except RequestError as error:
        raise IntegrityError(
            f"{TENANT_KEY}: {error.message}", hint="Set the quota anew: zoo tenant set.", reason="RECORD_INVALID"
        ) from error


def change_quota(store: ObjectStore, changes: Mapping[str, int | None]) -> Quota:
    """Change some of a tenant's quotas and return all of them.

    Args:
        store: The tenant's folder.
        changes: By the name of the field.

    Raises:
        RequestError: A negative number.
        IntegrityError: What is stored is damaged.
        Conflict: Others kept changing it in between.
    """
    for _ in range(_ATTEMPTS):
        quota, etag = read_quota(store)
        quota = replace(quota, **changes)
        try:
            store.put(TENANT_KEY, encode_json(quota), if_absent=etag is None, if_match=etag)
        except Conflict:
            continue
        return quota
    raise Conflict("the quota kept changing while it was set", hint="Set it again.")


class Meter:
    """Measures what a tenant keeps. Records never change, so each is read once; for one thread at a time.

    Args:
        store: The tenant's folder.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Usage] = {}

    def measure(self) -> dict[str, Usage]:
        """By its key, what each record of a dataset and each batch of descriptions stands for."""
        listed = [info for info in self._store.list(DATASETS) if _counts(info.key)]
        there = {info.key.split("/")[1] for info in listed if info.key.endswith("/dataset.json")}
        # What a deletion has not removed yet, or left, is no dataset's any more.
        listed = [info for info in listed if info.key.split("/")[1] in there]
        new = [info for info in listed if (info.key, info.etag) not in self._known]
        with ThreadPoolExecutor(_READERS, thread_name_prefix="seedzoo-quota") as pool:
            read = {(info.key, info.etag): usage for info, usage in zip(new, pool.map(self._read, new), strict=True)}
        self._known = {
            (info.key, info.etag): (read if (info.key, info.etag) in read else self._known)[info.key, info.etag]
            for info in listed
        }
        return {key: usage for (key, _), usage in self._known.items()}

    def total(self) -> Usage:
        """All that the tenant keeps."""
        return sum(self.measure().values(), Usage())

    def _read(self, info: ObjectInfo) -> Usage:
        is_record = info.key.endswith("/dataset.json")
        try:
            raw = self._store.get(info.key)
            if is_record:
                return Usage(datasets=1, items=decode_json(raw, DatasetRecord, where=info.key).item_count)
            return Usage(bytes=sum(item.size for item in decode_json(raw, tuple[Item, ...], where=info.key)))
        except NotFound:
            return Usage()  # deleted since it was listed
        except IntegrityError as error:
            _log.error("counted as empty: %s", error.message)
            return Usage(datasets=1) if is_record else Usage()


def _counts(key: str) -> bool:
    parts = key.split("/")
    return (len(parts) == 3 and parts[2] == "dataset.json") or (len(parts) == 4 and parts[2] == "items")


@dataclass(eq=False, slots=True)
class _Taken:
    """Something that this process adds, until a measurement shows it."""

    key: str
    usage: Usage
    written: bool = False


class QuotaGuard:
    """Refuses what would pass a tenant's quota; safe to share between threads.

    Args:
        store: The tenant's folder.
        tenant: Its name, for messages.
        default: What holds where ``tenant.json`` says nothing.
        monotonic: Says the time in seconds.
    """

    def __init__(
        self, store: ObjectStore, *, tenant: str, default: Quota, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._default = default
        self._monotonic = monotonic
        self._meter = Meter(store)
        self._lock = threading.Lock()
        self._measuring = threading.Lock()
        self._quota = default
        self._measured: Usage | None = None
        self._measured_at = self._forgotten_at = float("-inf")
        self._taken: set[_Taken] = set()

    @contextmanager
    def taking(self, key: str, wanted: Usage, *, field: str) -> Iterator[None]:
        """Count what is written inside; where that fails, it does not count.

        Args:
            key: The object that is written.
            wanted: What it adds.
            field: The request's field at fault where it is too much.

        Raises:
            LimitExceeded: It would pass a quota; nothing may be written.
        """
        taken = _Taken(key, wanted)
        self._measure(REMEMBERED_S)
        if self._count(taken, field) is not None:
            # What is remembered may hold what was deleted since, or a quota that has been raised.
            self._measure(_REFUSES_WITHIN_S, wait=True)
            if (refused := self._count(taken, field)) is not None:
                raise refused
        try:
            yield
        except BaseException:
            with self._lock:
                self._taken.discard(taken)
            raise
        taken.written = True

    def forget(self) -> None:
        """Something was deleted: measure anew before the next thing is added."""
        with self._lock:
            self._forgotten_at = self._monotonic()

    def _measure(self, max_age: float, *, wait: bool = False) -> None:
        """Measure unless that was done within ``max_age`` seconds. While another thread does, the old numbers do."""
        if self._fresh(max_age) or not self._measuring.acquire(blocking=wait or self._measured is None):
            return
        try:
            if self._fresh(max_age):
                return
            with self._lock:
                # What was written by now is in the listing, or deleted again. What is being written may be or not.
                seen = {taken for taken in self._taken if taken.written}
            at = self._monotonic()
            quota = read_quota(self._store)[0].over(self._default)
            found = self._meter.measure()
            with self._lock:
                self._taken = {taken for taken in self._taken if taken not in seen and taken.key not in found}
                self._measured, self._measured_at, self._quota = sum(found.values(), Usage()), at, quota
        finally:
            self._measuring.release()

    def _fresh(self, max_age: float) -> bool:
        with self._lock:
            return self._forgotten_at < self._measured_at and self._monotonic() - self._measured_at < max_age

    def _count(self, taken: _Taken, field: str) -> LimitExceeded | None:
        """Count it; or say why not."""
        with self._lock:
            # The same call twice at the same time adds once: only one of them writes.
            added = {each.key: each.usage for each in self._taken if each.key != taken.key}
            used = sum(added.values(), self._measured or Usage())
            for name, limit, has, wants, show in (
                ("max_datasets", self._quota.max_datasets, used.datasets, taken.usage.datasets, str),
                ("max_items", self._quota.max_items, used.items, taken.usage.items, str),
                ("max_bytes", self._quota.max_bytes, used.bytes, taken.usage.bytes, show_bytes),
            ):
                if limit and wants and has + wants > limit:
                    return LimitExceeded(
                        f"this would pass the quota {name} of tenant {self._tenant}: {show(has)} of {show(limit)} "
                        f"are used, and it would take {show(wants)} more",
                        hint="Delete datasets that are not needed any more (zoo forget DATASET), "
                        "or ask the operator of the server for more.",
                        reason="QUOTA_EXCEEDED",
                        field=field,
                    )
            self._taken.add(taken)
            return None


def show_bytes(count: int) -> str:
    """A number of bytes for people, in powers of 1,000."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.2f} {unit}"
