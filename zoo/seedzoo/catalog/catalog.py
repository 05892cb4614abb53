"""Read the catalog: families, releases, variants, profiles and models. Every byte is verified before it is used."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from seedzoo.catalog.bundle import (
    FAMILY_CARD,
    FAMILY_FILE,
    PROFILE_FILE,
    SIGNATURES_FILE,
    card_path,
    check_family,
    check_profile,
    check_signatures,
    model_files,
)
from seedzoo.catalog.certificate import check_certificate
from seedzoo.catalog.codec import decode_json
from seedzoo.catalog.current import Current
from seedzoo.catalog.integrity import get_verified, stream_verified
from seedzoo.catalog.names import FamilyRef, VariantRef, is_name
from seedzoo.catalog.recent import Recent
from seedzoo.catalog.selectable import model_of, require_selectable
from seedzoo.catalog.store import ObjectStore
from seedzoo.catalog.twins import own_profile, twin_profile
from seedzoo.errors import DataError, IntegrityError, InvalidInput, NotFound
from seedzoo.records import Family, FileEntry, Release, Variant
from seedzoo.stress.signature_table import SignatureTable, read_signature_table
from seedzoo.stress.table import ProfileTable, read_profile

__all__ = ["Alias", "Catalog", "alias_key", "release_key", "release_prefix"]

_MANIFEST_BYTES = 96 << 20
"""Of manifests that are kept parsed, as :func:`_size` reckons."""
_CERTIFIED = 10_000
_NAMED = 20
"""Most families that an error names."""
_PROFILE_NUMBERS = 2_000_000
"""Numbers in the profiles that are kept parsed, counts per class included, 25 to 40 bytes each once rows are made."""


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


def _numbers(tables: tuple[ProfileTable, ProfileTable]) -> int:
    rows = [table.columns.row(0) for table in tables if len(table.columns)]
    per_row = 20 + max((2 * len(row.class_n or ()) for row in rows), default=0)
    return per_row * sum(len(table.columns) for table in tables)


def _size(published: tuple[Family, Release]) -> int:
    """About the bytes of memory of a manifest."""
    family, release = published
    entries = 0 if family.certificate is None else len(family.certificate.entries)
    variants = sum(500 + 100 * (len(variant.seeds) + len(variant.factors)) for variant in family.variants)
    return 2_000 + variants + 400 * len(release.files) + 300 * len(list(model_files(family))) + 250 * entries


class Catalog:
    """Reads published families from a store; safe to share between threads.

    Releases are immutable, so what was read and verified once is kept in memory (manifests and profiles, not models),
    up to a bound.

    Args:
        store: Where they are.
        look_s: For how long it is believed that no alias was moved, in seconds; see :mod:`seedzoo.catalog.current`.
    """

    def __init__(self, store: ObjectStore, *, look_s: float = 0.0) -> None:
        self._store = store
        self._current: Current[tuple[str, ...]] = Current(store, look_s=look_s)
        """By family and alias the release that it means; by an empty tuple the names of all families."""
        self._families: Recent[tuple[str, str], tuple[Family, Release]] = Recent(_MANIFEST_BYTES, weigh=_size)
        self._profiles: Recent[tuple[str, str], tuple[ProfileTable, ProfileTable]] = Recent(
            _PROFILE_NUMBERS, weigh=_numbers
        )
        self._certified: Recent[tuple[str, str], str] = Recent(_CERTIFIED)
        """Releases whose certificate was recomputed, and what was wrong with it; empty where it holds."""

    def folder_names(self) -> list[str]:
        """Names under which something was written, sorted; a family of them may lack a release that anybody sees."""

        def read() -> tuple[str, ...]:
            return tuple(name for name in self._store.list_folders("families", hollow=True) if is_name(name))

        return list(self._current.get((), read))

    def family_names(self) -> list[str]:
        """Families under the default alias, sorted; asks the store about each, so it is not for every call."""
        return [name for name in self.folder_names() if self._has_default(name)]

    def default(self, name: str) -> tuple[Family, Release] | None:
        """The family under the default alias, or None where there is no such alias. Raises as :meth:`family`."""
        ref = FamilyRef(name)
        try:
            release_id = self._aliased(ref)
        except NotFound:
            return None
        return self._families.get((name, release_id), lambda: self._read_family(ref, release_id))

    def _has_default(self, name: str) -> bool:
        return self._store.exists(alias_key(name, FamilyRef(name).at))

    def release(self, ref: FamilyRef) -> Release:
        """The release that a reference means now.

        Raises:
            NotFound: No such family, alias or release.
            IntegrityError: The record is damaged.
        """
        return self._read_release(ref, self._release_id(ref))

    def committed(self, ref: FamilyRef) -> Release | None:
        """As :meth:`release`, but None where there is none, which nobody is told about at length."""
        try:
            return self._stored_release(ref, self._release_id(ref))
        except NotFound:
            return None

    def _read_release(self, ref: FamilyRef, release_id: str) -> Release:
        try:
            return self._stored_release(ref, release_id)
        except NotFound as error:
            if release_id != ref.at:
                lost = f"family {ref.family} has lost release {release_id}, which its alias {ref.at} means"
                raise NotFound(lost, hint="Publish the family again.", reason="RELEASE_UNKNOWN") from error
            raise self._unknown(ref) from error

    def _stored_release(self, ref: FamilyRef, release_id: str) -> Release:
        key = release_key(ref.family, release_id)
        raw = self._store.get(key)
        release = decode_json(raw, Release, where=key)
        if release.id != release_id or release.family != ref.family:
            raise IntegrityError(f"{key} describes another release", hint="Publish the family again.")
        if not _is_time(release.created):
            raise IntegrityError(f"{key} does not say when it was made", hint="Publish the family again.")
        return release

    def _release_id(self, ref: FamilyRef) -> str:
        """An alias is looked up; what is no alias must be a release's own identifier."""
        try:
            return self._aliased(ref)
        except NotFound:
            return ref.at

    def _aliased(self, ref: FamilyRef) -> str:
        def read() -> tuple[str, ...]:
            key = alias_key(ref.family, ref.at)
            release_id = decode_json(self._store.get(key), Alias, where=key).release
            if not is_name(release_id):
                raise IntegrityError(f"{key} names no release", hint="Publish the family again.")
            return (release_id,)

        return self._current.get((ref.family, ref.at), read)[0]

    def known_release_id(self, ref: FamilyRef) -> str | None:
        """The release that an alias means, where that is known without asking the store."""
        found = self._current.known((ref.family, ref.at))
        return None if found is None else found[0]

    def _unknown(self, ref: FamilyRef) -> NotFound:
        folders = self.folder_names()
        if ref.family in folders and self._has_default(ref.family):
            return NotFound(f"family {ref.family} has no release or alias {ref.at}", reason="RELEASE_UNKNOWN")
        # Only names that will be shown are looked up: a slip must not cost a question about each of a thousand.
        near = [name for name in difflib.get_close_matches(ref.family, folders, n=3) if self._has_default(name)]
        known = [name for name in folders[:_NAMED] if self._has_default(name)]
        more = ", …" if len(folders) > _NAMED else ""
        offered = f"Did you mean {near[0]}?" if near else f"Published here: {', '.join(known) or 'none'}{more}."
        return NotFound(f"there is no family {ref.family}", hint=offered, reason="FAMILY_UNKNOWN", field="family")

    def family(self, ref: FamilyRef) -> tuple[Family, Release]:
        """The manifest of a family and the release that it belongs to.

        Raises:
            NotFound: No such family, alias or release.
            IntegrityError: The manifest is damaged or breaks a rule of publishing.
        """
        release_id = self._release_id(ref)
        return self._families.get((ref.family, release_id), lambda: self._read_family(ref, release_id))

    def of_release(self, family: str, release_id: str) -> tuple[Family, Release]:
        """As :meth:`family`, of a release by its own identifier, which no alias can stand before."""
        key = (family, release_id)
        return self._families.get(key, lambda: self._read_family(FamilyRef(*key), release_id))

    def _read_family(self, ref: FamilyRef, release_id: str) -> tuple[Family, Release]:
        release = self._read_release(ref, release_id)
        family = decode_json(self._file(release, FAMILY_FILE), Family, where=f"{FAMILY_FILE} of {release.family}")
        try:
            check_family(family)
        except InvalidInput as error:
            raise _unfit(release, error) from error
        if family.name != release.family:
            raise IntegrityError(f"release {release.id} of {release.family} holds the manifest of {family.name}")
        listed = {entry.path: entry for entry in release.files}
        for entry in model_files(family):
            if listed.get(entry.path) != entry:
                raise IntegrityError(
                    f"release {release.id} of {family.name} lists another {entry.path} than its manifest",
                    hint="Publish the family again.",
                )
        return family, release

    def selectable(self, ref: FamilyRef) -> tuple[Family, Release]:
        """A family that variants may be chosen from: all models at hand, and a certificate that holds.

        The certificate of a release is recomputed once.

        Raises:
            NotFound: No such family, alias or release.
            RequestError: It is for browsing only (FAMILY_BROWSE_ONLY); says what can be selected from.
            IntegrityError: The manifest is damaged, or the certificate does not hold (CERTIFICATE_INVALID).
        """
        family, release = self.family(ref)
        if not family.selectable:
            require_selectable(family, self.selectable_names())
        key = (release.family, release.id)
        if fault := self._certified.get(key, lambda: self._certificate_fault(family, release)):
            raise IntegrityError(
                f"release {release.id}: {fault}",
                hint="Nothing is selected from it. Tell whoever runs the server: the family must be built again.",
                reason="CERTIFICATE_INVALID",
            )
        return family, release

    def _certificate_fault(self, family: Family, release: Release) -> str:
        try:
            check_certificate(family, self.profile(release))
        except DataError as error:
            return error.message
        return ""

    def selectable_names(self) -> list[str]:
        """The first few families whose default release holds all models and a certificate; no damaged ones."""
        found = []
        for name in self.folder_names():
            try:
                published = self.default(name)
            except (NotFound, IntegrityError):
                continue  # this only helps somebody who named another family
            if published is not None and published[0].selectable:
                found.append(name)
            if len(found) == _NAMED:
                break
        return found

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

    def profile(self, release: Release) -> ProfileTable:
        """The profile of the variants, without their quantised twins. Raises IntegrityError."""
        return self.profiles(release)[0]

    def profiles(self, release: Release) -> tuple[ProfileTable, ProfileTable]:
        """The profile of the variants, and that of their quantised twins under the same tags. Raises IntegrityError."""

        def read() -> tuple[ProfileTable, ProfileTable]:
            family = self.of_release(release.family, release.id)[0]
            try:
                table = read_profile(self.profile_bytes(release))
                check_profile(table, family, where=PROFILE_FILE)
            except DataError as error:
                raise _unfit(release, error) from error
            return own_profile(table), twin_profile(table)

        return self._profiles.get((release.family, release.id), read)

    def profile_bytes(self, release: Release) -> bytes:
        """The profile of a release as Parquet, twins included. Raises IntegrityError."""
        return self._file(release, PROFILE_FILE)

    def card(self, release: Release, tag: str | None = None) -> str:
        """The model card of a variant, or of the family.

        Raises:
            NotFound: The release has none (CARD_MISSING).
            IntegrityError: It is damaged.
        """
        path = FAMILY_CARD if tag is None else card_path(tag)
        if not self.has_card(release, tag):
            what = release.family if tag is None else f"{release.family}/{tag}"
            raise NotFound(
                f"there is no model card of {what}",
                hint=f"zoo show {what} shows what is known.",
                reason="CARD_MISSING",
            )
        return self._file(release, path).decode(errors="replace")

    def has_card(self, release: Release, tag: str | None = None) -> bool:
        """Whether a release has a model card of a variant, or of the family."""
        path = FAMILY_CARD if tag is None else card_path(tag)
        return any(entry.path == path for entry in release.files)

    def signatures(self, release: Release) -> SignatureTable | None:
        """The signatures measured with the profile; None where the release has none. Raises IntegrityError."""
        if all(entry.path != SIGNATURES_FILE for entry in release.files):
            return None
        family = self.of_release(release.family, release.id)[0]
        try:
            table = read_signature_table(self._file(release, SIGNATURES_FILE), where=SIGNATURES_FILE)
            check_signatures(table, family, self.profile(release), where=SIGNATURES_FILE)
        except DataError as error:
            raise _unfit(release, error) from error
        return table

    def model(self, release: Release, variant: Variant) -> bytes:
        """A variant's ONNX file. Raises IntegrityError, and RequestError where the family holds no models."""
        return self._file(release, model_of(release.family, variant).path)

    def model_stream(self, release: Release, entry: FileEntry, offset: int, chunk_size: int) -> Iterator[bytes]:
        """A model file from ``offset`` on; the last chunk comes only after all of it was verified.

        Args:
            release: Where it belongs.
            entry: The file, as the manifest lists it.
            offset: First byte.
            chunk_size: Bytes at a time.
        """
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

    def model_url(self, release: Release, entry: FileEntry, expires_s: int) -> str | None:
        """A presigned URL of a model file where the store can make one."""
        return self._store.presign_get(self._key(release, entry), expires_s)

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


def _unfit(release: Release, error: InvalidInput) -> IntegrityError:
    return IntegrityError(f"release {release.id}: {error.message}", hint="Publish the family again.")


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _lost(release: Release, path: str) -> IntegrityError:
    return IntegrityError(f"release {release.id} of {release.family} has lost {path}", hint="Publish the family again.")
