"""A bundle: the folder that `zoo build` makes and `zoo publish` takes, laid out like a release in the store.

family.json  recipe.toml  profile.parquet  signatures.npz  models/<tag>.onnx

signatures.npz may be missing: in families made before there was one, or elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from seedzoo.catalog.codec import decode_json
from seedzoo.catalog.integrity import sha256_file
from seedzoo.catalog.names import check_name
from seedzoo.errors import DataError, IntegrityError
from seedzoo.inference.session import Model
from seedzoo.records import Family, FileEntry
from seedzoo.stress.signature_table import read_signature_table
from seedzoo.stress.table import read_profile

__all__ = [
    "FAMILY_FILE",
    "PROFILE_FILE",
    "RECIPE_FILE",
    "SIGNATURES_FILE",
    "Bundle",
    "check_family",
    "model_path",
    "open_bundle",
]

FAMILY_FILE = "family.json"
PROFILE_FILE = "profile.parquet"
RECIPE_FILE = "recipe.toml"
SIGNATURES_FILE = "signatures.npz"


def model_path(tag: str) -> str:
    """Path of a variant's model below a bundle or release."""
    return f"models/{tag}.onnx"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were found to be what its manifest says."""

    folder: Path
    family: Family
    files: tuple[FileEntry, ...]


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle and check it against its manifest.

    Raises:
        DataError: Something is missing, or the family breaks a rule of publishing.
        IntegrityError: A model file differs from the manifest.
    """
    manifest = folder / FAMILY_FILE
    if not manifest.is_file():
        raise DataError(
            f"{folder} is no bundle: it has no {FAMILY_FILE}",
            hint="Name the folder that zoo build made, such as build/fashion-cnn/bundle.",
            reason="BUNDLE_INVALID",
        )
    family = decode_json(manifest.read_bytes(), Family, where=str(manifest))
    check_family(family)
    for variant in family.variants:
        path = folder / variant.model.path
        if not _regular(path):
            raise DataError(f"{folder} lacks {variant.model.path}", hint="Build it again.", reason="BUNDLE_INVALID")
        if path.stat().st_size != variant.model.size or sha256_file(path) != variant.model.sha256:
            raise IntegrityError(f"{path} differs from what {FAMILY_FILE} says", hint="Build it again.")
    beside = [PROFILE_FILE, RECIPE_FILE]
    if os.path.lexists(folder / SIGNATURES_FILE):
        beside.append(SIGNATURES_FILE)
    for path_name in beside:
        if not _regular(folder / path_name):
            raise DataError(f"{folder} lacks {path_name}", hint="Build it again.", reason="BUNDLE_INVALID")
    _check_contents(folder, family)
    paths = [FAMILY_FILE, *beside, *(variant.model.path for variant in family.variants)]
    files = tuple(
        FileEntry(path=name, size=(folder / name).stat().st_size, sha256=sha256_file(folder / name)) for name in paths
    )
    return Bundle(folder=folder, family=family, files=files)


def _regular(path: Path) -> bool:
    """A link could lead to any file of this machine, which publishing would make public."""
    return path.is_file() and not path.is_symlink()


def _check_contents(folder: Path, family: Family) -> None:
    """Profile and signatures are of these variants, the models of this task. Raises DataError, IntegrityError."""
    rows = read_profile(folder / PROFILE_FILE).rows
    measured = {row.variant for row in rows}
    tags = {variant.tag for variant in family.variants}
    if measured != tags:
        raise DataError(
            f"{folder / PROFILE_FILE} is not of the family's variants: {', '.join(sorted(measured ^ tags)[:5])}",
            hint="Build it again.",
            reason="BUNDLE_INVALID",
        )
    if (folder / SIGNATURES_FILE).exists():
        _check_signatures(folder / SIGNATURES_FILE, family, tuple(dict.fromkeys(row.condition for row in rows)))
    for variant in family.variants:
        model = Model((folder / variant.model.path).read_bytes(), name=f"{family.name}/{variant.tag}")
        if model.classes != family.task.classes:
            raise DataError(
                f"the classes of {folder / variant.model.path} are not those of the family's task",
                hint="Build it again.",
                reason="BUNDLE_INVALID",
            )


def _check_signatures(path: Path, family: Family, conditions: tuple[str, ...]) -> None:
    table = read_signature_table(path.read_bytes(), where=str(path))
    if table.variants != tuple(variant.tag for variant in family.variants) or table.conditions != conditions:
        raise DataError(
            f"{path} is not of the family's variants and the profile's conditions, in their order",
            hint="Build it again.",
            reason="BUNDLE_INVALID",
        )


def check_family(family: Family) -> None:
    """The rules that every published family keeps.

    Raises:
        DataError: No variants, a tag twice, a model outside ``models/``, or a variant that is not certified.
    """

    def require(condition: bool, rule: str) -> None:
        if not condition:
            raise DataError(f"family {family.name}: {rule}", hint="Build it again.", reason="FAMILY_INVALID")

    check_name(family.name, "family")
    tags = [check_name(variant.tag, "variant") for variant in family.variants]
    require(len(tags) > 0, "it has no variants")
    require(len(set(tags)) == len(tags), "two variants have the same tag")
    require(len(family.task.classes) >= 2, "its task has fewer than two classes")
    for variant in family.variants:
        require(0 <= variant.held_out_accuracy <= 1, f"the accuracy of {variant.tag} is not between 0 and 1")
        require(variant.model.path == model_path(variant.tag), f"the model of {variant.tag} is not at its place")
    passed = {entry.tag for entry in family.certificate.entries if entry.passed}
    uncertified = sorted(set(tags) - passed)
    require(not uncertified, f"not certified equally accurate: {', '.join(uncertified)}")
    require(family.certificate.published == len(tags), "the certificate counts other published variants")
    require(
        family.certificate.trained == len(family.certificate.entries), "the certificate leaves out trained variants"
    )
