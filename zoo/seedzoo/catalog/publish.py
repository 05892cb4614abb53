"""Publish a bundle: write everything, then commit with one conditional write, then move the alias.

A release is visible only through its ``release.json``, which is written last and only if absent: a crash at any
moment leaves either the whole release or nothing that anybody sees. An uncommitted release older than a day is
garbage, so a commit that would come more than half a day after its start is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ulid import ULID

from seedzoo.catalog.bundle import Bundle, open_bundle
from seedzoo.catalog.catalog import Alias, Catalog, alias_key, release_key, release_prefix
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.current import LONGEST_S, tell_change
from seedzoo.catalog.integrity import stream_verified
from seedzoo.catalog.names import DEFAULT_ALIAS, FamilyRef, check_name
from seedzoo.catalog.open import require_conditional_writes
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import Conflict, IntegrityError, NotFound, StoreError, ZooError
from seedzoo.records import FileEntry, Release

__all__ = ["publish", "publish_bundle", "set_alias"]

_log = logging.getLogger(__name__)

_COMMIT_WITHIN_S = 12 * 3600
_ALIAS_ATTEMPTS = 10


def publish(
    store: ObjectStore,
    folder: Path,
    *,
    alias: str = DEFAULT_ALIAS,
    on_file: Callable[[FileEntry], None] = lambda _: None,
) -> tuple[Release, bool]:
    """Open the bundle in ``folder``, check it, and publish it as :func:`publish_bundle` does.

    Raises:
        DataError: The bundle breaks a rule.
        IntegrityError: A file differs from its manifest.
        StoreError: As for :func:`publish_bundle`.
    """
    check_name(alias, "alias")
    return publish_bundle(store, open_bundle(folder), alias=alias, on_file=on_file)


def publish_bundle(
    store: ObjectStore,
    bundle: Bundle,
    *,
    alias: str = DEFAULT_ALIAS,
    on_file: Callable[[FileEntry], None] = lambda _: None,
) -> tuple[Release, bool]:
    """Publish an opened bundle and point ``alias`` at it.

    Args:
        store: Where to.
        bundle: As :func:`seedzoo.catalog.bundle.open_bundle` found it.
        alias: Mutable name that will mean this release.
        on_file: Called after each file that was written.

    Returns:
        The release, and whether it is new: a bundle whose files equal those of the release that the alias already
        means is not written again.

    Raises:
        RequestError: The alias is no name.
        StoreUnsafe: The store ignores conditional writes.
        StoreError: The store failed, or writing took longer than half a day; nothing of it is visible.
    """
    check_name(alias, "alias")
    require_conditional_writes(store)
    name = bundle.family.name
    current = _current(store, FamilyRef(name, alias))
    if current is not None and set(current.files) == set(bundle.files) and _whole(store, current):
        return current, False
    started = _uptime()
    release = Release(
        family=name, id=str(ULID()), created=datetime.now(UTC).isoformat(timespec="seconds"), files=bundle.files
    )
    prefix = release_prefix(name, release.id)
    for entry in bundle.files:
        store.put_file(f"{prefix}/{entry.path}", bundle.folder / entry.path, if_absent=True)
        on_file(entry)
    if _uptime() - started > _COMMIT_WITHIN_S:
        raise StoreError(
            f"writing release {release.id} of {name} took more than 12 hours, so it was not committed",
            hint="Publish again over a faster connection.",
            reason="COMMIT_TOO_LATE",
        )
    store.put(release_key(name, release.id), encode_json(release), if_absent=True)
    set_alias(store, name, alias, release.id)
    return release, True


def _uptime() -> float:
    """Seconds that also pass while the machine sleeps, which ``time.monotonic`` does not count on Linux."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def set_alias(store: ObjectStore, family: str, alias: str, release_id: str) -> None:
    """Point an alias at a committed release, by compare-and-set.

    Raises:
        NotFound: The release is not committed.
        Conflict: Others kept moving the alias in between.
    """
    if not store.exists(release_key(family, release_id)):
        raise NotFound(f"{family} has no release {release_id}", reason="RELEASE_UNKNOWN")
    key = alias_key(family, alias)
    record = encode_json(Alias(release=release_id, updated=datetime.now(UTC).isoformat(timespec="seconds")))
    for _ in range(_ALIAS_ATTEMPTS):
        try:
            try:
                _, etag = store.get_with_etag(key)
            except NotFound:
                store.put(key, record, if_absent=True)
            else:
                store.put(key, record, if_match=etag)
        except Conflict:
            continue
        _tell(store, name=f"{family}@{alias}")
        return
    raise Conflict(f"alias {alias} of {family} kept changing while it was set", hint="Set it again.")


def _tell(store: ObjectStore, *, name: str) -> None:
    try:
        tell_change(store)
    except ZooError as error:  # the alias has moved, so nothing failed: servers find out by themselves
        _log.warning("servers may take %.0f s to notice %s: %s", LONGEST_S, name, error.message)


def _current(store: ObjectStore, ref: FamilyRef) -> Release | None:
    """The release that an alias means; None where there is none, or where what is stored is damaged."""
    try:
        return Catalog(store).committed(ref)
    except IntegrityError:
        return None  # publishing again is what repairs it


def _whole(store: ObjectStore, release: Release) -> bool:
    """Whether every file of a release is still what was committed."""
    prefix = release_prefix(release.family, release.id)
    try:
        for entry in release.files:
            for _ in stream_verified(store, f"{prefix}/{entry.path}", size=entry.size, sha256=entry.sha256):
                pass
    except (NotFound, IntegrityError):
        return False
    return True
