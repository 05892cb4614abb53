"""Choose the best variant among those that meet requirements."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.bootstrap import ErrorDraws, Sample, posterior_within, summarise
from seedzoo.selection.checks import as_group_codes, as_scores, check_int, check_open_unit
from seedzoo.selection.choice import (
    Choice,
    _check_baselines,
    _check_order,
    _contrasts,
    _detectable,
    _gain,
    _labels_to_separate,
    _variant_intervals,
)
from seedzoo.selection.confidence_set import confidence_set, paired_se, units_needed
from seedzoo.selection.intervals import Interval
from seedzoo.selection.objectives import Inputs
from seedzoo.selection.requirements import (
    Evidence,
    ProfileCounts,
    Requirement,
    RequirementStatus,
    Status,
    evaluate_requirements,
    parse_requirement,
)

__all__ = ["RequiredChoice", "choose_with_requirements"]

_DECIMALS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class RequiredChoice:
    """Outcome of :func:`choose_with_requirements`.

    Attributes:
        choice: As from ``choose``; its ``candidates`` hold the best of the variants that truly meet all requirements
            (if any does) with probability 1 - alpha. Empty if every variant is refuted.
        status: Whether the recommended variant meets all requirements: MET, OPEN (not shown yet), or REFUTED (no
            variant can meet them; the recommended one is the nearest).
        overall: [M] the same for every variant: its worst requirement.
        table: One entry per requirement, with the bounds of all variants.
        nearest: If no variant can meet the requirements, the one whose largest shortfall is smallest; else None.
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
) -> RequiredChoice:
    """Recommend the variant with the highest mean score among those that meet requirements.

    The estimand is the best variant that truly meets all requirements. The bounds behind met / open / refuted miss
    with probability alpha / 2 at most, jointly over all variants and requirements. The set is tested at the other
    alpha / 2: a variant leaves it if a requirement refutes it, or if a variant that is *met* beats it. Only those
    may reject: a better variant that turns out not to meet the requirements proves nothing against the best that
    does. (So the estimand is lost only if a bound misses, or if a variant that truly meets them, hence no better,
    seems better beyond the critical value, which allows for all rivals.)

    Recommended is the highest sample mean among candidates that are met; if none is, among those still open, and
    the status says so. Accuracy and gains are simultaneous over all variants, so they hold for any such pick.

    Args:
        scores: [n, M] booleans or numbers in [0, 1], the objective.
        requirements: At least one, parsed or as text.
        slices: Name to [n] booleans.
        profile: Condition to the counts of the stored stress profile.
        inputs: The same n examples and M variants, where a requirement needs more than the scores.
        alpha: One minus the coverage of the set and of each interval, in (0, 1).
        delta: Tolerated shortfall for ``p_within``, here to the best candidate, in (0, 1).
        groups: As in ``choose``.
        baselines: As in ``choose``.
        reference: As in ``choose``.
        order: As in ``choose``.
        seed: Seed of the draws.
        n_boot: Number of draws.

    Raises:
        ValueError: As ``choose``, ``parse_requirement`` and ``evaluate_requirements``.
    """
    parsed = [parse_requirement(one) if isinstance(one, str) else one for one in requirements]
    values = as_scores(scores)
    n, variants = values.shape
    level = check_open_unit(alpha, "alpha")
    tolerance = check_open_unit(delta, "delta")
    codes = None if groups is None else as_group_codes(groups, n=n)
    external = _check_baselines(baselines, n=n)
    held_out = None if reference is None else check_int(reference, "reference", low=0, high=variants)
    preference = _check_order(order, variants=variants)
    check_int(seed, "seed", low=0)
    check_int(n_boot, "n_boot", low=max(100, math.ceil(2 / level - 1e-9) - 1))
    table = evaluate_requirements(
        parsed,
        Evidence(scores=values, slices=slices, profile=profile, inputs=inputs, groups=codes),
        alpha=level / 2,
        seed=seed,
        n_boot=n_boot,
    )
    overall = tuple(_worst([entry.statuses[j] for entry in table]) for j in range(variants))
    met = np.array([status is Status.MET for status in overall])
    possible = np.array([status is not Status.REFUTED for status in overall])

    rng = np.random.default_rng(seed)
    sample = summarise(np.column_stack([values, *external.values()]) if external else values, codes)
    draws = ErrorDraws(sample, variants=variants, n_boot=n_boot, rng=rng)
    members = confidence_set(sample, draws, variants=variants, alpha=level / 2)
    kept = possible & ~_beaten(sample, members.critical, met, alpha=level / 2)

    means = sample.means[:variants]
    ranking = np.lexsort((np.arange(variants), -preference, -np.round(means, _DECIMALS), ~met))
    candidates = tuple(int(j) for j in ranking if kept[j])
    nearest = None
    if not candidates:
        shortfall = np.max([entry.shortfall for entry in table], axis=0)
        nearest = int(np.lexsort((np.arange(variants), -np.round(means, _DECIMALS), shortfall))[0])
    best = candidates[0] if nearest is None else nearest
    lows, highs = _variant_intervals(sample, draws, variants=variants, alpha=level)
    rivals = candidates or (best,)
    choice = Choice(
        best=best,
        candidates=candidates,
        means=means.copy(),
        accuracy=Interval(float(means[best]), float(lows[best]), float(highs[best])),
        variant_intervals=(lows, highs),
        gains={
            name: _gain(sample, draws, contrasts, best=best, alpha=level)
            for name, contrasts in _contrasts(variants, held_out, tuple(external)).items()
        },
        p_within=0.0
        if nearest is not None
        else posterior_within(
            summarise(values[:, rivals], codes),
            variants=len(rivals),
            best=0,
            delta=tolerance,
            n_boot=n_boot,
            rng=rng,
        ),
        detectable=_detectable(sample, rivals, variants=variants, alpha=level),
        labels_to_separate=_labels_to_separate(sample, members, candidates, alpha=level / 2),
        reason=_reason(overall[best], len(candidates), int(met.sum()), int(possible.sum()), n=n),
        n=n,
        alpha=level,
        delta=tolerance,
    )
    return RequiredChoice(choice=choice, status=overall[best], overall=overall, table=table, nearest=nearest)


def _worst(statuses: Sequence[Status]) -> Status:
    for status in (Status.REFUTED, Status.OPEN):
        if status in statuses:
            return status
    return Status.MET


def _beaten(
    sample: Sample, critical: NDArray[np.float64], met: NDArray[np.bool_], *, alpha: float
) -> NDArray[np.bool_]:
    """[M] whether a variant that is met beats this one beyond its critical value for all rivals."""
    variants = met.size
    if not met.any() or sample.sizes.size < units_needed(alpha):
        return np.zeros(variants, dtype=np.bool_)
    se = paired_se(sample.paired_covariance[:variants, :variants])
    np.fill_diagonal(se, np.inf)
    means = sample.means[:variants]
    ratios = (means[met, None] - means) / se[met]
    return np.asarray((ratios.max(axis=0) > critical) & (means < means[met].max()))


def _reason(status: Status, candidates: int, met: int, possible: int, *, n: int) -> str:
    data = f"{n} example{'s' if n > 1 else ''}"
    if status is Status.REFUTED:
        return "No variant can meet the requirements: each is refuted. Shown is the nearest, whose shortfall is least."
    if status is Status.MET:
        return (
            f"Recommended for the highest sample mean on {data} among the {met} that meet the requirements; "
            f"{candidates} candidates in all."
        )
    return (
        f"Recommended for the highest sample mean on {data} among {possible} that may meet the requirements; "
        "none is shown to: whether this one does is still open."
    )
