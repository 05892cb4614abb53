"""Choose a variant by a metric of the whole set, such as macro-F1 or AUROC, with a paired bootstrap."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.bootstrap import critical_value, upper_quantile
from seedzoo.selection.checks import as_group_codes, check_int, check_open_unit
from seedzoo.selection.choice import BEST_HELD_OUT, FAMILY_MEAN, POWER, Choice
from seedzoo.selection.confidence_set import units_needed
from seedzoo.selection.intervals import Interval
from seedzoo.selection.objectives import Inputs, Metric

__all__ = ["MetricDraws", "choose_by_metric", "interval_bounds", "metric_draws"]

Floats = NDArray[np.float64]

# Weights held at once: bounds memory to about 32 MiB at any number of examples.
_BLOCK = 1 << 22
_DECIMALS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricDraws:
    """Bootstrap of a metric, paired across columns.

    Attributes:
        values: [K] the metric on all examples.
        errors: [K, B] draws of its error: resampled minus their own mean, inflated to Student's t because the
            spread is itself estimated.
        covariance: [K, K] of the values, half of the squared grain added to each column's own.
        dof: Independent units (groups, else examples) minus one, at least 1.
    """

    values: Floats
    errors: Floats
    covariance: Floats
    dof: int


def metric_draws(
    metric: Metric, inputs: Inputs, *, codes: NDArray[np.intp] | None, n_boot: int, rng: np.random.Generator
) -> MetricDraws:
    """Resample examples (or whole groups) with replacement and evaluate the metric for all columns on each draw.

    A draw in which the metric is not defined (no positives left) is replaced by the value itself.

    Args:
        metric: What to evaluate.
        inputs: n examples of K columns.
        codes: [n] group numbers, or None.
        n_boot: Number of draws B.
        rng: Source of randomness.

    Raises:
        ValueError: The metric cannot be evaluated on the examples.

    References:
        B. Efron, R. Tibshirani (1993), An Introduction to the Bootstrap, chapters 6 and 8.
    """
    values = metric(inputs)
    n = inputs.n
    units = n if codes is None else int(codes.max()) + 1
    draws = np.empty((values.size, n_boot))
    step = max(1, _BLOCK // n)
    for start in range(0, n_boot, step):
        count = min(step, n_boot - start)
        counts = rng.multinomial(units, np.full(units, 1.0 / units), size=count)
        weights = np.ascontiguousarray(counts.T, dtype=np.float32)  # exact for counts, and half the memory traffic
        draws[:, start : start + count] = metric.evaluate(inputs, weights if codes is None else weights[codes])
    draws = np.where(np.isnan(draws), values[:, None], draws)
    dof = max(units - 1, 1)
    errors = draws - draws.mean(axis=1, keepdims=True)
    # The bootstrap's variance is that of a sample divided by units, not by units - 1.
    errors *= math.sqrt(units / dof)
    size = 1.0 if codes is None else float(np.square(np.bincount(codes)).sum() / n)
    grain = (metric.grain(inputs) * size) ** 2
    covariance = errors @ errors.T / n_boot + grain / 2 * np.eye(values.size)
    errors += math.sqrt(grain / 2) * rng.standard_normal(errors.shape)
    errors /= np.sqrt(rng.chisquare(dof, size=n_boot) / dof)
    return MetricDraws(values=values, errors=errors, covariance=covariance, dof=dof)


def choose_by_metric(
    metric: Metric,
    inputs: Inputs,
    *,
    alpha: float = 0.05,
    delta: float = 0.01,
    groups: Sequence[Hashable] | NDArray[Any] | None = None,
    baselines: Sequence[str] = (),
    reference: int | None = None,
    order: ArrayLike | None = None,
    seed: int = 0,
    n_boot: int = 1000,
) -> Choice:
    """Recommend the variant with the best value of any metric and say what the data can vouch for.

    As :func:`~seedzoo.selection.choice.choose`, for metrics that are no means of scores in [0, 1]. The confidence
    set and the intervals are max-T over a paired bootstrap; they are first-order valid for metrics that depend
    smoothly on the sample, and less so for the worst of slices that are close to each other. Every variance holds
    the square of the metric's grain, one example's worth, so that it cannot vanish by luck.

    Args:
        metric: What to choose by.
        inputs: n examples of M variants, then one column per baseline.
        alpha: One minus the coverage of the set and of each interval, in (0, 1).
        delta: Tolerated shortfall for ``p_within``, in the unit of the metric, in (0, 1).
        groups: [n] hashables; examples with equal values are resampled as a whole.
        baselines: Names of the last columns of the inputs, which are no variants (say, the plain ensemble).
        reference: Index of the variant that is best by held-out accuracy; adds the baseline "best_held_out".
        order: [M] numbers, higher is preferred, for exact ties; then the lowest index.
        seed: Seed of the draws.
        n_boot: Number of draws.

    Returns:
        The choice, in the metric's own unit: ``means`` are its values, ``candidates`` come best first, gains are
        positive where the recommended variant is better, whichever way better is. ``p_within`` takes the bootstrap
        distribution for the posterior.

    Raises:
        ValueError: The metric is only reported, or not defined on the examples; an argument out of range or of the
            wrong shape.

    References:
        P. R. Hansen, A. Lunde, J. M. Nason (2011), The model confidence set, Econometrica 79; R. Berk et al. (2013),
        Valid post-selection inference, Ann. Statist. 41.
    """
    if not metric.optimised:
        raise ValueError(f"{metric.name} is reported, not optimised: choose by another objective")
    level = check_open_unit(alpha, "alpha")
    tolerance = check_open_unit(delta, "delta")
    check_int(seed, "seed", low=0)
    check_int(n_boot, "n_boot", low=max(100, math.ceil(1 / level - 1e-9) - 1))
    names = tuple(baselines)
    variants = inputs.variants - len(names)
    if variants < 1 or len(set(names)) < len(names) or {FAMILY_MEAN, BEST_HELD_OUT} & set(names):
        raise ValueError("baselines must be distinct names, none reserved, of columns beside at least one variant")
    held_out = None if reference is None else check_int(reference, "reference", low=0, high=variants)
    preference = np.zeros(variants) if order is None else np.asarray(order, dtype=np.float64)
    if preference.shape != (variants,) or np.isnan(preference).any():
        raise ValueError(f"order must be {variants} numbers")
    codes = None if groups is None else as_group_codes(groups, n=inputs.n)

    draws = metric_draws(metric, inputs, codes=codes, n_boot=n_boot, rng=np.random.default_rng(seed))
    sign = 1.0 if metric.higher_is_better else -1.0
    merit, errors = sign * draws.values[:variants], sign * draws.errors[:variants]
    kept, critical = _members(merit, errors, draws.covariance[:variants, :variants], alpha=level)
    if draws.dof + 1 < units_needed(level):
        kept[:] = True
    ranking = np.lexsort((np.arange(variants), -preference, -np.round(merit, _DECIMALS)))
    best = int(ranking[0])
    candidates = tuple(int(j) for j in ranking if kept[j])
    lows, highs = interval_bounds(draws, variants, metric, alpha=level)
    se = np.sqrt(_difference_variance(draws.covariance[:variants, :variants], best))
    gap = float(merit[best] - merit[candidates[1]]) if len(candidates) > 1 else 0.0
    more = None
    if round(gap, _DECIMALS) > 0:
        # The standard error falls as 1 / sqrt(n): solve gap = critical value x se for n.
        rival = candidates[1]
        more = max(math.ceil(inputs.n * (critical[rival] * se[rival] / gap) ** 2) - inputs.n, 1)
    tied = np.count_nonzero(np.round(merit, _DECIMALS) == round(float(merit[best]), _DECIMALS))
    data = f"{metric.name} on {inputs.n} example{'s' if inputs.n > 1 else ''}"
    return Choice(
        best=best,
        candidates=candidates,
        means=draws.values[:variants].copy(),
        accuracy=Interval(float(draws.values[best]), float(lows[best]), float(highs[best])),
        variant_intervals=(lows, highs),
        gains=_gains(draws, names, variants=variants, reference=held_out, best=best, sign=sign, alpha=level),
        p_within=float(np.mean((merit[:, None] + errors)[best] >= (merit[:, None] + errors).max(axis=0) - tolerance)),
        detectable=_detectable(se, candidates, dof=draws.dof, alpha=level),
        labels_to_separate=more,
        reason="Recommended as the only variant there is."
        if variants == 1
        else f"Recommended for the best {data}."
        if tied == 1
        else f"Recommended among {tied} tied at the best {data}; tie broken by the given order, then the lowest index.",
        n=inputs.n,
        alpha=level,
        delta=tolerance,
    )


def _difference_variance(covariance: Floats, column: int) -> Floats:
    own = np.diagonal(covariance)
    return np.asarray(np.maximum(own + own[column] - 2 * covariance[column], 0.0))


def _members(merit: Floats, errors: Floats, covariance: Floats, *, alpha: float) -> tuple[NDArray[np.bool_], Floats]:
    """Confidence set of the best as in :mod:`seedzoo.selection.confidence_set`, from draws of the errors."""
    critical = np.zeros(merit.size)
    kept = merit >= merit.max()
    for j in range(merit.size if merit.size > 1 else 0):
        se = np.sqrt(_difference_variance(covariance, j))
        se[j] = np.inf
        critical[j] = upper_quantile(((errors - errors[j]) / se[:, None]).max(axis=0), alpha=alpha)
        kept[j] |= bool(((merit - merit[j]) / se).max() <= critical[j])
    return kept, critical


def interval_bounds(draws: MetricDraws, variants: int, metric: Metric, *, alpha: float) -> tuple[Floats, Floats]:
    """Lows and highs [M] of the first M columns that hold jointly with probability 1 - alpha (max-T)."""
    se = np.sqrt(np.diagonal(draws.covariance)[:variants])
    ratio = np.abs(draws.errors[:variants]) / se[:, None]
    half = _critical(ratio.max(axis=0), draws.dof, alpha=alpha) * se
    values = draws.values[:variants]
    return np.maximum(values - half, min(metric.low, values.min())), np.minimum(values + half, metric.high)


def _critical(largest: Floats, dof: int, *, alpha: float) -> float:
    return max(float(upper_quantile(largest, alpha=alpha)), critical_value(alpha / 2, dof))


def _gains(
    draws: MetricDraws,
    names: tuple[str, ...],
    *,
    variants: int,
    reference: int | None,
    best: int,
    sign: float,
    alpha: float,
) -> dict[str, Interval]:
    total = draws.values.size
    own = np.eye(variants, total)
    contrasts = {FAMILY_MEAN: own - np.pad(np.full(variants, 1.0 / variants), (0, total - variants))}
    if reference is not None:
        contrasts[BEST_HELD_OUT] = own - own[reference]
    for position, name in enumerate(names):
        contrasts[name] = own - np.eye(total)[variants + position]
    gains = {}
    for name, matrix in contrasts.items():
        se = np.sqrt(np.maximum(np.einsum("jk,kl,jl->j", matrix, draws.covariance, matrix), 0.0))
        moving = np.abs(matrix).max(axis=1) > 1e-15
        if not moving[best]:  # the baseline is the variant itself
            gains[name] = Interval(0.0, 0.0, 0.0)
            continue
        ratio = np.abs(matrix[moving] @ draws.errors) / se[moving, None]
        half = _critical(ratio.max(axis=0), draws.dof, alpha=alpha) * float(se[best])
        gain = sign * float(matrix[best] @ draws.values)
        gains[name] = Interval(gain, gain - half, gain + half)
    return gains


def _detectable(se: Floats, candidates: tuple[int, ...], *, dof: int, alpha: float) -> float:
    rivals = list(candidates[1:]) or [j for j in range(se.size) if j != candidates[0]]
    if not rivals:
        return 0.0
    return (critical_value(alpha / 2, dof) + critical_value(1 - POWER, None)) * float(np.median(se[rivals]))
