"""Quantised twins in a profile: rows whose variant is ``<tag>.int8``, which no variant can be called."""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seedzoo.stress.columns import PROFILE_SCHEMA, ProfileColumns
from seedzoo.stress.table import ProfileTable

__all__ = ["own_profile", "twin_name", "twin_profile"]

_SUFFIX = ".int8"


def twin_name(tag: str) -> str:
    """What the twin of a variant is called in a profile."""
    return f"{tag}{_SUFFIX}"


def own_profile(profile: ProfileTable) -> ProfileTable:
    """The profile of the variants themselves: a twin is another model and counts in no summary of the family."""
    twins = _twins(profile)
    return profile.with_columns(profile.columns.only(~twins)) if twins.any() else profile


def twin_profile(profile: ProfileTable) -> ProfileTable:
    """The profile of the twins, under the tags of their variants."""
    twins = _twins(profile)
    if not twins.any():
        return profile.with_columns(_none())
    columns = profile.columns.only(twins)
    return profile.with_columns(columns.renamed([name.removesuffix(_SUFFIX) for name in columns.variants]))


@functools.cache
def _none() -> ProfileColumns:
    return ProfileColumns(pa.table({field.name: pa.nulls(0, field.type) for field in PROFILE_SCHEMA}))


def _twins(profile: ProfileTable) -> NDArray[np.bool_]:
    named = [name.endswith(_SUFFIX) for name in profile.columns.variants]
    twins: NDArray[np.bool_] = np.array(named, dtype=np.bool_)[profile.columns.variant]
    return twins
