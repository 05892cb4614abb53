"""What a metric is: a weighted figure of a set of examples for many variants at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedzoo.selection.objectives.inputs import Inputs

__all__ = ["Metric", "Weights", "mean_metric"]

Floats = NDArray[np.float64]
Weights = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """A metric.

    Attributes:
        name: Its name in options and reports.
        higher_is_better: Whether a variant should have much of it.
        evaluate: (inputs, weights [n, B]) -> [M, B] values, one per variant and column of non-negative weights, as if
            example i were present weights[i, b] times; NaN where it is not defined, for instance without
            positives.
        grain: (inputs) -> how far about one more example can move the metric: 1 / n for a mean of scores in
            [0, 1]. It enters every standard error, which must not vanish because few examples happen to agree.
        low: Lowest possible value.
        high: Highest possible value, may be infinite.
        scores: Where the metric is a mean over examples: (inputs) -> [n, M] scores in the unit of the metric.
        may_race: Whether the scores are bounded, so that :meth:`unit_scores` exist and a race is valid.
        optimised: Whether it makes sense to choose by it; otherwise it is only reported.
        source: Where it is defined.
    """

    name: str
    higher_is_better: bool
    evaluate: Callable[[Inputs, Weights], Floats]
    grain: Callable[[Inputs], float]
    low: float = 0.0
    high: float = 1.0
    scores: Callable[[Inputs], Floats] | None = None
    may_race: bool = False
    optimised: bool = True
    source: str = ""

    def __call__(self, inputs: Inputs) -> Floats:
        """Values [M] on all examples, each counted once.

        Raises:
            ValueError: The inputs lack what the metric needs, or it is not defined on them.
        """
        values = self.evaluate(inputs, np.ones((inputs.n, 1)))[:, 0]
        if np.isnan(values).any():
            raise ValueError(f"{self.name} is not defined on these examples: a class it needs has none")
        return np.asarray(values)

    def unit_scores(self, inputs: Inputs) -> Floats:
        """Scores [n, M] in [0, 1], higher is better, for ``choose`` and ``Race``.

        Raises:
            ValueError: The metric is not a mean of bounded scores.
        """
        if self.scores is None or not self.may_race:
            raise ValueError(f"{self.name} is no mean of bounded scores: it cannot race")
        unit = (self.scores(inputs) - self.low) / (self.high - self.low)
        return np.clip(unit if self.higher_is_better else 1.0 - unit, 0.0, 1.0)


def mean_metric(
    name: str,
    scores: Callable[[Inputs], Floats],
    *,
    higher_is_better: bool = True,
    low: float = 0.0,
    high: float = 1.0,
    source: str,
) -> Metric:
    """A metric that is the mean over examples of a score; it may race if the score is bounded."""

    def evaluate(inputs: Inputs, weights: Weights) -> Floats:
        return np.asarray((scores(inputs).T @ weights) / weights.sum(axis=0))

    def grain(inputs: Inputs) -> float:
        if math.isfinite(high):
            return (high - low) / inputs.n
        spread = float(np.ptp(scores(inputs)))
        # Scores that are all alike tell no scale: one unit stands in, as errors must not vanish.
        return (spread if spread > 1e-9 else 1.0) / inputs.n

    return Metric(
        name=name,
        higher_is_better=higher_is_better,
        evaluate=evaluate,
        grain=grain,
        low=low,
        high=high,
        scores=scores,
        may_race=math.isfinite(high),
        source=source,
    )
