"""Garbage of publishing: releases that were begun and never committed.

Publishing refuses to commit half a day after it began, and nothing of a release is written before that beginning. So a
release without ``release.json`` whose newest object is a day old will never be committed: it may go without any lock.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from seedzoo.catalog.catalog import release_key, release_prefix
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import RequestError

__all__ = ["GARBAGE_AFTER", "GarbageRelease", "collect_garbage", "store_now"]

GARBAGE_AFTER = timedelta(hours=24)
"""Twice the time in which a publish may commit; the rest is room for clocks that differ and requests that hang."""


@dataclass(frozen=True, slots=True)
class GarbageRelease:
    """What an unfinished publish left."""

    family: str
    id: str
    objects: int
    bytes: int
    newest: datetime
    """Time of its last write, on the store's clock."""


def store_now(store: ObjectStore) -> datetime:
    """The time on the store's own clock, in UTC: what an object that is written now gets as ``modified``.

    Whoever judges the age of objects by this clock cannot be misled by the one of this machine.
    """
    key = f"probes/clock-{secrets.token_hex(8)}"
    store.put(key, b"", if_absent=True)
    try:
        return store.head(key).modified
    finally:
        store.delete(key)


def collect_garbage(
    store: ObjectStore,
    *,
    older_than: timedelta = GARBAGE_AFTER,
    clock: Callable[[], datetime] | None = None,
    dry_run: bool = False,
) -> list[GarbageRelease]:
    """Delete uncommitted releases whose newest object is older than ``older_than``; committed ones are never touched.

    Safe while others publish and collect.

    Args:
        store: The whole store.
        older_than: At least 24 hours.
        clock: Says the time in UTC; the store's own clock when omitted.
        dry_run: Only say what would be deleted.

    Returns:
        What was deleted.

    Raises:
        RequestError: ``older_than`` would reach publishes that may still commit.
        StoreError: The store failed; what it had deleted by then is gone, and the next run goes on.
    """
    if older_than < GARBAGE_AFTER:
        raise RequestError(
            f"garbage must be at least {GARBAGE_AFTER} old, not {older_than}: a publish might still commit it",
            hint="Wait.",
            field="older_than",
        )
    now: datetime | None = None
    found = []
    for family, release_id in _uncommitted(store):
        # Before the listing and only where it is needed: reading a store must not write to it.
        now = now or (store_now(store) if clock is None else clock())
        left = _left_behind(store, family, release_id)
        if left is None or left.newest >= now - older_than:
            continue
        if not dry_run:
            store.delete_prefix(release_prefix(family, release_id))
        found.append(left)
    return found


def _uncommitted(store: ObjectStore) -> Iterator[tuple[str, str]]:
    for family in store.list_folders("families"):
        for release_id in store.list_folders(f"families/{family}/releases"):
            if not store.exists(release_key(family, release_id)):
                yield family, release_id


def _left_behind(store: ObjectStore, family: str, release_id: str) -> GarbageRelease | None:
    """What is there of an uncommitted release; None where it was committed or deleted since it was found."""
    objects = list(store.list(release_prefix(family, release_id)))
    if not objects or any(info.key == release_key(family, release_id) for info in objects):
        return None
    return GarbageRelease(
        family=family,
        id=release_id,
        objects=len(objects),
        bytes=sum(info.size for info in objects),
        newest=max(info.modified for info in objects),
    )
