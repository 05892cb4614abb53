"""Open a store by its URL, and find out whether it can be trusted with releases."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import Conflict, MissingExtra, RequestError, StoreUnsafe

__all__ = ["open_store", "require_conditional_writes"]

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_HALF_SCHEME = re.compile(r"^(s3|file|memory):", re.IGNORECASE)
_S3_QUERY = {"endpoint", "region"}
_KINDS = "Use s3://bucket/prefix, file:///directory, a plain path, or memory://."


def _invalid(message: str, hint: str = _KINDS) -> RequestError:
    return RequestError(message, hint=hint, reason="STORE_URL_INVALID", field="store")


def _no_overrides(overrides: dict[str, object], scheme: str) -> None:
    if overrides:
        raise _invalid(f"a {scheme} store takes no {', '.join(sorted(overrides))}")


def _open_s3(url: str, overrides: dict[str, object]) -> ObjectStore:
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise _invalid(
            "an s3:// URL must not hold credentials",
            "Put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    shown = f"s3://{parts.netloc}{parts.path}"  # without the query, where people put what should be secret
    if not parts.netloc or parts.fragment:
        raise _invalid(f"{shown!r} names no bucket" if not parts.netloc else f"{shown!r} has a '#' part")
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = sorted(set(query) - _S3_QUERY)
    if unknown:
        raise _invalid(f"unknown part {unknown[0]!r} in the URL of {shown!r}", "Known are endpoint= and region=.")
    settings: dict[str, object] = {
        "endpoint_url": query.get("endpoint") or os.environ.get("SEEDZOO_S3_ENDPOINT") or None,
        "region": query.get("region") or None,
    }
    settings |= overrides
    try:
        from seedzoo.catalog.s3 import S3Store  # noqa: PLC0415  (the base install has no boto3)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in {"boto3", "botocore"}:
            raise
        raise MissingExtra(
            f"opening {shown!r} needs boto3, which is not installed", hint="pip install 'seedzoo[local]'"
        ) from error
    try:
        return S3Store(parts.netloc, unquote(parts.path).strip("/"), **settings)  # type: ignore[arg-type]
    except TypeError as error:
        raise _invalid(f"an s3 store cannot take {', '.join(sorted(overrides))}: {error}") from error


def _open_file(url: str, overrides: dict[str, object]) -> ObjectStore:
    _no_overrides(overrides, "file")
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"} or not parts.path or parts.query or parts.fragment:
        raise _invalid(f"{url!r} is not a local directory", "Write file:///absolute/path or a plain path.")
    return LocalStore(Path(unquote(parts.path)))


def _open_memory(url: str, overrides: dict[str, object]) -> ObjectStore:
    _no_overrides(overrides, "memory")
    if url.split("://", 1)[1]:
        raise _invalid(f"{url!r} names something inside memory://, which has no names")
    return MemoryStore()


_OPENERS: dict[str, Callable[[str, dict[str, object]], ObjectStore]] = {
    "s3": _open_s3,
    "file": _open_file,
    "memory": _open_memory,
}


def open_store(url: str, **overrides: object) -> ObjectStore:
    """Open the store that a URL names, without talking to it yet.

    Args:
        url: ``s3://bucket/prefix`` (with ``?endpoint=https://…&region=…`` where needed), ``file:///directory``,
            a plain path, or ``memory://`` (a new, empty store each time).
        **overrides: Arguments of :class:`~seedzoo.catalog.s3.S3Store` that win over the URL and environment.

    The S3 endpoint is the override, else ``?endpoint=``, else ``SEEDZOO_S3_ENDPOINT``, else what boto3 finds
    (``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``, its configuration files, Amazon's own).

    Raises:
        RequestError: The URL cannot be used.
        MissingExtra: boto3 is not installed.
    """
    if not url or "\0" in url:
        raise _invalid("the store's URL is empty" if not url else "the store's URL has a NUL character")
    found = _SCHEME.match(url)
    if found is None:
        if _HALF_SCHEME.match(url):
            raise _invalid(f"{url!r} lacks the '//' after the colon")
        _no_overrides(overrides, "file")
        return LocalStore(Path(url))
    opener = _OPENERS.get(found[1].lower())
    if opener is None:
        raise _invalid(f"{found[1]!r} is no kind of store that seedzoo knows")
    return opener(url, overrides)


def _refused(store: ObjectStore, key: str, data: bytes, *, if_absent: bool, if_match: str | None) -> bool:
    try:
        store.put(key, data, if_absent=if_absent, if_match=if_match)
    except Conflict:
        return True
    return False


def require_conditional_writes(store: ObjectStore) -> None:
    """Make sure that a store refuses a second creation and a stale replacement.

    Releases, aliases and leases rest on this: on a store that ignores the conditions, two publishers
    overwrite each other and nobody notices. Writes one small object under ``probes/`` and removes it again.

    Raises:
        StoreUnsafe: The store ignores ``If-None-Match`` or ``If-Match``, or refuses a valid one.
    """

    def unsafe(what: str) -> StoreUnsafe:
        return StoreUnsafe(
            f"{store.url} {what}",
            hint="Use a store with conditional writes: Amazon S3, a recent SeaweedFS, MinIO or Ceph, "
            "or a local directory.",
        )

    key = f"probes/conditional-writes-{secrets.token_hex(8)}"
    first = store.put(key, b"first", if_absent=True)  # outside: where this fails there is nothing to remove
    try:
        if not _refused(store, key, b"second", if_absent=True, if_match=None):
            raise unsafe("overwrites an object that must only be created (If-None-Match is ignored)")
        try:
            store.put(key, b"third", if_match=first)
        except Conflict as error:
            raise unsafe("refuses to replace an object by its current etag (If-Match is broken)") from error
        if not _refused(store, key, b"fourth", if_absent=False, if_match=first):
            raise unsafe("overwrites an object that somebody else changed (If-Match is ignored)")
        if store.get(key) != b"third":
            raise unsafe("does not return what was written last")
    finally:
        store.delete(key)
