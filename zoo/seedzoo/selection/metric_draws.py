"""Any metric of a set of examples: its paired bootstrap, and the intervals that follow from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedzoo.selection.arguments import Arguments
from seedzoo.selection.bootstrap import Critical, critical_value, joint_critical, upper_quantile
from seedzoo.selection.confidence_set import ConfidenceSet, paired_se, set_of_best
from seedzoo.selection.intervals import Interval
from seedzoo.selection.objectives import Inputs, Metric
from seedzoo.selection.posterior import posterior_within
from seedzoo.selection.statements import DECIMALS, POWER, contrasts

__all__ = ["MetricDraws", "Standing", "check_metric", "interval_bounds", "metric_draws", "span_of", "standing"]

Floats = NDArray[np.float64]

# Weights held at once: bounds memory to about 32 MiB at any number of examples.
_BLOCK = 1 << 22


def check_metric(metric: Metric, inputs: Inputs) -> None:
    """Refuse what is no metric, such as its mere name, and what are no inputs.

    Raises:
        ValueError: One of them is of another type.
    """
    if not isinstance(metric, Metric):
        raise ValueError(f"metric must be a Metric, as from objective(name), got {metric!r}")
    if not isinstance(inputs, Inputs):
        raise ValueError(f"inputs must be Inputs, as from Inputs.of, got {type(inputs).__name__}")


def span_of(metric: Metric) -> float:
    """Largest possible difference of two values of a metric; inf where there is none."""
    return metric.high - metric.low


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricDraws:
    """Bootstrap of a metric, paired across columns.

    Attributes:
        values: [K] the metric on all examples.
        errors: [K, B] draws of its error: resampled minus their own mean, inflated to Student's t because the
            spread is itself estimated.
        covariance: [K, K] of the values, half of the squared grain added to each column's own.
        units: Number of independent units: groups, else examples.
    """

    values: Floats
    errors: Floats
    covariance: Floats
    units: int

    @property
    def dof(self) -> int:
        """Units minus one, at least 1."""
        return max(self.units - 1, 1)


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
        weights = _resampled(units, count, rng)
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
    return MetricDraws(values=values, errors=errors, covariance=covariance, units=units)


def _resampled(units: int, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each unit is in each of so many resamples [units, count]: multinomial, but drawn unit by unit.

    As float32, which is exact for counts and half the memory traffic.
    """
    counts = np.empty((count, units), dtype=np.float32)
    for row, drawn in zip(counts, rng.integers(units, size=(count, units)), strict=True):
        row[:] = np.bincount(drawn, minlength=units)
    return np.ascontiguousarray(counts.T)


def interval_bounds(draws: MetricDraws, variants: int, metric: Metric, *, alpha: float) -> tuple[Floats, Floats]:
    """Lows and highs [M] of the first M columns that hold jointly with probability 1 - alpha (max-T).

    Where the draws are too few for alpha: at least Bonferroni's t at alpha / (2 M) on the bootstrap standard errors.
    """
    se = np.sqrt(np.diagonal(draws.covariance)[:variants])
    critical, _ = _critical(draws.errors[:variants] / se[:, None], draws.dof, alpha=alpha)
    values = draws.values[:variants]
    return _clip(values - critical.two_sided * se, values + critical.two_sided * se, values, metric)


def _clip(lows: Floats, highs: Floats, values: Floats, metric: Metric) -> tuple[Floats, Floats]:
    return np.maximum(lows, min(metric.low, float(values.min()))), np.minimum(highs, metric.high)


def _critical(ratios: Floats, dof: int, *, alpha: float) -> tuple[Critical, Floats]:
    """Joint critical values of studentised errors [K, B], and each row's own one-sided one at alpha / 2."""
    student = critical_value(alpha / 2, dof)
    own = upper_quantile(np.concatenate([ratios, -ratios], axis=1), alpha=alpha / 2)
    return joint_critical(ratios, dof=dof, alpha=alpha), np.maximum(own, student)


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """The variants by a metric, as far as the draws can tell; see :func:`standing`.

    Attributes:
        metric: What is compared.
        draws: Its bootstrap; columns after the variants are baselines.
        variants: M.
        merit: [M] values, turned so that higher is better.
    """

    metric: Metric
    draws: MetricDraws
    variants: int
    merit: Floats

    @property
    def values(self) -> Floats:
        """[M] the metric."""
        return self.draws.values[: self.variants]

    @property
    def _sign(self) -> float:
        return 1.0 if self.metric.higher_is_better else -1.0

    @property
    def _errors(self) -> Floats:
        return self._sign * self.draws.errors[: self.variants]

    @property
    def _covariance(self) -> Floats:
        return self.draws.covariance[: self.variants, : self.variants]

    def members(self, *, alpha: float) -> ConfidenceSet:
        """The confidence set of the best variant."""
        return set_of_best(self.merit, self._covariance, self._errors, units=self.draws.units, alpha=alpha)

    def value_of_pick(self, best: int, *, alpha: float) -> Interval:
        """The metric of the picked variant; the interval holds for any rule (see ``statements``)."""
        own = np.eye(self.variants, self.draws.values.size)
        estimate, worse, better = self._of_pick(own, best, alpha=alpha, for_top=True)
        ends = np.sort(self._sign * np.array([worse, better]))
        (low,), (high,) = _clip(ends[:1], ends[1:], self.values, self.metric)
        return Interval(self._sign * estimate, float(low), float(high))

    def gains_of_pick(
        self, best: int, *, reference: int | None, names: Sequence[str], alpha: float, for_top: bool
    ) -> dict[str, Interval]:
        """How much better the picked variant is than each baseline; arguments as in ``statements.gains_of_pick``."""
        return {
            name: self._gain(matrix, best, alpha=alpha, for_top=for_top)
            for name, matrix in contrasts(self.variants, reference, names).items()
        }

    def _gain(self, matrix: Floats, best: int, *, alpha: float, for_top: bool) -> Interval:
        if not matrix[best].any():
            return Interval(0.0, 0.0, 0.0)
        estimate, low, high = self._of_pick(matrix, best, alpha=alpha, for_top=for_top)
        # A baseline among the columns may lie outside a declared range; the estimate stays inside its interval.
        span = max(span_of(self.metric), abs(estimate))
        return Interval(estimate, max(low, -span), min(high, span))

    def _of_pick(self, matrix: Floats, best: int, *, alpha: float, for_top: bool) -> tuple[float, float, float]:
        """Estimate, lower and upper limit of one row of ``matrix`` times the merits of all columns."""
        merits = self._sign * (matrix @ self.draws.values)
        # What is identically 0 has no error; any other contrast has at least the grain's.
        moving: NDArray[np.bool_] = np.any(matrix != 0.0, axis=1)
        upper = np.zeros(self.variants)
        se = np.sqrt(np.einsum("jk,kl,jl->j", matrix[moving], self.draws.covariance, matrix[moving]))
        ratios = self._sign * (matrix[moving] @ self.draws.errors) / se[:, None]
        critical, own = _critical(ratios, self.draws.dof, alpha=alpha)
        upper[moving] = merits[moving] + own * se
        estimate, its_se = float(merits[best]), float(se[np.count_nonzero(moving[:best])])
        if for_top:
            return estimate, estimate - critical.one_sided * its_se, float(upper.max())
        return estimate, estimate - critical.two_sided * its_se, estimate + critical.two_sided * its_se

    def p_within(self, rivals: Sequence[int], given: Arguments, *, rng: np.random.Generator) -> float:
        """Posterior probability that the first of these variants is within delta of the best of them."""
        span = span_of(self.metric)
        return posterior_within(
            self.merit[list(rivals)],
            self._covariance[np.ix_(rivals, rivals)],
            best=0,
            delta=given.delta,
            n_draws=given.n_boot,
            rng=rng,
            unit=span if math.isfinite(span) else 1.0,
        )

    def detectable(self, candidates: Sequence[int], *, alpha: float) -> float:
        """See ``Choice``; in the unit of the metric."""
        best = candidates[0]
        rivals = list(candidates[1:]) or [j for j in range(self.variants) if j != best]
        if not rivals:
            return 0.0
        se = paired_se(self._covariance)[best, rivals]
        factor = critical_value(alpha / 2, self.draws.dof) + critical_value(1 - POWER, None)
        return min(factor * float(np.median(se)), span_of(self.metric))

    def labels_to_separate(self, members: ConfidenceSet, candidates: Sequence[int], *, n: int) -> int | None:
        """See ``Choice``: the standard error falls as 1 / sqrt(n), so gap = critical value x se is solved for n."""
        if len(candidates) < 2 or self.draws.units < 2:
            return None
        best, rival = candidates[:2]
        gap = float(self.merit[best] - self.merit[rival])
        if round(gap, DECIMALS) <= 0.0:
            return None
        se = float(paired_se(self._covariance)[best, rival])
        return max(math.ceil(n * (float(members.critical[rival]) * se / gap) ** 2) - n, 1)


def standing(metric: Metric, inputs: Inputs, given: Arguments, *, rng: np.random.Generator) -> Standing:
    """Compare the first ``given.variants`` columns of the inputs by a metric; the rest are baselines.

    Raises:
        ValueError: The metric is only reported, or cannot be evaluated on the examples.
    """
    if not metric.optimised:
        raise ValueError(f"{metric.name} is reported, not optimised: choose by another objective")
    draws = metric_draws(metric, inputs, codes=given.codes, n_boot=given.n_boot, rng=rng)
    values = draws.values[: given.variants]
    merit = values if metric.higher_is_better else -values
    return Standing(metric=metric, draws=draws, variants=given.variants, merit=merit)
