"""A bundle: the folder that `zoo build` makes and `zoo publish` takes, laid out like a release in the store.

family.json  recipe.toml  profile.parquet  signatures.npz  models/<tag>.onnx  models/<tag>.int8.onnx
cards/README.md  cards/<tag>.md

signatures.npz may be missing: in families made before there was one, or elsewhere; so may the model cards and the
quantised twins. A browse-only family may consist of family.json and profile.parquet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from seedzoo.catalog.certificate import IN_DISTRIBUTION, check_certificate
from seedzoo.catalog.codec import decode_json
from seedzoo.catalog.integrity import sha256_file
from seedzoo.catalog.model_check import check_model
from seedzoo.catalog.names import check_name
from seedzoo.catalog.twins import own_profile, twin_name
from seedzoo.errors import DataError, IntegrityError
from seedzoo.records import Certificate, Family, FileEntry
from seedzoo.stress.signature_table import SignatureTable, read_signature_table
from seedzoo.stress.table import ProfileTable, read_profile

__all__ = [
    "FAMILY_CARD",
    "FAMILY_FILE",
    "PROFILE_FILE",
    "RECIPE_FILE",
    "SIGNATURES_FILE",
    "Bundle",
    "card_path",
    "check_family",
    "check_profile",
    "check_signatures",
    "int8_path",
    "model_files",
    "model_path",
    "open_bundle",
]

FAMILY_FILE = "family.json"
PROFILE_FILE = "profile.parquet"
RECIPE_FILE = "recipe.toml"
SIGNATURES_FILE = "signatures.npz"
FAMILY_CARD = "cards/README.md"

_LARGEST_CARD = 1 << 20
"""Bytes; a card is sent in one message."""


def model_path(tag: str) -> str:
    """Path of a variant's model below a bundle or release."""
    return f"models/{tag}.onnx"


def int8_path(tag: str) -> str:
    """Path of a variant's quantised twin."""
    return f"models/{tag}.int8.onnx"


def card_path(tag: str) -> str:
    """Path of a variant's model card; that of the family is :data:`FAMILY_CARD`, as no variant is called README."""
    return f"cards/{tag}.md"


def model_files(family: Family) -> Iterator[FileEntry]:
    """The files of all models and quantised twins that a family has."""
    for variant in family.variants:
        yield from (entry for entry in (variant.model, variant.int8) if entry is not None)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were found to be what its manifest says."""

    folder: Path
    family: Family
    files: tuple[FileEntry, ...]


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle and check it against its manifest.

    Raises:
        DataError: Something is missing, the family breaks a rule of publishing, its certificate does not hold, or a
            model is none that may be published.
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
    for entry in model_files(family):
        path = folder / entry.path
        if not _regular(path):
            raise _invalid(f"{folder} lacks {entry.path}")
        if path.stat().st_size != entry.size or sha256_file(path) != entry.sha256:
            raise IntegrityError(f"{path} differs from what {FAMILY_FILE} says", hint="Build it again.")
    beside = [PROFILE_FILE, *_optional(folder, family)]
    for path_name in beside:
        if not _regular(folder / path_name):
            raise _invalid(f"{folder} lacks {path_name}")
    _check_contents(folder, family)
    _check_cards(folder, [name for name in beside if name.startswith("cards/")])
    paths = [FAMILY_FILE, *beside, *(entry.path for entry in model_files(family))]
    files = tuple(
        FileEntry(path=name, size=(folder / name).stat().st_size, sha256=sha256_file(folder / name)) for name in paths
    )
    return Bundle(folder=folder, family=family, files=files)


def _optional(folder: Path, family: Family) -> Iterator[str]:
    """What this bundle has beyond manifest, profile and models; the recipe of a certified family it must have."""
    if family.certificate is not None or os.path.lexists(folder / RECIPE_FILE):
        yield RECIPE_FILE
    for name in (SIGNATURES_FILE, FAMILY_CARD, *(card_path(variant.tag) for variant in family.variants)):
        if os.path.lexists(folder / name):
            yield name


def _regular(path: Path) -> bool:
    """A link could lead to any file of this machine, which publishing would make public."""
    return path.is_file() and not path.is_symlink()


def _invalid(message: str, hint: str = "Build it again.") -> DataError:
    return DataError(message, hint=hint, reason="BUNDLE_INVALID")


def _check_contents(folder: Path, family: Family) -> None:
    """Profile and signatures are of these variants, the models of this task. Raises DataError, IntegrityError."""
    profile = read_profile(folder / PROFILE_FILE)
    check_profile(profile, family, where=str(folder / PROFILE_FILE))
    own = own_profile(profile)
    check_certificate(family, own)
    path = folder / SIGNATURES_FILE
    if path.exists():
        check_signatures(read_signature_table(path.read_bytes(), where=str(path)), family, own, where=str(path))
    for variant in family.variants:
        for entry in (variant.model, variant.int8):
            if entry is None:
                continue
            model = check_model(folder / entry.path, name=f"{family.name}: {entry.path}")
            if model.classes != family.task.classes:
                raise _invalid(f"the classes of {folder / entry.path} are not those of the family's task")


def check_profile(profile: ProfileTable, family: Family, *, where: str) -> None:
    """The profile is of the family's variants and their twins.

    Raises:
        DataError: It has rows of others or none of a variant, or lacks the in-distribution condition.
    """
    tags = {variant.tag for variant in family.variants}
    twins = {twin_name(variant.tag) for variant in family.variants if variant.int8 is not None}
    measured = set(profile.variants)
    if strange := (measured - tags - twins) | (tags - measured):
        raise _invalid(f"{where} is not of the family's variants: {', '.join(sorted(strange)[:5])}")
    if IN_DISTRIBUTION not in own_profile(profile).conditions:
        raise _invalid(
            f"{where} has no condition {IN_DISTRIBUTION!r}, the in-distribution test set",
            "Name the condition of the held-out accuracy so.",
        )


def check_signatures(table: SignatureTable, family: Family, profile: ProfileTable, *, where: str) -> None:
    """The signatures are of the family's variants under conditions of its profile, both in their order.

    Raises:
        DataError: They are of others.
    """
    later = iter(profile.conditions)  # slices and scenes of frames have no signatures
    in_order = all(name in later for name in table.conditions)
    if table.variants != tuple(variant.tag for variant in family.variants) or not in_order:
        raise _invalid(f"{where} is not of the family's variants and the profile's conditions, in their order")


def _check_cards(folder: Path, names: list[str]) -> None:
    for name in names:
        raw = (folder / name).read_bytes()
        if len(raw) > _LARGEST_CARD:
            raise _invalid(f"{folder / name} has {len(raw):,} bytes, a model card may have {_LARGEST_CARD:,}")
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            raise _invalid(f"{folder / name} is no UTF-8 text: {error}", "Save it as UTF-8.") from error


def check_family(family: Family) -> None:
    """The rules that every published family keeps.

    Raises:
        DataError: No variants, a tag twice, a model outside ``models/``, factors that differ from variant to variant;
            in a family with a certificate a variant without model or that is not certified; results without models
            whose origin is not told.
    """

    def require(condition: bool, rule: str) -> None:
        if not condition:
            raise DataError(f"family {family.name}: {rule}", hint="Build it again.", reason="FAMILY_INVALID")

    check_name(family.name, "family")
    tags = [check_name(variant.tag, "variant") for variant in family.variants]
    require(len(tags) > 0, "it has no variants")
    require(len(set(tags)) == len(tags), "two variants have the same tag")
    require("README" not in tags, "a variant is called README, as its model card would be the family's")
    has_models = any(True for _ in model_files(family))
    require(len(family.task.classes) >= 2 or not has_models, "its task has fewer than two classes")
    names = set(family.variants[0].factors)
    for variant in family.variants:
        require(0 <= variant.held_out_accuracy <= 1, f"the accuracy of {variant.tag} is not between 0 and 1")
        if variant.model is None:
            require(variant.int8 is None, f"{variant.tag} has a quantised twin and no model")
        else:
            require(variant.model.path == model_path(variant.tag), f"the model of {variant.tag} is not at its place")
        if variant.int8 is not None:
            require(variant.int8.path == int8_path(variant.tag), f"the twin of {variant.tag} is not at its place")
        require(set(variant.factors) == names, f"{variant.tag} has other factors than {tags[0]}")
        require(all(variant.factors.values()), f"a factor of {variant.tag} has no level")
    if family.certificate is None:
        require(has_models or bool(family.provenance.strip()), "nothing says where its results come from (provenance)")
        return
    without = [variant.tag for variant in family.variants if variant.model is None]
    require(not without, f"it is certified, and has no models of {', '.join(without[:5])}")
    _check_certified(family.certificate, tags, require)


def _check_certified(certificate: Certificate, tags: list[str], require: Callable[[bool, str], None]) -> None:
    passed = {entry.tag for entry in certificate.entries if entry.passed}
    uncertified = sorted(set(tags) - passed)
    require(not uncertified, f"not certified equally accurate: {', '.join(uncertified)}")
    require(certificate.published == len(tags), "the certificate counts other published variants")
    require(certificate.trained == len(certificate.entries), "the certificate leaves out trained variants")
