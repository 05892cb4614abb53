"""What a sample vouches for about its variants and the one that was picked: intervals, gains, what it can detect.

**The interval of a pick.** Let b be the truly best variant; it has a fixed identity, though nobody knows it. Let u_k be
the plain one-sided upper limit of variant k at level alpha / 2, and l_k lower limits that hold for all M variants
jointly at level alpha / 2 (one-sided max-T). Then for the variant j that any rule picks, from the same data or not,

    P(l_j > mu_j) <= P(l_k > mu_k for some k) <= alpha / 2,
    mu_j <= mu_b, and mu_b <= u_b <= max_k u_k except with probability alpha / 2,

so [l_j, max_k u_k] misses mu_j with probability alpha at most. Only the lower limit pays for the choice among M:
picking what did well makes an estimate too high, but no variant better than the best. For 0/1 scores without groups
max_k u_k is the plain Wilson limit of the highest sample mean. With one variant both limits are the ordinary ones.

The same holds for gains over a baseline B, because the variant with the largest mu_k is the one with the largest
mu_k - B. The contrast of a variant with itself is exactly 0 and so is its limit.

Equal halves of alpha: on CIFAR-10.1 v4 and ImageNetV2 (n = 100, 200, 1000) the share of alpha given to the lower limit
that made the interval narrowest was .65 for the accuracy and .4 to .5 for gains, but anything from .4 to .7 was within
2.5 % of it. (For symmetric laws the best share equalises the hazards of the two limits, which differ little.)

A pick far below the highest sample mean, as under requirements, would get a needlessly high upper limit: there the
two-sided max-T interval is stated. Which of the two it is follows from the rule, never from the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seedzoo.selection.arguments import BEST_HELD_OUT, FAMILY_MEAN
from seedzoo.selection.bootstrap import Critical, ErrorDraws, Sample, critical_value
from seedzoo.selection.confidence_set import ConfidenceSet, paired_se, units_needed
from seedzoo.selection.intervals import Interval, wilson_at

__all__ = [
    "DECIMALS",
    "POWER",
    "accuracy_critical",
    "accuracy_of_pick",
    "contrasts",
    "detectable",
    "gains_of_pick",
    "labels_to_separate",
    "rank",
    "ties",
    "variant_intervals",
]

Floats = NDArray[np.float64]

POWER = 0.8
# Sums of float scores depend on the order of summation in the last digits; means this close are ties.
DECIMALS = 12


def rank(merit: Floats, preference: Floats, first: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
    """Variants by falling merit; exact ties by falling preference, then by index.

    Args:
        merit: [M] higher is better.
        preference: [M] higher is preferred.
        first: [M] True for those that come before all others.
    """
    later = np.zeros(merit.size, dtype=np.bool_) if first is None else ~first
    return np.lexsort((np.arange(merit.size), -preference, -np.round(merit, DECIMALS), later))


def ties(merit: Floats, preference: Floats, *, best: int, preferred: str) -> tuple[int, str]:
    """How many variants are tied with the best one, itself included, and what breaks the tie, in words.

    Args:
        merit: [M] as in :func:`rank`.
        preference: [M] as in :func:`rank`.
        best: First by :func:`rank`.
        preferred: What the preference is, in words.
    """
    rounded = np.round(merit, DECIMALS)
    tied = np.flatnonzero(rounded == rounded[best])
    by_order = np.count_nonzero(preference[tied] == preference[best]) == 1
    return tied.size, preferred if by_order else "the lowest index"


def accuracy_critical(sample: Sample, draws: ErrorDraws, *, variants: int, alpha: float) -> Critical:
    """Critical values for the mean scores of the first ``variants`` columns, to be used in Wilson form."""
    # A Wilson interval takes its variance from the hypothesis, not from the sample, so it calls for normal
    # draws; with groups the design effect is estimated, so for t.
    return draws.max_t(sample.covariance[:variants, :variants], student=sample.grouped, alpha=alpha)


def variant_intervals(sample: Sample, critical: Critical, *, variants: int) -> tuple[Floats, Floats]:
    """Lows and highs [M] of the mean scores that hold for all variants jointly."""
    return wilson_at(sample.means[:variants], sample.effective_n()[:variants], z=critical.two_sided)


def accuracy_of_pick(sample: Sample, critical: Critical, *, variants: int, best: int) -> Interval:
    """Mean score of a variant that any rule picked, from the same sample or not: see the module's text."""
    means, count = sample.means[:variants], sample.effective_n()[:variants]
    low, _ = wilson_at(means[best], count[best], z=critical.one_sided)
    _, highs = wilson_at(means, count, z=critical.single)
    return Interval(float(means[best]), float(low), float(highs.max()))


def contrasts(variants: int, reference: int | None, external: Sequence[str]) -> dict[str, Floats]:
    """For each baseline the matrix [M, M + E] that maps the columns' means to "variant minus baseline".

    Args:
        variants: M.
        reference: The variant behind "best_held_out", or None.
        external: Names of the E columns that follow the variants.
    """
    own = np.eye(variants, variants + len(external))
    mean = own.copy()
    mean[:, :variants] -= 1.0 / variants
    found = {FAMILY_MEAN: mean}
    if reference is not None:
        found[BEST_HELD_OUT] = own - own[reference]
    for position, name in enumerate(external):
        found[name] = own.copy()
        found[name][:, variants + position] = -1.0
    return found


def gains_of_pick(
    sample: Sample,
    draws: ErrorDraws,
    baselines: dict[str, Floats],
    *,
    best: int,
    alpha: float,
    for_top: bool,
) -> dict[str, Interval]:
    """How far the picked variant lies above each baseline.

    Args:
        sample: Variants, then baselines.
        draws: Bootstrap draws of the same sample.
        baselines: From :func:`contrasts`.
        best: The picked variant.
        alpha: One minus the coverage of each interval.
        for_top: Whether the rule picks near the highest sample mean. True: the interval of the module's text; False:
            the two-sided max-T interval. Both hold for any rule.
    """
    return {
        name: _gain(sample, draws, matrix, best=best, alpha=alpha, for_top=for_top)
        for name, matrix in baselines.items()
    }


def _gain(sample: Sample, draws: ErrorDraws, matrix: Floats, *, best: int, alpha: float, for_top: bool) -> Interval:
    if not matrix[best].any():  # the baseline is the variant itself: the gain is 0, known exactly
        return Interval(0.0, 0.0, 0.0)
    covariance = matrix @ sample.paired_covariance @ matrix.T
    critical = draws.max_t(covariance, student=True, alpha=alpha)
    se = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    gains = matrix @ sample.means
    if for_top:
        low, high = gains[best] - critical.one_sided * se[best], (gains + critical.single * se).max()
    else:
        low, high = gains[best] + np.array([-1.0, 1.0]) * critical.two_sided * se[best]
    return Interval(float(gains[best]), max(float(low), -1.0), min(float(high), 1.0))


def detectable(sample: Sample, candidates: Sequence[int], *, variants: int, alpha: float) -> float:
    """Smallest true difference that a two-sided paired test finds with 80 % power: see ``Choice``."""
    best = candidates[0]
    rivals = list(candidates[1:]) or [j for j in range(variants) if j != best]
    if not rivals:
        return 0.0
    se = paired_se(sample.paired_covariance[:variants, :variants])[best, rivals]
    factor = critical_value(alpha / 2, sample.dof) + critical_value(1 - POWER, None)
    return min(factor * float(np.median(se)), 1.0)


def labels_to_separate(
    sample: Sample, members: ConfidenceSet, candidates: Sequence[int], *, alpha: float
) -> int | None:
    """How many more labels until the runner-up leaves the set: see ``Choice``."""
    if len(candidates) < 2 or sample.sizes.size < 2:
        return None
    best, rival = candidates[:2]
    gap = round(float(sample.means[best] - sample.means[rival]), DECIMALS)
    if gap <= 0.0:
        return None
    # Solve gap = q sqrt(v / N + s^2 / N^2) for N: v / N is the variance of the difference, s^2 / N^2 the
    # pseudo-variance at N examples, q the rival's critical value, which hardly moves with N.
    pair = sample.covariance[np.ix_([best, rival], [best, rival])]
    v = max(float(pair[0, 0] + pair[1, 1] - 2 * pair[0, 1]), 0.0) * sample.n
    q2 = float(members.critical[rival]) ** 2
    needed = (q2 * v + math.sqrt((q2 * v) ** 2 + 4 * gap**2 * q2 * sample.group_size**2)) / (2 * gap**2)
    needed = max(needed, units_needed(alpha) * sample.group_size)
    return max(math.ceil(needed) - sample.n, 1)
