"""What the catalog's calls answer about a release, kept as bytes: releases never change, so it is made once.

Messages are kept serialised, which takes a tenth of the memory of parsed records, and parsed again for each answer,
which takes microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seedzoo.catalog.bundle import card_path
from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.listing import Accuracies
from seedzoo.catalog.names import FamilyRef
from seedzoo.catalog.recent import Recent
from seedzoo.records import Family, Release, Variant
from seedzoo_protos.v1 import catalog_pb2
from seedzoo_server.convert import family_message, variant_message
from seedzoo_server.profiles import profile_message

__all__ = ["Shelf", "ShelvedVariant", "Shelves", "variants_response"]

_OBJECT_BYTES = 150
"""About what a variant takes beside its message."""

_Key = tuple[str, str]
"""Family and release."""


@dataclass(frozen=True, slots=True)
class ShelvedVariant:
    """A variant of a release.

    Attributes:
        tag: Its tag.
        listed: A ListVariantsResponse with this variant alone, serialised.
    """

    tag: str
    listed: bytes

    def message(self) -> catalog_pb2.Variant:
        """The variant as served, without download URLs."""
        return variants_response([self]).variants[0]


def variants_response(variants: Sequence[ShelvedVariant]) -> catalog_pb2.ListVariantsResponse:
    """The response that lists these variants: serialised messages in a row are one message with the parts of all."""
    return catalog_pb2.ListVariantsResponse.FromString(b"".join(variant.listed for variant in variants))


@dataclass(frozen=True, slots=True)
class Shelf:
    """The family of a release as served.

    Attributes:
        family: Its name.
        release: Identifier of the release.
        message: The Family message, serialised.
        variants: Sorted by tag.
    """

    family: str
    release: str
    message: bytes
    variants: tuple[ShelvedVariant, ...]


class Shelves:
    """Shelves, profiles and accuracies of the releases asked about last; safe to use from several threads.

    Args:
        catalog: Where they come from.
        limit_bytes: Memory that they may take together.
    """

    def __init__(self, catalog: Catalog, limit_bytes: int) -> None:
        self._catalog = catalog
        self._shelves: Recent[_Key, Shelf] = Recent(limit_bytes // 2, weigh=_size)
        self._accuracies: Recent[_Key, Accuracies] = Recent(limit_bytes // 4, weigh=lambda value: value.size)
        self._profiles: Recent[_Key, bytes] = Recent(limit_bytes // 4, weigh=len)

    def known(self, ref: FamilyRef) -> Shelf | None:
        """What :meth:`shelf` would give, where that takes no reading."""
        release_id = self._catalog.known_release_id(ref)
        return None if release_id is None else self._shelves.known((ref.family, release_id))

    def shelf(self, ref: FamilyRef) -> Shelf:
        """A family as served. Raises as :meth:`Catalog.family`."""
        return self._shelf(*self._catalog.family(ref))

    def default(self, name: str) -> Shelf | None:
        """The family under the default alias, None where there is none. Raises as :meth:`Catalog.family`."""
        found = self._catalog.default(name)
        return None if found is None else self._shelf(*found)

    def _shelf(self, family: Family, release: Release) -> Shelf:
        return self._shelves.get((family.name, release.id), lambda: _shelved(family, release))

    def known_accuracies(self, shelf: Shelf) -> Accuracies | None:
        """What :meth:`accuracies` would give, where that takes no reading."""
        return self._accuracies.known((shelf.family, shelf.release))

    def accuracies(self, shelf: Shelf) -> Accuracies:
        """The accuracies of a release. Raises IntegrityError."""

        def made() -> Accuracies:
            return Accuracies(self._catalog.profile(self._catalog.of_release(shelf.family, shelf.release)[1]))

        return self._accuracies.get((shelf.family, shelf.release), made)

    def known_profile(self, shelf: Shelf) -> bytes | None:
        """What :meth:`profile` would give, where that takes no reading."""
        return self._profiles.known((shelf.family, shelf.release))

    def profile(self, shelf: Shelf) -> bytes:
        """The Profile message of a release, serialised. Raises IntegrityError."""

        def made() -> bytes:
            family, release = self._catalog.of_release(shelf.family, shelf.release)
            own, twins = self._catalog.profiles(release)
            # Filters will need them, and all of the work is done.
            self._accuracies.get((shelf.family, shelf.release), lambda: Accuracies(own))
            return profile_message(own, family, release, twins=twins).SerializeToString()

        return self._profiles.get((shelf.family, shelf.release), made)


def _shelved(family: Family, release: Release) -> Shelf:
    paths = {entry.path for entry in release.files}

    def listed(variant: Variant) -> bytes:
        message = variant_message(variant, family, release, has_card=card_path(variant.tag) in paths)
        return catalog_pb2.ListVariantsResponse(variants=[message]).SerializeToString()

    return Shelf(
        family=family.name,
        release=release.id,
        message=family_message(family, release).SerializeToString(),
        variants=tuple(
            ShelvedVariant(variant.tag, listed(variant))
            for variant in sorted(family.variants, key=lambda variant: variant.tag)
        ),
    )


def _size(shelf: Shelf) -> int:
    return len(shelf.message) + sum(len(variant.listed) + _OBJECT_BYTES for variant in shelf.variants)
