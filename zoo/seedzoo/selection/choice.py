"""Choose a variant from labelled data that every variant was evaluated on."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.bootstrap import ErrorDraws, Sample, critical_value, posterior_within, summarise
from seedzoo.selection.checks import as_column, as_group_codes, as_scores, check_int, check_open_unit
from seedzoo.selection.confidence_set import ConfidenceSet, confidence_set, paired_se, units_needed
from seedzoo.selection.intervals import Interval, wilson_at
from seedzoo.selection.prior import Prior, as_signatures, posterior_deviations
from seedzoo.selection.signatures import Signature

__all__ = ["BEST_HELD_OUT", "FAMILY_MEAN", "Choice", "assess", "choose"]

FAMILY_MEAN = "family_mean"
BEST_HELD_OUT = "best_held_out"

POWER = 0.8
# Sums of float scores depend on the order of summation in the last digits; means this close are ties.
_DECIMALS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Outcome of :func:`choose`. Scores, differences and delta share one unit: 1 = 100 %.

    Attributes:
        best: Index of the recommended variant.
        candidates: Confidence set of the best variant, the recommended one first, then by falling mean. It holds
            the truly best variant with probability 1 - alpha; the data do not tell its members apart.
        means: [M] mean scores.
        accuracy: Mean score of the recommended variant; its interval holds for any rule that picks.
        variant_intervals: Lows [M] and highs [M] that hold for all M jointly with probability 1 - alpha.
        gains: For each baseline, how far the recommended variant lies above it; each interval holds jointly
            over all variants that could have been picked. A variant compared with itself gains (0, 0, 0).
        p_within: Posterior probability (Bayesian bootstrap) that the recommended variant is within delta of
            the best one.
        detectable: Smallest true difference between two typical leaders that a two-sided paired test at level
            alpha finds with 80 % power at this n: (t(1 - alpha/2) + z(.8)) times the median standard error of
            the paired difference between the recommended variant and the other candidates (all other
            variants where it is the only candidate). 0 for a single variant: there is nothing to detect.
        labels_to_separate: How many more labels until the runner-up leaves the set if the observed difference
            is the true one (so about even odds; more for a good chance). None where the set has one member
            or the two leaders tie.
        reason: How the recommended variant was picked, one sentence.
        n: Number of examples.
        alpha: One minus the coverage of the set and of each interval.
        delta: Tolerated shortfall behind ``p_within``.
    """

    best: int
    candidates: tuple[int, ...]
    means: NDArray[np.float64]
    accuracy: Interval
    variant_intervals: tuple[NDArray[np.float64], NDArray[np.float64]]
    gains: dict[str, Interval]
    p_within: float
    detectable: float
    labels_to_separate: int | None
    reason: str
    n: int
    alpha: float
    delta: float


def choose(
    scores: ArrayLike,
    *,
    alpha: float = 0.05,
    delta: float = 0.01,
    prior: Prior | None = None,
    signatures: ArrayLike | Sequence[Signature] | None = None,
    groups: Sequence[Hashable] | NDArray[Any] | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    reference: int | None = None,
    order: ArrayLike | None = None,
    seed: int = 0,
    n_boot: int = 2000,
) -> Choice:
    """Recommend the variant with the highest mean score and say what the data can vouch for.

    All n examples are evaluated on all M variants and n was fixed in advance. Recommended is the highest
    sample mean; ``order`` decides exact ties only. With a prior, recommended is the highest posterior mean inside
    the confidence set; the set and all intervals come from the labelled data alone. What is claimed of the
    recommended variant holds despite the picking: the accuracy and gain intervals are simultaneous over all
    variants (max-T), so they cover whichever is picked.

    Args:
        scores: [n, M] booleans or numbers in [0, 1]: score of variant m on example i.
        alpha: One minus the coverage of the confidence set and of each interval, in (0, 1).
        delta: Tolerated shortfall for ``p_within``, in the unit of the scores, in (0, 1).
        prior: What the family's stress profile teaches (:func:`~seedzoo.selection.prior.fit_prior`); needs
            ``signatures``.
        signatures: One per variant, on the user's examples, with or without labels: :class:`Signature` objects, or
            [M, 2] COT and nuclear norm for whose class proportions the caller vouches. Signatures that rest on
            assumed proportions are not used (the reason says so): under label shift they mislead.
        groups: [n] hashables; examples with equal values may depend on each other (one patient, one video)
            and are resampled as a whole. None: all independent.
        baselines: Name to [n] scores on the same examples, to state gains over (say, the plain ensemble).
            The family mean is always added, as "family_mean".
        reference: Index of the variant that is best by held-out accuracy; adds the baseline "best_held_out".
        order: [M] numbers, higher is preferred, for exact ties of the sample mean; then the lowest index.
        seed: Seed of the bootstrap draws; the same seed gives the same result.
        n_boot: Number of bootstrap and of posterior draws.

    Returns:
        The choice, its confidence set and its intervals.

    Raises:
        ValueError: An argument that cannot be used: scores not [n >= 1, M >= 1], NaN or outside [0, 1]; alpha
            or delta outside (0, 1); a prior without signatures, signatures without a prior, or either for
            another number of variants; groups, baselines or order of the wrong shape; a reserved baseline name;
            reference out of range; too few draws for alpha.

    References:
        Confidence set and max-T intervals: see :mod:`seedzoo.selection.confidence_set` and
        :mod:`seedzoo.selection.bootstrap`. Simultaneous intervals after a pick: R. Berk et al. (2013), Valid
        post-selection inference, Ann. Statist. 41. Wilson form: E. B. Wilson (1927), JASA 22.
    """
    values = as_scores(scores)
    n, variants = values.shape
    level = check_open_unit(alpha, "alpha")
    tolerance = check_open_unit(delta, "delta")
    codes = None if groups is None else as_group_codes(groups, n=n)
    external = _check_baselines(baselines, n=n)
    held_out = None if reference is None else check_int(reference, "reference", low=0, high=variants)
    preference = _check_order(order, variants=variants)
    features, assumed = _check_prior(prior, signatures, variants=variants)
    check_int(seed, "seed", low=0)
    check_int(n_boot, "n_boot", low=max(100, math.ceil(1 / level - 1e-9) - 1))

    rng = np.random.default_rng(seed)
    sample = summarise(np.column_stack([values, *external.values()]) if external else values, codes)
    means = sample.means[:variants]
    draws = ErrorDraws(sample, variants=variants, n_boot=n_boot, rng=rng)
    members = confidence_set(sample, draws, variants=variants, alpha=level)

    ranking = np.lexsort((np.arange(variants), -preference, -np.round(means, _DECIMALS)))
    candidates = tuple(int(j) for j in ranking if members.kept[j])
    reason = _reason(means, preference, best=int(ranking[0]), n=n)
    if prior is not None and assumed:
        reason += " The prior was not used: its signatures rest on assumed class proportions."
    elif prior is not None and features is not None and variants > 1:
        candidates = _by_prior(sample, candidates, prior, features)
        reason = _prior_reason(candidates[0] == ranking[0], len(candidates), n=n)
    best = candidates[0]
    lows, highs = _variant_intervals(sample, draws, variants=variants, alpha=level)
    return Choice(
        best=best,
        candidates=candidates,
        means=means.copy(),
        accuracy=Interval(float(means[best]), float(lows[best]), float(highs[best])),
        variant_intervals=(lows, highs),
        gains={
            name: _gain(sample, draws, contrasts, best=best, alpha=level)
            for name, contrasts in _contrasts(variants, held_out, tuple(external)).items()
        },
        p_within=posterior_within(sample, variants=variants, best=best, delta=tolerance, n_boot=n_boot, rng=rng),
        detectable=_detectable(sample, candidates, variants=variants, alpha=level),
        labels_to_separate=_labels_to_separate(sample, members, candidates, alpha=level),
        reason=reason,
        n=n,
        alpha=level,
        delta=tolerance,
    )


def assess(
    scores: ArrayLike, *, best: int, alpha: float, seed: int, n_boot: int = 2000
) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64]], dict[str, Interval]]:
    """What a random labelled sample vouches for about a variant that was picked by any rule, from any data.

    Args:
        scores: [n, M] as in :func:`choose`.
        best: Index of the picked variant.
        alpha: One minus the coverage of the intervals, in (0, 1).
        seed: Seed of the bootstrap draws.
        n_boot: Number of draws; more are taken where alpha needs them.

    Returns:
        Means, variant intervals and gains, as in :class:`Choice`.

    Raises:
        ValueError: Scores or alpha that cannot be used.
    """
    sample = summarise(as_scores(scores))
    level = check_open_unit(alpha, "alpha")
    variants = sample.means.size
    draws = ErrorDraws(
        sample, variants=variants, n_boot=max(n_boot, math.ceil(1 / level)), rng=np.random.default_rng(seed)
    )
    gains = {
        name: _gain(sample, draws, contrasts, best=best, alpha=level)
        for name, contrasts in _contrasts(variants, None, ()).items()
    }
    return sample.means, _variant_intervals(sample, draws, variants=variants, alpha=level), gains


def _check_prior(
    prior: Prior | None, signatures: ArrayLike | Sequence[Signature] | None, *, variants: int
) -> tuple[NDArray[np.float64] | None, bool]:
    if prior is None and signatures is None:
        return None, False
    if prior is None or signatures is None:
        raise ValueError("prior and signatures must be given together")
    if prior.variants != variants:
        raise ValueError(f"the prior is for {prior.variants} variants, the scores have {variants}")
    return as_signatures(signatures, variants)


def _by_prior(
    sample: Sample, candidates: tuple[int, ...], prior: Prior, features: NDArray[np.float64]
) -> tuple[int, ...]:
    """The candidates with the highest posterior mean in front; ties keep their order."""
    variants = prior.variants
    centring = np.eye(variants) - 1.0 / variants
    own = centring @ sample.paired_covariance[:variants, :variants] @ centring
    noise = float(np.trace(own)) / (variants - 1)
    posterior = posterior_deviations(sample.means[:variants], noise, features, prior)
    best = max(candidates, key=lambda j: round(float(posterior[j]), _DECIMALS))
    return (best, *(j for j in candidates if j != best))


def _prior_reason(agrees: bool, count: int, *, n: int) -> str:
    data = f"{n} example{'s' if n > 1 else ''}"
    if count == 1:
        return f"Recommended as the only variant that {data} leave in the set."
    also = "; it has the highest sample mean too" if agrees else ", not the highest sample mean"
    return (
        f"Recommended among {count} that {data} do not tell apart for the highest expected accuracy, given the "
        f"family's stress profile and the variants' outputs{also}."
    )


def _check_baselines(baselines: Mapping[str, ArrayLike] | None, *, n: int) -> dict[str, NDArray[np.float64]]:
    given = {} if baselines is None else dict(baselines)
    for name in (FAMILY_MEAN, BEST_HELD_OUT):
        if name in given:
            raise ValueError(f"the baseline name {name!r} is reserved")
    return {name: as_column(column, n=n, name=f"baseline {name!r}") for name, column in given.items()}


def _check_order(order: ArrayLike | None, *, variants: int) -> NDArray[np.float64]:
    if order is None:
        return np.zeros(variants)
    try:
        preference = np.asarray(order, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"order must be numbers: {error}") from error
    if preference.shape != (variants,):
        raise ValueError(f"order must have shape ({variants},), got {preference.shape}")
    if np.isnan(preference).any():
        raise ValueError("order must not hold NaN")
    return preference


def _variant_intervals(
    sample: Sample, draws: ErrorDraws, *, variants: int, alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    covariance = sample.covariance[:variants, :variants]
    # A Wilson interval takes its variance from the hypothesis, not from the sample, so it calls for normal
    # draws; with groups the design effect is estimated, so for t.
    z = draws.max_t(covariance, student=sample.grouped, alpha=alpha)
    return wilson_at(sample.means[:variants], sample.effective_n()[:variants], z=z)


def _contrasts(variants: int, reference: int | None, external: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """For each baseline the matrix [M, M + E] that maps the columns' means to "variant minus baseline"."""
    own = np.eye(variants, variants + len(external))
    mean = own.copy()
    mean[:, :variants] -= 1.0 / variants
    contrasts = {FAMILY_MEAN: mean}
    if reference is not None:
        contrasts[BEST_HELD_OUT] = own - own[reference]
    for position, name in enumerate(external):
        contrasts[name] = own.copy()
        contrasts[name][:, variants + position] = -1.0
    return contrasts


def _gain(sample: Sample, draws: ErrorDraws, contrasts: NDArray[np.float64], *, best: int, alpha: float) -> Interval:
    identical = (
        np.count_nonzero(contrasts, axis=1) == 0
    )  # the baseline is the variant itself: the gain is 0, known exactly
    if identical[best]:
        return Interval(0.0, 0.0, 0.0)
    covariance = contrasts @ sample.paired_covariance @ contrasts.T
    half = draws.max_t(covariance, student=True, alpha=alpha) * math.sqrt(covariance[best, best])
    gain = float(contrasts[best] @ sample.means)
    return Interval(gain, max(gain - half, -1.0), min(gain + half, 1.0))


def _detectable(sample: Sample, candidates: tuple[int, ...], *, variants: int, alpha: float) -> float:
    best = candidates[0]
    rivals = list(candidates[1:]) or [j for j in range(variants) if j != best]
    if not rivals:
        return 0.0
    se = paired_se(sample.paired_covariance[:variants, :variants])[best, rivals]
    factor = critical_value(alpha / 2, sample.dof) + critical_value(1 - POWER, None)
    return min(factor * float(np.median(se)), 1.0)


def _labels_to_separate(
    sample: Sample, members: ConfidenceSet, candidates: tuple[int, ...], *, alpha: float
) -> int | None:
    if len(candidates) < 2:
        return None
    best, rival = candidates[:2]
    gap = round(float(sample.means[best] - sample.means[rival]), _DECIMALS)
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


def _reason(means: NDArray[np.float64], preference: NDArray[np.float64], *, best: int, n: int) -> str:
    data = f"{n} example{'s' if n > 1 else ''}"
    if means.size == 1:
        return "Recommended as the only variant there is."
    rounded = np.round(means, _DECIMALS)
    tied = np.flatnonzero(rounded == rounded[best])
    if tied.size == 1:
        return f"Recommended for the highest sample mean on {data}."
    by_order = np.count_nonzero(preference[tied] == preference[best]) == 1
    rule = "the given order of preference" if by_order else "the lowest index"
    return f"Recommended among {tied.size} tied at the highest sample mean on {data}; tie broken by {rule}."
