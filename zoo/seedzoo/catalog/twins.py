"""Quantised twins in a profile: rows whose variant is ``<tag>.int8``, which no variant can be called."""

from __future__ import annotations

from dataclasses import replace

from seedzoo.stress.table import ProfileTable

__all__ = ["own_profile", "twin_name", "twin_profile"]

_SUFFIX = ".int8"


def twin_name(tag: str) -> str:
    """What the twin of a variant is called in a profile."""
    return f"{tag}{_SUFFIX}"


def own_profile(profile: ProfileTable) -> ProfileTable:
    """The profile of the variants themselves: a twin is another model and counts in no summary of the family."""
    return replace(profile, rows=tuple(row for row in profile.rows if not row.variant.endswith(_SUFFIX)))


def twin_profile(profile: ProfileTable) -> ProfileTable:
    """The profile of the twins, under the tags of their variants."""
    return replace(
        profile,
        rows=tuple(
            replace(row, variant=row.variant.removesuffix(_SUFFIX))
            for row in profile.rows
            if row.variant.endswith(_SUFFIX)
        ),
    )
