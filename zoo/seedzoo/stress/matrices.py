"""A profile as people look at it: matrices of what was measured, and the summary of each condition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedzoo.stress.columns import ProfileColumns
from seedzoo.stress.summary import ConditionSummary, summarise
from seedzoo.stress.table import ProfileTable

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

    def shown(self) -> dict[str, Any]:
        """What a server and local mode tell of it, by the names of the API; 0 for a number that is not known."""
        item = self.summary
        return {
            "condition": item.condition,
            "kind": self.kind,
            "severity": self.severity or 0,
            "n_examples": item.n or 0,
            "mean": item.mean,
            "sd": item.sd,
            "min": item.low,
            "max": item.high,
            "worst_variant": item.low_variant,
            "best_variant": item.high_variant,
            "sd_ratio": item.sd_ratio,
            "spearman": item.correlation.rho,
            "spearman_low": item.correlation.low,
            "spearman_high": item.correlation.high,
            "measured": item.measured,
        }


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
    told = _telling(profile.columns)
    n, kinds, severities = (_values(profile.columns, name, told) for name in ("n", "kind", "severity"))
    metrics = _matrices(profile.columns, tags, names, ("accuracy", *METRICS))
    accuracy = metrics.pop("accuracy")
    summary = summarise(accuracy, variants=tags, conditions=names, n=n)
    measured = set(twins.variants)
    int8_tags = tuple(tag for tag in tags if tag in measured)
    return ProfileMatrices(
        suite=profile.suite,
        tags=tuple(tags),
        conditions=tuple(itertools.starmap(ProfileCondition, zip(summary, kinds, severities, strict=True))),
        accuracy=accuracy,
        metrics=metrics,
        int8_tags=int8_tags,
        int8_accuracy=_matrices(twins.columns, int8_tags, names, ("accuracy",))["accuracy"],
    )


def _telling(columns: ProfileColumns) -> NDArray[np.intp]:
    """Of each condition the first result that says how many examples there were; its first one where none does."""
    # Written from the last to the first, so that the first stays.
    found = np.zeros(len(columns.conditions), dtype=np.intp)
    backwards = np.arange(len(columns))[::-1]
    for some in (backwards, backwards[~columns.absent("n")[::-1]]):
        found[columns.condition[some]] = some
    return found


def _values(columns: ProfileColumns, name: str, rows: NDArray[np.intp]) -> list[Any]:
    return [columns.arrays[name][row].as_py() for row in rows.tolist()]


def _matrices(
    columns: ProfileColumns, tags: Sequence[str], conditions: Sequence[str], metrics: Sequence[str]
) -> dict[str, Floats]:
    """A matrix of accuracy where it is asked for, and of each other metric that was measured."""
    i = _places(columns.variants, tags)[columns.variant]
    k = _places(columns.conditions, conditions)[columns.condition]
    known = (i >= 0) & (k >= 0)
    matrices = {}
    for metric in metrics:
        values = columns.numbers(metric)
        shown = known & ~np.isnan(values)
        if shown.any() or metric == "accuracy":
            matrices[metric] = np.full((len(tags), len(conditions)), math.nan)
            matrices[metric][i[shown], k[shown]] = values[shown]
    return matrices


def _places(names: Sequence[str], among: Sequence[str]) -> NDArray[np.intp]:
    """The place of each name among others; -1 where it is none of them."""
    places = {name: index for index, name in enumerate(among)}
    return np.array([places.get(name, -1) for name in names], dtype=np.intp)
