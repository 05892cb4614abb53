"""A stored profile to its wire message: matrices of what was measured, and the summary of each condition."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seedzoo.records import Family, Release
from seedzoo.stress.summary import ConditionSummary, summarise
from seedzoo.stress.table import ProfileRow, ProfileTable
from seedzoo_protos.v1 import catalog_pb2

__all__ = ["profile_message"]

_METRICS = ("log_loss", "ece", "brier", "top5", "worst_class")


def profile_message(
    profile: ProfileTable, family: Family, release: Release, *, twins: ProfileTable
) -> catalog_pb2.Profile:
    """A profile as served: accuracies as a matrix and the summary of each condition.

    Args:
        profile: Of the variants; cells may be missing.
        family: Whose variants.
        release: Where it belongs.
        twins: Of the quantised twins, under the tags of their variants; without rows where there are none.
    """
    tags = [variant.tag for variant in family.variants]
    conditions = profile.conditions
    first: dict[str, ProfileRow] = {}
    for row in profile.rows:
        # Where only some rows of a condition say how many examples there were, theirs is the number.
        if first.setdefault(row.condition, row).n is None and row.n is not None:
            first[row.condition] = row
    accuracy = _matrix(profile, tags, conditions, "accuracy")
    summary = summarise(accuracy, variants=tags, conditions=conditions, n=[first[name].n for name in conditions])
    measured = {row.variant for row in twins.rows}
    int8_tags = [tag for tag in tags if tag in measured]
    return catalog_pb2.Profile(
        family=family.name,
        release=release.id,
        suite=profile.suite,
        tags=tags,
        conditions=[
            _summary_message(item, kind=first[item.condition].kind, severity=first[item.condition].severity or 0)
            for item in summary
        ],
        accuracy=accuracy.ravel(),
        int8_tags=int8_tags,
        int8_accuracy=_matrix(twins, int8_tags, conditions, "accuracy").ravel(),
        **{name: _flat(_matrix(profile, tags, conditions, name)) for name in _METRICS},
    )


def _matrix(profile: ProfileTable, tags: Sequence[str], conditions: Sequence[str], metric: str) -> NDArray[np.float64]:
    """[variants, conditions] of one metric, NaN where it was not measured."""
    matrix = np.full((len(tags), len(conditions)), math.nan)
    rows = {tag: index for index, tag in enumerate(tags)}
    columns = {name: index for index, name in enumerate(conditions)}
    for row in profile.rows:
        value = getattr(row, metric)
        if value is not None and row.variant in rows and row.condition in columns:
            matrix[rows[row.variant], columns[row.condition]] = value
    return matrix


def _flat(matrix: NDArray[np.float64]) -> list[float]:
    """Row by row; nothing where nothing was measured."""
    return [] if np.isnan(matrix).all() else matrix.ravel().tolist()


def _summary_message(item: ConditionSummary, *, kind: str, severity: int) -> catalog_pb2.ConditionSummary:
    return catalog_pb2.ConditionSummary(
        condition=item.condition,
        kind=kind,
        severity=severity,
        n_examples=item.n or 0,
        mean=item.mean,
        sd=item.sd,
        min=item.low,
        max=item.high,
        worst_variant=item.low_variant,
        best_variant=item.high_variant,
        sd_ratio=item.sd_ratio,
        spearman=item.correlation.rho,
        spearman_low=item.correlation.low,
        spearman_high=item.correlation.high,
        measured=item.measured,
    )
