"""The catalog: everything durable, in an object store."""

from __future__ import annotations

from seedzoo.catalog.integrity import get_verified, sha256_file, sha256_hex, stream_verified
from seedzoo.catalog.open import open_store, require_conditional_writes
from seedzoo.catalog.store import ObjectInfo, ObjectStore

__all__ = [
    "ObjectInfo",
    "ObjectStore",
    "get_verified",
    "open_store",
    "require_conditional_writes",
    "sha256_file",
    "sha256_hex",
    "stream_verified",
]
