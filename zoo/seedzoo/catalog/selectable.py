"""Which families variants can be chosen from, and the error where they cannot."""

from __future__ import annotations

from collections.abc import Sequence

from seedzoo.errors import DataError, RequestError
from seedzoo.records import Family, FileEntry, Variant

__all__ = ["model_of", "require_selectable"]

_SHOWN = 5
_NO_MODELS = "it holds results, and not the models"
_UNCERTIFIED = "its variants are not certified equally accurate"


def require_selectable(family: Family, selectable: Sequence[str] = ()) -> None:
    """Refuse a browse-only family.

    Args:
        family: Which one.
        selectable: Names of families that variants can be chosen from, for the hint.

    Raises:
        RequestError: No variant of it can be selected (FAMILY_BROWSE_ONLY).
    """
    if not family.selectable:
        complete = all(variant.model is not None for variant in family.variants)
        raise _browse_only(family.name, _UNCERTIFIED if complete else _NO_MODELS, selectable)


def model_of(family: str, variant: Variant, *, int8: bool = False, selectable: Sequence[str] = ()) -> FileEntry:
    """The model file of a variant, or of its quantised twin; one is never given for the other.

    Args:
        family: Name of its family.
        variant: Which one.
        int8: Whether the twin is wanted.
        selectable: As in :func:`require_selectable`.

    Raises:
        RequestError: The family holds no models (FAMILY_BROWSE_ONLY).
        DataError: The variant has no quantised twin (INT8_MISSING).
    """
    if variant.model is None:
        raise _browse_only(family, _NO_MODELS, selectable)
    if not int8:
        return variant.model
    if variant.int8 is None:
        raise DataError(
            f"{family}/{variant.tag} has no int8 twin",
            hint="zoo variants FAMILY shows which variants have one; or ask for the variant itself.",
            reason="INT8_MISSING",
        )
    return variant.int8


def _browse_only(family: str, lacks: str, selectable: Sequence[str]) -> RequestError:
    more = f" and {len(selectable) - _SHOWN} more" if len(selectable) > _SHOWN else ""
    return RequestError(
        f"family {family} is for browsing only: {lacks}",
        hint=f"Families to select from: {', '.join(selectable[:_SHOWN])}{more}."
        if selectable
        else "Select from a family that is certified and has its models: zoo families lists them.",
        reason="FAMILY_BROWSE_ONLY",
        field="family",
    )
