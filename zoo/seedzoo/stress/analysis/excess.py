"""The test of excess variance for every condition of a stored profile, as far as what is stored allows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seedzoo.selection.excess_variance import ExcessVariance, excess_variance_bound, excess_variance_chi2
from seedzoo.stress.analysis.matrix import ProfileMatrix

__all__ = ["profile_excess"]


def profile_excess(
    profile: ProfileMatrix, *, sum_squares: Mapping[str, int] | None = None
) -> dict[str, ExcessVariance]:
    """Excess variance per condition; see :mod:`seedzoo.selection.excess_variance`.

    Args:
        profile: The profile.
        sum_squares: Condition -> sum over its examples of the squared number of variants that are right, over the
            profile's variants; conditions without it get the conservative bound.

    Returns:
        Condition -> the test. Missing are conditions whose number of examples is not known, and those of which fewer
        than two variants were measured.
    """
    squares = sum_squares or {}
    found = {}
    for k, (name, n) in enumerate(zip(profile.conditions, profile.n, strict=True)):
        column = profile.accuracies[:, k]
        measured = ~np.isnan(column)
        if n is None or measured.sum() < 2:
            continue
        counts = column[measured] * n
        if name in squares and measured.all() and profile.counted[:, k].all():
            found[name] = excess_variance_chi2(np.rint(counts), n=n, sum_squares=squares[name])
        else:
            found[name] = excess_variance_bound(np.minimum(counts, n), n=n)
    return found
