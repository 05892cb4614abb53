"""Stress conditions: named changes of examples, suites of them, and the profile measured under them."""

from __future__ import annotations

from seedzoo.stress.condition import Condition, Examples, Kind, Transform
from seedzoo.stress.draws import Draws
from seedzoo.stress.registry import Registry, conditions, get_condition, register, suite, suite_names
from seedzoo.stress.sheet import contact_sheet
from seedzoo.stress.summary import ConditionSummary, Correlation, spearman, summarise
from seedzoo.stress.table import (
    PROFILE_SCHEMA,
    ProfileRow,
    ProfileTable,
    profile_bytes,
    profile_row,
    published_row,
    read_profile,
    write_profile,
)

__all__ = [
    "PROFILE_SCHEMA",
    "Condition",
    "ConditionSummary",
    "Correlation",
    "Draws",
    "Examples",
    "Kind",
    "ProfileRow",
    "ProfileTable",
    "Registry",
    "Transform",
    "conditions",
    "contact_sheet",
    "get_condition",
    "profile_bytes",
    "profile_row",
    "published_row",
    "read_profile",
    "register",
    "spearman",
    "suite",
    "suite_names",
    "summarise",
    "write_profile",
]
