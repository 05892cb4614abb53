"""Choose a variant from labelled data that every variant was evaluated on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.arguments import BEST_HELD_OUT, FAMILY_MEAN, check_arguments, check_baselines
from seedzoo.selection.bootstrap import ErrorDraws, Sample, draws_for, summarise
from seedzoo.selection.checks import as_scores, check_open_unit
from seedzoo.selection.confidence_set import confidence_set
from seedzoo.selection.intervals import Interval
from seedzoo.selection.posterior import posterior_within
from seedzoo.selection.prior import Prior, as_signatures, posterior_deviations
from seedzoo.selection.signatures import Signature
from seedzoo.selection.statements import (
    DECIMALS,
    accuracy_critical,
    accuracy_of_pick,
    contrasts,
    detectable,
    gains_of_pick,
    labels_to_separate,
    rank,
    ties,
    variant_intervals,
)

__all__ = ["BEST_HELD_OUT", "FAMILY_MEAN", "Choice", "assess", "choose"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Outcome of :func:`choose`. Scores, differences and delta share one unit: 1 = 100 %.

    Attributes:
        best: Index of the recommended variant.
        candidates: Confidence set of the best variant, the recommended one first, then by falling mean. It holds
            the truly best variant with probability 1 - alpha; the data do not tell its members apart.
        means: [M] mean scores.
        accuracy: Mean score of the recommended variant; its interval holds for any rule that picks
            (:mod:`seedzoo.selection.statements`). It is not the variant's one among ``variant_intervals``: its upper
            end need not hold for all variants jointly, so it is mostly narrower.
        variant_intervals: Lows [M] and highs [M] that hold for all M jointly with probability 1 - alpha.
        gains: For each baseline, how far the recommended variant lies above it; each interval holds for any rule
            that picks. A variant compared with itself gains (0, 0, 0).
        p_within: Posterior probability that the recommended variant is within delta of the best one
            (:mod:`seedzoo.selection.posterior`); nan: not stated.
        detectable: Smallest true difference between two typical leaders that a two-sided paired test at level
            alpha finds with 80 % power at this n: (t(1 - alpha/2) + z(.8)) times the median standard error of
            the paired difference between the recommended variant and the other candidates (all other
            variants where it is the only candidate). 0 for a single variant: there is nothing to detect.
        labels_to_separate: How many more labels until the runner-up leaves the set if the observed difference
            is the true one (so about even odds; more for a good chance). None where the set has one member,
            the two leaders tie, or all examples are one or of one group, which tells nothing of variation.
        reason: How the recommended variant was picked, in words.
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
    merit: str = "the highest sample mean",
    preference: str = "the given order of preference",
) -> Choice:
    """Recommend the variant with the highest mean score and say what the data can vouch for.

    All n examples are evaluated on all M variants and n was fixed in advance. Recommended is the highest
    sample mean; ``order`` decides exact ties only. With a prior, recommended is the highest posterior mean inside
    the confidence set; the set and all intervals come from the labelled data alone. What is claimed of the
    recommended variant holds despite the picking: lower limits of accuracy and gains are simultaneous over all
    variants, upper limits bound the best of all (:mod:`seedzoo.selection.statements` has the proof).

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
        n_boot: Number of bootstrap and of posterior draws, 100 to 100,000. Where they are too few for alpha, fewer
            than 1 / alpha - 1, Bonferroni's critical values take over: valid, and wider.
        merit: What the scores' highest mean stands for, as the reason names it: say, "the lowest Brier score".
        preference: What ``order`` is, as the reason names it.

    Returns:
        The choice, its confidence set and its intervals.

    Raises:
        ValueError: An argument that cannot be used: scores not [n >= 1, M >= 1], NaN or outside [0, 1]; alpha
            or delta outside (0, 1); a prior without signatures, signatures without a prior, or either for
            another number of variants; groups, baselines or order of the wrong shape; a reserved baseline name;
            reference out of range; too few or too many draws.

    References:
        Confidence set and max-T intervals: see :mod:`seedzoo.selection.confidence_set` and
        :mod:`seedzoo.selection.bootstrap`. Simultaneous intervals after a pick: R. Berk et al. (2013), Valid
        post-selection inference, Ann. Statist. 41. Wilson form: E. B. Wilson (1927), JASA 22.
    """
    values = as_scores(scores)
    n, variants = values.shape
    given = check_arguments(
        n=n,
        variants=variants,
        alpha=alpha,
        delta=delta,
        groups=groups,
        reference=reference,
        order=order,
        seed=seed,
        n_boot=n_boot,
    )
    external = check_baselines(baselines, n=n)
    features, assumed = _check_prior(prior, signatures, variants=variants)

    rng = np.random.default_rng(seed)
    sample = summarise(np.column_stack([values, *external.values()]) if external else values, given.codes)
    means = sample.means[:variants]
    draws = ErrorDraws(sample, variants=variants, n_boot=given.n_boot, rng=rng)
    members = confidence_set(sample, draws, variants=variants, alpha=given.alpha)

    ranking = rank(means, given.preference)
    candidates = tuple(int(j) for j in ranking if members.kept[j])
    where = f"{merit} on {given.data}"
    reason = _reason(means, given.preference, best=int(ranking[0]), merit=where, preferred=preference)
    if prior is not None and assumed:
        reason += " The prior was not used: its signatures rest on assumed class proportions."
    elif prior is not None and features is not None and variants > 1:
        candidates = _by_prior(sample, candidates, prior, features)
        reason = _prior_reason(candidates[0] == ranking[0], len(candidates), data=given.data, merit=merit)
    best = candidates[0]
    critical = accuracy_critical(sample, draws, variants=variants, alpha=given.alpha)
    return Choice(
        best=best,
        candidates=candidates,
        means=means.copy(),
        accuracy=accuracy_of_pick(sample, critical, variants=variants, best=best),
        variant_intervals=variant_intervals(sample, critical, variants=variants),
        gains=gains_of_pick(
            sample,
            draws,
            contrasts(variants, given.reference, tuple(external)),
            best=best,
            alpha=given.alpha,
            for_top=True,
        ),
        p_within=posterior_within(
            means,
            sample.paired_covariance[:variants, :variants],
            best=best,
            delta=given.delta,
            n_draws=given.n_boot,
            rng=rng,
        ),
        detectable=detectable(sample, candidates, variants=variants, alpha=given.alpha),
        labels_to_separate=labels_to_separate(sample, members, candidates, alpha=given.alpha),
        reason=reason,
        n=n,
        alpha=given.alpha,
        delta=given.delta,
    )


def assess(
    scores: ArrayLike, *, best: int, alpha: float, seed: int, n_boot: int = 2000
) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64]], dict[str, Interval]]:
    """What a random labelled sample vouches for about a variant that was picked by any rule, from any data.

    Accuracy and gains are two-sided max-T: a variant that was picked elsewhere may lie below the highest mean of this
    sample by more than the upper limit of :func:`choose` would save.

    Args:
        scores: [n, M] as in :func:`choose`.
        best: Index of the picked variant.
        alpha: One minus the coverage of the intervals, in (0, 1).
        seed: Seed of the bootstrap draws.
        n_boot: Number of draws; more are taken where alpha needs them, up to 20,000.

    Returns:
        Means, variant intervals and gains, as in :class:`Choice`.

    Raises:
        ValueError: Scores or alpha that cannot be used.
    """
    values = as_scores(scores)
    variants = values.shape[1]
    level = check_open_unit(alpha, "alpha")
    sample = summarise(values)
    count = draws_for(level, n_boot=n_boot, variants=variants)
    draws = ErrorDraws(sample, variants=variants, n_boot=count, rng=np.random.default_rng(seed))
    critical = accuracy_critical(sample, draws, variants=variants, alpha=level)
    baselines = contrasts(variants, None, ())
    gains = gains_of_pick(sample, draws, baselines, best=best, alpha=level, for_top=False)
    return sample.means, variant_intervals(sample, critical, variants=variants), gains


def _check_prior(
    prior: Prior | None, signatures: ArrayLike | Sequence[Signature] | None, *, variants: int
) -> tuple[NDArray[np.float64] | None, bool]:
    if prior is None and signatures is None:
        return None, False
    if prior is None or signatures is None:
        raise ValueError("prior and signatures must be given together")
    if not isinstance(prior, Prior):
        raise ValueError(f"prior must be a Prior, got {type(prior).__name__}")
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
    best = max(candidates, key=lambda j: round(float(posterior[j]), DECIMALS))
    return (best, *(j for j in candidates if j != best))


def _prior_reason(agrees: bool, count: int, *, data: str, merit: str) -> str:
    if count == 1:
        return f"Recommended as the only variant that {data} leave in the set."
    also = f"; it has {merit} too" if agrees else f", not {merit}"
    return (
        f"Recommended among {count} that {data} do not tell apart for the highest expected accuracy, given the "
        f"family's stress profile and the variants' outputs{also}."
    )


def _reason(
    means: NDArray[np.float64], preference: NDArray[np.float64], *, best: int, merit: str, preferred: str
) -> str:
    if means.size == 1:
        return "Recommended as the only variant there is."
    tied, rule = ties(means, preference, best=best, preferred=preferred)
    if tied == 1:
        return f"Recommended for {merit}."
    return f"Recommended among {tied} tied at {merit}; tie broken by {rule}."
