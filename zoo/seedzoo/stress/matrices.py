"""A profile as people look at it: matrices of what was measured, and the summary of each condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.stress.summary import ConditionSummary, summarise
from seedzoo.stress.table import ProfileRow, ProfileTable

__all__ = ["ProfileCondition", "ProfileMatrices", "profile_matrices"]

METRICS = ("log_loss", "ece", "brier", "top5", "worst_class")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProfileCondition:
    """A condition of a profile.

    Attributes:
        summary: Over the variants.
        kind: Of the condition.
        severity: None where it has none.
    """

    summary: ConditionSummary
    kind: str
    severity: int | None


@dataclass(frozen=True, slots=True, eq=False)
class ProfileMatrices:
    """M variants by K conditions; NaN where a variant was not measured.

    Attributes:
        suite: Of the profile.
        tags: Of the M variants.
        conditions: The K conditions.
        accuracy: float64 ``[M, K]``.
        metrics: The same of each other metric that was measured.
        int8_tags: Of the variants whose quantised twins were measured.
        int8_accuracy: float64 ``[len(int8_tags), K]``.
    """

    suite: str
    tags: tuple[str, ...]
    conditions: tuple[ProfileCondition, ...]
    accuracy: Floats
    metrics: dict[str, Floats]
    int8_tags: tuple[str, ...]
    int8_accuracy: Floats


def profile_matrices(profile: ProfileTable, tags: Sequence[str], *, twins: ProfileTable) -> ProfileMatrices:
    """A profile as matrices.

    Args:
        profile: Of the variants; cells may be missing.
        tags: Of the variants, in the order wanted.
        twins: Of the quantised twins, under the tags of their variants; without rows where there are none.
    """
    names = profile.conditions
    first: dict[str, ProfileRow] = {}
    for row in profile.rows:
        # Where only some rows of a condition say how many examples there were, theirs is the number.
        if first.setdefault(row.condition, row).n is None and row.n is not None:
            first[row.condition] = row
    accuracy = _matrix(profile, tags, names, "accuracy")
    summary = summarise(accuracy, variants=tags, conditions=names, n=[first[name].n for name in names])
    others = {metric: _matrix(profile, tags, names, metric) for metric in METRICS}
    measured = {row.variant for row in twins.rows}
    int8_tags = tuple(tag for tag in tags if tag in measured)
    return ProfileMatrices(
        suite=profile.suite,
        tags=tuple(tags),
        conditions=tuple(
            ProfileCondition(item, first[item.condition].kind, first[item.condition].severity) for item in summary
        ),
        accuracy=accuracy,
        metrics={metric: matrix for metric, matrix in others.items() if not np.isnan(matrix).all()},
        int8_tags=int8_tags,
        int8_accuracy=_matrix(twins, int8_tags, names, "accuracy"),
    )


def _matrix(profile: ProfileTable, tags: Sequence[str], conditions: Sequence[str], metric: str) -> Floats:
    matrix = np.full((len(tags), len(conditions)), math.nan)
    rows = {tag: index for index, tag in enumerate(tags)}
    columns = {name: index for index, name in enumerate(conditions)}
    for row in profile.rows:
        value = getattr(row, metric)
        if value is not None and row.variant in rows and row.condition in columns:
            matrix[rows[row.variant], columns[row.condition]] = value
    return matrix
