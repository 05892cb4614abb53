"""Are the trained variants equally accurate? A paired equivalence test of each against the family mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seedzoo.selection.checks import as_scores, check_open_unit

__all__ = ["EquivalenceResult", "equivalence_to_mean"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EquivalenceResult:
    """Outcome of :func:`equivalence_to_mean`; all differences in the unit of the scores.

    Attributes:
        difference: [M] mean score of the variant minus the family mean.
        se: [M] standard error of the difference.
        p_value: [M] the larger of the two one-sided p-values, not corrected for the number of variants.
        low: [M] lower end of the 1 - 2 alpha / M interval of the difference.
        high: [M] upper end of it.
        passed: [M] True where equivalence is shown: p_value < alpha / M, which is the same as
            -margin < low and high < margin.
        margin: Largest difference from the family mean that still counts as equally accurate.
        alpha: Chance, over all M variants together, of passing any that is not equivalent, as far as the normal
            approximation holds.
        n: Number of examples.
    """

    difference: NDArray[np.float64]
    se: NDArray[np.float64]
    p_value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    passed: NDArray[np.bool_]
    margin: float
    alpha: float
    n: int


def equivalence_to_mean(scores: ArrayLike, *, margin: float, alpha: float = 0.05) -> EquivalenceResult:
    """Two one-sided tests (TOST) of each variant's mean score against the mean over all M variants.

    Paired: d_ij = X_ij - mean_k X_ik, se_j^2 = max(s_j^2, margin (1 - margin)) / n + 1 / n^2 with s_j the sample
    standard deviation of d_.j. Both additions keep the test from certainty where few examples tell the variants
    apart: 1 / n^2 is one example's worth; the floor is the variance of a variant that is one margin off in the way
    that is easiest to miss, by being wrong on a share ``margin`` of the examples and like the others elsewhere. Where
    variants differ on more, as independently trained ones do, it changes nothing.

    Normal approximation; each test runs at level alpha / M (Bonferroni over the number trained, so variants that fail
    must be counted in M too). The difference is taken from the mean of these M variants: two that pass may differ from
    each other by up to twice the margin, and with M = 2 each differs from the mean by half of what they differ.
    Examples must be independent: near duplicates make the standard error too small.

    The normal approximation is not exact far out in the tail: by simulation with differences of -1, 0 and 1, a variant
    exactly one margin off passes with up to about twice the probability alpha / M where variants differ on less than
    twice the margin, and with 1.1 times where they differ on five times the margin.

    Args:
        scores: [n, M] booleans or numbers in [0, 1], for all variants that were trained.
        margin: Equivalence margin in the unit of the scores (0.01 = one point), positive.
        alpha: Familywise error rate, in (0, 0.5).

    Returns:
        Differences, standard errors, p-values, intervals and verdicts, one per variant.

    Raises:
        ValueError: Scores, margin or alpha that cannot be used.

    References:
        D. J. Schuirmann (1987), A comparison of the two one-sided tests procedure and the power approach
        for assessing the equivalence of average bioavailability, J. Pharmacokinet. Biopharm. 15.
    """
    values = as_scores(scores)
    level = check_open_unit(alpha, "alpha")
    if level >= 0.5:
        raise ValueError(f"alpha must lie below 0.5, got {alpha!r}")
    if not 0.0 < margin < np.inf:
        raise ValueError(f"margin must be positive and finite, got {margin!r}")
    n, variants = values.shape
    deviations = values - values.mean(axis=1, keepdims=True)
    difference = deviations.mean(axis=0)
    variance = deviations.var(axis=0, ddof=1) if n > 1 else np.zeros(variants)
    least = margin * max(0.0, 1.0 - margin)
    se = np.sqrt(np.maximum(variance, least) / n + 1.0 / n**2)
    not_too_low = stats.norm.sf((margin + difference) / se)
    not_too_high = stats.norm.sf((margin - difference) / se)
    p_value = np.maximum(not_too_low, not_too_high)
    half = stats.norm.isf(level / variants) * se
    return EquivalenceResult(
        difference=difference,
        se=se,
        p_value=p_value,
        low=difference - half,
        high=difference + half,
        passed=p_value < level / variants,
        margin=float(margin),
        alpha=level,
        n=n,
    )
