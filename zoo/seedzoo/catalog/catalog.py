"""Read the catalog: families, releases, variants, profiles and models. Every byte is verified before it is used."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from seedzoo.catalog.bundle import FAMILY_FILE, PROFILE_FILE, SIGNATURES_FILE, check_family
from seedzoo.catalog.codec import decode_json
from seedzoo.catalog.integrity import get_verified, stream_verified
from seedzoo.catalog.names import FamilyRef, VariantRef
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import DataError, IntegrityError, NotFound
from seedzoo.records import Family, FileEntry, Release, Variant
from seedzoo.stress.signature_table import SignatureTable, read_signature_table

__all__ = ["Alias", "Catalog", "alias_key", "release_key", "release_prefix"]


@dataclass(frozen=True, slots=True)
class Alias:
    """A mutable pointer to a release (``aliases/<name>.json``)."""

    release: str
    updated: str


def release_prefix(family: str, release_id: str) -> str:
    """Folder of a release in the store."""
    return f"families/{family}/releases/{release_id}"


def release_key(family: str, release_id: str) -> str:
    """Key of the record whose presence commits a release."""
    return f"{release_prefix(family, release_id)}/release.json"


def alias_key(family: str, alias: str) -> str:
    """Key of an alias."""
    return f"families/{family}/aliases/{alias}.json"


class Catalog:
    """Reads published families from a store; safe to share between threads.

    Releases are immutable, so what was read and verified once is kept in memory (manifests only, not models).
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._families: dict[tuple[str, str], tuple[Family, Release]] = {}

    def family_names(self) -> list[str]:
        """Families with a committed release under the default alias, sorted."""
        return [name for name in self._store.list_folders("families") if self._has_default(name)]

    def _has_default(self, name: str) -> bool:
        return self._store.exists(alias_key(name, FamilyRef(name).at))

    def release(self, ref: FamilyRef) -> Release:
        """The release that a reference means now.

        Raises:
            NotFound: No such family, alias or release.
            IntegrityError: The record is damaged.
        """
        return self._read_release(ref, self._release_id(ref))

    def _read_release(self, ref: FamilyRef, release_id: str) -> Release:
        key = release_key(ref.family, release_id)
        try:
            raw = self._store.get(key)
        except NotFound as error:
            raise self._unknown(ref) from error
        release = decode_json(raw, Release, where=key)
        if release.id != release_id or release.family != ref.family:
            raise IntegrityError(f"{key} describes another release", hint="Publish the family again.")
        return release

    def _release_id(self, ref: FamilyRef) -> str:
        """An alias is looked up; what is no alias must be a release's own identifier."""
        key = alias_key(ref.family, ref.at)
        try:
            return decode_json(self._store.get(key), Alias, where=key).release
        except NotFound:
            return ref.at

    def _unknown(self, ref: FamilyRef) -> NotFound:
        known = self.family_names()
        if ref.family in known:
            return NotFound(f"family {ref.family} has no release or alias {ref.at}", reason="RELEASE_UNKNOWN")
        near = difflib.get_close_matches(ref.family, known, n=1)
        offered = f"Did you mean {near[0]}?" if near else f"Published here: {', '.join(known) or 'none'}."
        return NotFound(f"there is no family {ref.family}", hint=offered, reason="FAMILY_UNKNOWN", field="family")

    def family(self, ref: FamilyRef) -> tuple[Family, Release]:
        """The manifest of a family and the release that it belongs to.

        Raises:
            NotFound: No such family, alias or release.
            IntegrityError: The manifest is damaged or breaks a rule of publishing.
        """
        release_id = self._release_id(ref)
        cached = self._families.get((ref.family, release_id))
        if cached is not None:
            return cached
        release = self._read_release(ref, release_id)
        family = decode_json(self._file(release, FAMILY_FILE), Family, where=f"{FAMILY_FILE} of {release.family}")
        try:
            check_family(family)
        except DataError as error:
            raise IntegrityError(f"release {release.id}: {error.message}", hint="Publish the family again.") from error
        listed = {entry.path: entry for entry in release.files}
        for variant in family.variants:
            if listed.get(variant.model.path) != variant.model:
                raise IntegrityError(
                    f"release {release.id} of {family.name} lists another model for {variant.tag} than its manifest",
                    hint="Publish the family again.",
                )
        with self._lock:  # only what was found whole is remembered
            self._families[(ref.family, release_id)] = (family, release)
        return family, release

    def variant(self, ref: VariantRef) -> tuple[Variant, Family, Release]:
        """One variant with its family and release. Raises NotFound and IntegrityError."""
        family, release = self.family(ref.family)
        for variant in family.variants:
            if variant.tag == ref.tag:
                return variant, family, release
        raise NotFound(
            f"family {family.name} has no variant {ref.tag}",
            hint=f"It has {len(family.variants)}: zoo variants {family.name} lists them.",
            reason="VARIANT_UNKNOWN",
            field="variant",
        )

    def profile_bytes(self, release: Release) -> bytes:
        """The profile of a release as Parquet. Raises IntegrityError."""
        return self._file(release, PROFILE_FILE)

    def signatures(self, release: Release) -> SignatureTable | None:
        """The signatures measured with the profile; None where the release has none. Raises IntegrityError."""
        if all(entry.path != SIGNATURES_FILE for entry in release.files):
            return None
        try:
            return read_signature_table(self._file(release, SIGNATURES_FILE), where=SIGNATURES_FILE)
        except DataError as error:
            raise IntegrityError(f"release {release.id}: {error.message}", hint="Publish the family again.") from error

    def model(self, release: Release, variant: Variant) -> bytes:
        """A variant's ONNX file. Raises IntegrityError."""
        return self._file(release, variant.model.path)

    def model_stream(self, release: Release, variant: Variant, offset: int, chunk_size: int) -> Iterator[bytes]:
        """A variant's ONNX file from ``offset`` on; the last chunk comes only after all of it was verified."""
        entry = variant.model
        try:
            yield from stream_verified(
                self._store,
                self._key(release, entry),
                size=entry.size,
                sha256=entry.sha256,
                offset=offset,
                chunk_size=chunk_size,
            )
        except NotFound as error:
            raise _lost(release, entry.path) from error

    def model_url(self, release: Release, variant: Variant, expires_s: int) -> str | None:
        """A presigned URL of a variant's ONNX file where the store can make one."""
        return self._store.presign_get(self._key(release, variant.model), expires_s)

    def _key(self, release: Release, entry: FileEntry) -> str:
        return f"{release_prefix(release.family, release.id)}/{entry.path}"

    def _file(self, release: Release, path: str) -> bytes:
        entry = next((entry for entry in release.files if entry.path == path), None)
        if entry is None:
            raise _lost(release, path)
        try:
            return get_verified(self._store, self._key(release, entry), size=entry.size, sha256=entry.sha256)
        except NotFound as error:
            raise _lost(release, path) from error


def _lost(release: Release, path: str) -> IntegrityError:
    return IntegrityError(f"release {release.id} of {release.family} has lost {path}", hint="Publish the family again.")
