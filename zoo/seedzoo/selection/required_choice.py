"""Choose the best variant among those that meet requirements, by mean scores or by any metric."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.arguments import Arguments, check_arguments, check_baselines, check_names
from seedzoo.selection.bootstrap import ErrorDraws, summarise
from seedzoo.selection.checks import as_scores
from seedzoo.selection.choice import Choice
from seedzoo.selection.confidence_set import ConfidenceSet, confidence_set
from seedzoo.selection.intervals import Interval
from seedzoo.selection.metric_draws import check_metric, interval_bounds, span_of, standing
from seedzoo.selection.objectives import Inputs, Metric, accuracy, multilabel_accuracy
from seedzoo.selection.posterior import posterior_within
from seedzoo.selection.requirements import (
    Evidence,
    ProfileCounts,
    Requirement,
    RequirementStatus,
    Status,
    evaluate_requirements,
    parse_requirement,
)
from seedzoo.selection.statements import (
    DECIMALS,
    accuracy_critical,
    contrasts,
    detectable,
    gains_of_pick,
    labels_to_separate,
    rank,
    ties,
    variant_intervals,
)

__all__ = ["RequiredChoice", "choose_by_metric_with_requirements", "choose_with_requirements"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RequiredChoice:
    """Outcome of :func:`choose_with_requirements` and :func:`choose_by_metric_with_requirements`.

    Attributes:
        choice: As from ``choose`` or ``choose_by_metric``; its ``candidates`` hold the best of the variants that truly
            meet all requirements (if any does) with probability 1 - alpha. Empty if every variant is refuted; then
            ``p_within`` is nan, as there is no candidate to be near to.
        status: Whether the recommended variant meets all requirements: MET, OPEN (not shown yet), or REFUTED (no
            variant can meet them; the recommended one is the nearest).
        overall: [M] the same for every variant: its worst requirement.
        table: One entry per requirement, with the bounds of all variants.
        nearest: If no variant can meet the requirements, the one whose largest shortfall is smallest, each as a share
            of its metric's range (:attr:`RequirementStatus.relative_shortfall`); else None.
    """

    choice: Choice
    status: Status
    overall: tuple[Status, ...]
    table: tuple[RequirementStatus, ...]
    nearest: int | None


def choose_with_requirements(
    scores: ArrayLike,
    requirements: Sequence[Requirement | str],
    *,
    slices: Mapping[str, ArrayLike] | None = None,
    profile: Mapping[str, ProfileCounts] | None = None,
    inputs: Inputs | None = None,
    alpha: float = 0.05,
    delta: float = 0.01,
    groups: Sequence[Hashable] | NDArray[Any] | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    reference: int | None = None,
    order: ArrayLike | None = None,
    seed: int = 0,
    n_boot: int = 2000,
    merit: str = "the highest sample mean",
    preference: str = "the given order of preference",
) -> RequiredChoice:
    """Recommend the variant with the highest mean score among those that meet requirements.

    The estimand is the best variant that truly meets all requirements. The bounds behind met / open / refuted miss
    with probability alpha / 2 at most, jointly over all variants and requirements. The set is tested at the other
    alpha / 2: a variant leaves it if a requirement refutes it, or if a variant that is *met* beats it. Only those
    may reject: a better variant that turns out not to meet the requirements proves nothing against the best that
    does. (So the estimand is lost only if a bound misses, or if a variant that truly meets them, hence no better,
    seems better beyond the critical value, which allows for all rivals.)

    Recommended is the highest sample mean among candidates that are met; if none is, among those still open, and
    the status says so. Such a pick may lie far below the highest sample mean, so the intervals of its accuracy and of
    its gains are two-sided and simultaneous over all variants (see :mod:`seedzoo.selection.statements`).

    Args:
        scores: [n, M] booleans or numbers in [0, 1], the objective.
        requirements: At least one, parsed or as text.
        slices: Name to [n] booleans.
        profile: Condition to the counts of the stored stress profile.
        inputs: The same n examples and M variants, where a requirement needs more than the scores. Columns after
            the M variants are not judged.
        alpha: One minus the coverage of the set and of each interval, in (0, 1).
        delta: Tolerated shortfall for ``p_within``, here to the best candidate, in (0, 1).
        groups: As in ``choose``.
        baselines: As in ``choose``.
        reference: As in ``choose``.
        order: As in ``choose``.
        seed: Seed of the draws.
        n_boot: As in ``choose``; here alpha / 2 counts.
        merit: As in ``choose``.
        preference: As in ``choose``.

    Returns:
        The choice, and what became of every requirement.

    Raises:
        ValueError: As ``choose``, ``parse_requirement`` and ``evaluate_requirements``.
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
    verdict = _judge(
        requirements, Evidence(scores=values, slices=slices, profile=profile, inputs=inputs, groups=given.codes), given
    )

    rng = np.random.default_rng(given.seed)
    sample = summarise(np.column_stack([values, *external.values()]) if external else values, given.codes)
    means = sample.means[:variants]
    draws = ErrorDraws(sample, variants=variants, n_boot=given.n_boot, rng=rng)
    members = confidence_set(sample, draws, variants=variants, alpha=given.alpha / 2)
    pick = _pick(verdict, members, means, given.preference)
    critical = accuracy_critical(sample, draws, variants=variants, alpha=given.alpha)
    lows, highs = variant_intervals(sample, critical, variants=variants)
    p_within = math.nan
    if pick.candidates:
        p_within = posterior_within(
            means[list(pick.candidates)],
            sample.paired_covariance[np.ix_(pick.candidates, pick.candidates)],
            best=0,
            delta=given.delta,
            n_draws=given.n_boot,
            rng=rng,
        )
    choice = Choice(
        best=pick.best,
        candidates=pick.candidates,
        means=means.copy(),
        accuracy=Interval(float(means[pick.best]), float(lows[pick.best]), float(highs[pick.best])),
        variant_intervals=(lows, highs),
        gains=gains_of_pick(
            sample,
            draws,
            contrasts(variants, given.reference, tuple(external)),
            best=pick.best,
            alpha=given.alpha,
            for_top=False,
        ),
        p_within=p_within,
        detectable=detectable(sample, pick.candidates or (pick.best,), variants=variants, alpha=given.alpha),
        labels_to_separate=labels_to_separate(sample, members, pick.candidates, alpha=given.alpha / 2),
        reason=_reason(verdict, pick, means, given, merit=merit, preferred=preference),
        n=n,
        alpha=given.alpha,
        delta=given.delta,
    )
    return verdict.of(choice, pick)


def choose_by_metric_with_requirements(
    metric: Metric,
    inputs: Inputs,
    requirements: Sequence[Requirement | str],
    *,
    scores: ArrayLike | None = None,
    slices: Mapping[str, ArrayLike] | None = None,
    profile: Mapping[str, ProfileCounts] | None = None,
    alpha: float = 0.05,
    delta: float = 0.01,
    groups: Sequence[Hashable] | NDArray[Any] | None = None,
    baselines: Sequence[str] = (),
    reference: int | None = None,
    order: ArrayLike | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    preference: str = "the given order of preference",
) -> RequiredChoice:
    """Recommend the variant with the best value of any metric among those that meet requirements.

    To :func:`choose_with_requirements` as ``choose_by_metric`` is to ``choose``: the same estimand and the same
    promises, alpha / 2 for the bounds of the requirements and alpha / 2 for the set, from a paired bootstrap of the
    metric. Only variants that are *met* may reject.

    Args:
        metric: What to choose by.
        inputs: n examples of M variants, then one column per baseline. Requirements look at the M variants only.
        requirements: At least one, parsed or as text.
        scores: [n, M] booleans or numbers in [0, 1] behind the requirement "accuracy". None: right or wrong; in a
            multi-label task the share of labels that are right.
        slices: Name to [n] booleans.
        profile: Condition to the counts of the stored stress profile.
        alpha: One minus the coverage of the set and of each interval, in (0, 1).
        delta: Tolerated shortfall for ``p_within`` to the best candidate, as in ``choose_by_metric``.
        groups: As in ``choose``.
        baselines: Names of the last columns of the inputs, which are no variants.
        reference: As in ``choose``.
        order: As in ``choose``.
        seed: Seed of the draws.
        n_boot: As in ``choose_by_metric``; here alpha / 2 counts.
        preference: As in ``choose_by_metric``.

    Returns:
        The choice in the metric's own unit, and what became of every requirement.

    Raises:
        ValueError: As ``choose_by_metric``, ``parse_requirement`` and ``evaluate_requirements``.
    """
    check_metric(metric, inputs)
    names = check_names(baselines, columns=inputs.variants)
    variants = inputs.variants - len(names)
    given = check_arguments(
        n=inputs.n,
        variants=variants,
        alpha=alpha,
        delta=delta,
        groups=groups,
        reference=reference,
        order=order,
        seed=seed,
        n_boot=n_boot,
        span=span_of(metric),
    )
    own = inputs.first(variants)
    right = (multilabel_accuracy() if own.multilabel else accuracy()).unit_scores(own) if scores is None else scores
    values = as_scores(right)
    if values.shape != (given.n, variants):
        raise ValueError(f"scores must have shape ({given.n}, {variants}), got {values.shape}")
    rng = np.random.default_rng(given.seed)
    field = standing(metric, inputs, given, rng=rng)
    verdict = _judge(
        requirements, Evidence(scores=values, slices=slices, profile=profile, inputs=own, groups=given.codes), given
    )
    members = field.members(alpha=given.alpha / 2)
    pick = _pick(verdict, members, field.merit, given.preference)
    lows, highs = interval_bounds(field.draws, variants, metric, alpha=given.alpha)
    choice = Choice(
        best=pick.best,
        candidates=pick.candidates,
        means=field.values.copy(),
        accuracy=Interval(float(field.values[pick.best]), float(lows[pick.best]), float(highs[pick.best])),
        variant_intervals=(lows, highs),
        gains=field.gains_of_pick(pick.best, reference=given.reference, names=names, alpha=given.alpha, for_top=False),
        p_within=field.p_within(pick.candidates, given, rng=rng) if pick.candidates else math.nan,
        detectable=field.detectable(pick.candidates or (pick.best,), alpha=given.alpha),
        labels_to_separate=field.labels_to_separate(members, pick.candidates, n=given.n),
        reason=_reason(verdict, pick, field.merit, given, merit=f"the best {metric.name}", preferred=preference),
        n=given.n,
        alpha=given.alpha,
        delta=given.delta,
    )
    return verdict.of(choice, pick)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pick:
    best: int
    candidates: tuple[int, ...]
    nearest: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Verdict:
    """The requirements' table, and what follows from it for each of the M variants."""

    table: tuple[RequirementStatus, ...]
    overall: tuple[Status, ...]
    met: NDArray[np.bool_]
    possible: NDArray[np.bool_]

    def of(self, choice: Choice, pick: _Pick) -> RequiredChoice:
        return RequiredChoice(
            choice=choice,
            status=self.overall[pick.best],
            overall=self.overall,
            table=self.table,
            nearest=pick.nearest,
        )


def _judge(requirements: Sequence[Requirement | str], evidence: Evidence, given: Arguments) -> _Verdict:
    if isinstance(requirements, str) or not isinstance(requirements, Sequence):
        raise ValueError(f"requirements must be a list of requirements, got {requirements!r}")
    parsed = [parse_requirement(one) if isinstance(one, str) else one for one in requirements]
    table = evaluate_requirements(parsed, evidence, alpha=given.alpha / 2, seed=given.seed, n_boot=given.n_boot)
    overall = tuple(_worst([entry.statuses[j] for entry in table]) for j in range(given.variants))
    return _Verdict(
        table=table,
        overall=overall,
        met=np.array([status is Status.MET for status in overall]),
        possible=np.array([status is not Status.REFUTED for status in overall]),
    )


def _worst(statuses: Sequence[Status]) -> Status:
    for status in (Status.REFUTED, Status.OPEN):
        if status in statuses:
            return status
    return Status.MET


def _pick(verdict: _Verdict, members: ConfidenceSet, merit: Floats, preference: Floats) -> _Pick:
    """The best among what is met, else among what is possible, else the nearest miss."""
    kept = verdict.possible & ~members.beaten_by(verdict.met)
    candidates = tuple(int(j) for j in rank(merit, preference, first=verdict.met) if kept[j])
    if candidates:
        return _Pick(best=candidates[0], candidates=candidates, nearest=None)
    shortfall = np.max([entry.relative_shortfall for entry in verdict.table], axis=0)
    nearest = int(np.lexsort((np.arange(merit.size), -np.round(merit, DECIMALS), shortfall))[0])
    return _Pick(best=nearest, candidates=(), nearest=nearest)


def _reason(verdict: _Verdict, pick: _Pick, values: Floats, given: Arguments, *, merit: str, preferred: str) -> str:
    status = verdict.overall[pick.best]
    if status is Status.REFUTED:
        return (
            "No variant can meet the requirements: each is refuted. Shown is the nearest, whose largest shortfall, as "
            "a share of the metric's range, is least."
        )
    # Only candidates of the same status compete with the pick.
    peers = [j for j in pick.candidates if verdict.overall[j] is status]
    tied, rule = ties(values[peers], given.preference[peers], best=0, preferred=preferred)
    tie = f" It ties with {tied - 1} more; tie broken by {rule}." if tied > 1 else ""
    if status is Status.MET:
        return (
            f"Recommended for {merit} on {given.data} among the {np.count_nonzero(verdict.met)} that meet the "
            f"requirements; {len(pick.candidates)} candidates in all.{tie}"
        )
    return (
        f"Recommended for {merit} on {given.data} among {np.count_nonzero(verdict.possible)} that may meet the "
        f"requirements; none is shown to: whether this one does is still open.{tie}"
    )
