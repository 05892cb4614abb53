"""What a store's catalog says of families, variants and profiles, as a server with that store would say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from seedzoo.catalog.bundle import card_path
from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.listing import Accuracies, arrange
from seedzoo.catalog.names import parse_family, parse_variant
from seedzoo.errors import IntegrityError, NotFound, ZooError
from seedzoo.records import Family, FileEntry, Release, Variant
from seedzoo.stress.matrices import profile_matrices
from seedzoo_client.catalog_requests import VariantListing
from seedzoo_client.views import ConditionView, FamilyView, ProfileView, VariantView

__all__ = ["LocalCatalog"]

_READERS = 16


class LocalCatalog:
    """Views of a catalog.

    Args:
        catalog: Of the store.
        on_notice: Told what a person should know although the work goes on.
    """

    def __init__(self, catalog: Catalog, *, on_notice: Callable[[str], None]) -> None:
        self._catalog = catalog
        self._on_notice = on_notice

    def families(self) -> list[FamilyView]:
        """All families under the default alias, by name; several are read at a time, as a bucket may be far away."""
        names = self._catalog.folder_names()
        found = []
        with ThreadPoolExecutor(_READERS, thread_name_prefix="families") as pool:
            try:
                for name, listed in zip(names, pool.map(self._listed, names), strict=True):
                    if isinstance(listed, FamilyView):
                        found.append(listed)
                    elif listed is not None:
                        self._on_notice(f"family {name} is left out: {listed.message}")
            except BaseException:  # Ctrl-C too: what was not begun is not waited for
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def _listed(self, name: str) -> FamilyView | ZooError | None:
        """None where nothing is published under that name."""
        try:
            published = self._catalog.default(name)
        except (IntegrityError, NotFound) as error:  # one that is damaged, or has just gone, hides no other
            return error
        return None if published is None else _family_view(*published)

    def family(self, name: str) -> FamilyView:
        """One family. Raises NotFound, RequestError and IntegrityError."""
        return _family_view(*self._catalog.family(parse_family(name)))

    def variants(self, asked: VariantListing) -> list[VariantView]:
        """Variants of a family by filter and order. Raises NotFound, RequestError and IntegrityError."""
        family, release = self._catalog.family(parse_family(asked.family))
        accuracies: Mapping[str, Mapping[str, float]] = {}
        if asked.filter.strip() or asked.order_by.strip():
            accuracies = Accuracies(self._catalog.profile(release))
        kept = arrange(family.variants, accuracies, where=asked.filter, order_by=asked.order_by)
        paths = _paths(release)
        return [_variant_view(variant, family, release, paths) for variant in kept[: asked.limit]]

    def variant(self, name: str) -> VariantView:
        """One variant. Raises NotFound, RequestError and IntegrityError."""
        variant, family, release = self._catalog.variant(parse_variant(name))
        return _variant_view(variant, family, release, _paths(release))

    def profile(self, family: str) -> ProfileView:
        """The profile of a family. Raises NotFound, RequestError and IntegrityError."""
        found, release = self._catalog.family(parse_family(family))
        own, twins = self._catalog.profiles(release)
        matrices = profile_matrices(own, [variant.tag for variant in found.variants], twins=twins)
        for matrix in (matrices.accuracy, matrices.int8_accuracy, *matrices.metrics.values()):
            matrix.flags.writeable = False
        return ProfileView(
            family=found.name,
            release=release.id,
            suite=matrices.suite,
            tags=matrices.tags,
            conditions=tuple(ConditionView(**condition.shown()) for condition in matrices.conditions),
            accuracy=matrices.accuracy,
            metrics=matrices.metrics,
            int8_accuracy=dict(zip(matrices.int8_tags, matrices.int8_accuracy, strict=True)),
        )

    def card(self, name: str) -> str:
        """The model card of a family or of a variant. Raises NotFound, RequestError and IntegrityError."""
        if "/" not in name:
            return self._catalog.card(self._catalog.family(parse_family(name))[1])
        variant, _, release = self._catalog.variant(parse_variant(name))
        return self._catalog.card(release, variant.tag)


def _paths(release: Release) -> frozenset[str]:
    return frozenset(entry.path for entry in release.files)


def _variant_view(variant: Variant, family: Family, release: Release, paths: frozenset[str]) -> VariantView:
    absent = FileEntry(path="", size=0, sha256="")
    model, int8 = variant.model or absent, variant.int8 or absent
    return VariantView(
        name=f"{family.name}/{variant.tag}",
        family=family.name,
        tag=variant.tag,
        release=release.id,
        model_size=model.size,
        model_sha256=model.sha256,
        seeds=dict(sorted(variant.seeds.items())),
        held_out_accuracy=variant.held_out_accuracy,
        factors=dict(sorted(variant.factors.items())),
        int8_size=int8.size,
        int8_sha256=int8.sha256,
        has_card=card_path(variant.tag) in paths,
    )


def _family_view(family: Family, release: Release) -> FamilyView:
    return FamilyView(
        name=family.name,
        title=family.title,
        release=release.id,
        released=datetime.fromisoformat(release.created),
        task=family.task,
        variant_count=len(family.variants),
        held_out_mean=family.held_out_mean,
        held_out_sd=family.held_out_sd,
        certificate=family.certificate,
        suite=family.suite,
        data_name=family.data.name,
        train_examples=family.data.train_examples,
        held_out_examples=family.data.held_out_examples,
        licence=family.licence,
        model_bytes=family.model_bytes,
        browse_only=not family.selectable,
        provenance=family.provenance,
        factors=family.factors,
    )
