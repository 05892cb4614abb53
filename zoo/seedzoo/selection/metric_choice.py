"""Choose a variant by a metric of the whole set, such as macro-F1 or AUROC, with a paired bootstrap."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.arguments import check_arguments, check_names
from seedzoo.selection.choice import Choice
from seedzoo.selection.metric_draws import check_metric, interval_bounds, span_of, standing
from seedzoo.selection.objectives import Inputs, Metric
from seedzoo.selection.statements import rank, ties

__all__ = ["choose_by_metric"]


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
    preference: str = "the given order of preference",
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
        delta: Tolerated shortfall for ``p_within``, in the unit of the metric: positive, finite, and less than the
            metric's range.
        groups: [n] hashables; examples with equal values are resampled as a whole.
        baselines: Names of the last columns of the inputs, which are no variants (say, the plain ensemble).
        reference: Index of the variant that is best by held-out accuracy; adds the baseline "best_held_out".
        order: [M] numbers, higher is preferred, for exact ties; then the lowest index.
        seed: Seed of the draws.
        n_boot: Number of draws, 100 to 100,000. Where they are too few for alpha, fewer than 1 / alpha - 1,
            Bonferroni's critical values on the bootstrap standard errors take over: valid, and wider.
        preference: What ``order`` is, as the reason names it.

    Returns:
        The choice, in the metric's own unit: ``means`` are its values, ``candidates`` come best first, gains are
        positive where the recommended variant is better, whichever way better is. No interval leaves the metric's
        possible values, or differences.

    Raises:
        ValueError: The metric is only reported, or not defined on the examples; an argument out of range or of the
            wrong shape.

    References:
        P. R. Hansen, A. Lunde, J. M. Nason (2011), The model confidence set, Econometrica 79; R. Berk et al. (2013),
        Valid post-selection inference, Ann. Statist. 41.
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
    rng = np.random.default_rng(given.seed)
    field = standing(metric, inputs, given, rng=rng)
    members = field.members(alpha=given.alpha)
    ranking = rank(field.merit, given.preference)
    best = int(ranking[0])
    candidates = tuple(int(j) for j in ranking if members.kept[j])
    return Choice(
        best=best,
        candidates=candidates,
        means=field.values.copy(),
        accuracy=field.value_of_pick(best, alpha=given.alpha),
        variant_intervals=interval_bounds(field.draws, variants, metric, alpha=given.alpha),
        gains=field.gains_of_pick(best, reference=given.reference, names=names, alpha=given.alpha, for_top=True),
        p_within=field.p_within([int(j) for j in ranking], given, rng=rng),
        detectable=field.detectable(candidates, alpha=given.alpha),
        labels_to_separate=field.labels_to_separate(members, candidates, n=given.n),
        reason=_reason(
            f"{metric.name} on {given.data}",
            variants,
            *ties(field.merit, given.preference, best=best, preferred=preference),
        ),
        n=given.n,
        alpha=given.alpha,
        delta=given.delta,
    )


def _reason(data: str, variants: int, tied: int, rule: str) -> str:
    if variants == 1:
        return "Recommended as the only variant there is."
    if tied == 1:
        return f"Recommended for the best {data}."
    return f"Recommended among {tied} tied at the best {data}; tie broken by {rule}."
