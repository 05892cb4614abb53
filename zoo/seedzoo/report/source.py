"""Where a report's family and profile come from: a bundle's folder, or a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from seedzoo.catalog.bundle import FAMILY_FILE, PROFILE_FILE, check_family
from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.codec import decode_json
from seedzoo.catalog.names import parse_family
from seedzoo.catalog.open import open_store
from seedzoo.catalog.twins import own_profile
from seedzoo.errors import DataError, NotFound, RequestError
from seedzoo.records import Family
from seedzoo.stress.analysis import ProfileMatrix, profile_matrix
from seedzoo.stress.table import ProfileTable, read_profile

__all__ = ["Profiled", "load_profiled"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiled:
    """A family and its profile.

    Attributes:
        family: The manifest.
        table: The profile of its variants, without quantised twins.
        matrix: The same as arrays.
        origin: Where it was read, for people.
        sum_squares: Condition -> sum over examples of the squared number of variants that are right, where known.
    """

    family: Family
    table: ProfileTable
    matrix: ProfileMatrix
    origin: str
    sum_squares: Mapping[str, int] = field(default_factory=dict)


def load_profiled(name: str, *, store: str | None = None) -> Profiled:
    """Read a family and its profile.

    Args:
        name: The folder of a bundle, or a family's name, with an alias or release behind an @ if wanted.
        store: Where families are published; needed for a name.

    Raises:
        NotFound: No such folder or family.
        DataError: A bundle lacks a file, or its profile is of other variants.
        IntegrityError: A file is damaged.
        RequestError: A name without a store, or no name at all.
    """
    folder = Path(name)
    if folder.is_dir():
        return _from_folder(folder)
    if "/" in name or name.startswith("."):
        raise NotFound(f"there is no folder {name}", hint="Name a bundle, such as build/fashion-cnn/bundle.")
    if store is None:
        raise RequestError(
            f"{name} is no folder here, and no store was named to look for a family of that name",
            hint="Name the folder of a bundle, or add --store s3://bucket/prefix.",
            field="store",
        )
    opened = open_store(store)
    try:
        catalog = Catalog(opened)
        family, release = catalog.family(parse_family(name))
        raw = catalog.profile_bytes(release)
    finally:
        opened.close()
    return _profiled(family, read_profile(raw), origin=f"release {release.id} of {release.created}")


def _from_folder(folder: Path) -> Profiled:
    for name in (FAMILY_FILE, PROFILE_FILE):
        if not (folder / name).is_file():
            raise DataError(
                f"{folder} is no bundle: it has no {name}",
                hint="Name the folder that zoo build or zoo profile import made.",
                reason="BUNDLE_INVALID",
            )
    family = decode_json((folder / FAMILY_FILE).read_bytes(), Family, where=str(folder / FAMILY_FILE))
    check_family(family)
    return _profiled(family, read_profile(folder / PROFILE_FILE), origin="an unpublished bundle")


def _profiled(family: Family, table: ProfileTable, *, origin: str) -> Profiled:
    own = own_profile(table)
    matrix = profile_matrix(own.rows)
    tags = {variant.tag for variant in family.variants}
    if set(matrix.variants) != tags or "id" not in matrix.conditions:
        raise DataError(
            f"the profile of {family.name} is not of its variants, or lacks the condition id",
            hint="Measure it again.",
            reason="BUNDLE_INVALID",
        )
    return Profiled(family=family, table=own, matrix=matrix, origin=origin, sum_squares=own.sum_squares)
