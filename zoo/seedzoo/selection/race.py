"""Race: evaluate the variants block by block and drop those that cannot be the best, valid at any stopping time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from seedzoo.selection.bootstrap import critical_value, summarise
from seedzoo.selection.checks import as_scores, check_int, check_open_unit
from seedzoo.selection.choice import BEST_HELD_OUT, FAMILY_MEAN, Choice, choose
from seedzoo.selection.confidence_set import paired_se
from seedzoo.selection.intervals import Interval, wilson
from seedzoo.selection.posterior import posterior_within
from seedzoo.selection.statements import POWER
from seedzoo.selection.wealth import Wealth

__all__ = ["FAST_LEVEL", "Race"]

Floats = NDArray[np.float64]

FAST_LEVEL = 0.95
"""The stopping rule ``fast`` ends the race when :meth:`Race.p_within` reaches this.

Not a guarantee, to be shown as uncalibrated: in bench/race.py it held within one point in .97 of the runs that it
stopped, but not in .93 on each of the 18 tasks (lowest .85 of 40 runs).
"""

_DECIMALS = 12
_DRAWS = 2000


class Race:
    """Racing by betting: drops a variant when the e-value against "it is the best" reaches 1 / alpha.

    Examples must come in random order and be independent: racing dependent examples (groups) is not valid. The
    truly best variant is still in play with probability at least 1 - alpha, at whatever time one stops, and however
    the sizes of the blocks were decided from earlier blocks (proofs: :mod:`seedzoo.selection.wealth`).

    Example:
        >>> race = Race(n_variants=3)
        >>> race.update([[1, 0, 1], [1, 0, 1], [1, 0, 0]])
        >>> race.alive_ids
        array([0, 1, 2])

    Args:
        n_variants: M, at least 1.
        alpha: Chance that the truly best variant is dropped, in (0, 1).
        seed: Seed of the posterior draws behind ``p_within``; dropping draws nothing.

    Raises:
        ValueError: An argument out of range.
    """

    def __init__(self, n_variants: int, alpha: float = 0.05, seed: int = 0) -> None:
        self._variants = check_int(n_variants, "n_variants", low=1)
        self._alpha = check_open_unit(alpha, "alpha")
        self._seed = check_int(seed, "seed", low=0)
        self._alive = np.arange(self._variants)
        self._wealth = Wealth(self._variants)
        self._seen = np.zeros(self._variants, dtype=np.int64)
        self._sums: Floats = np.zeros(self._variants)
        self._evaluations = 0

    @property
    def alive_ids(self) -> NDArray[np.intp]:
        """[m] ascending indices of the variants in play: the columns that ``update`` expects next."""
        return self._alive.copy()

    @property
    def evaluations(self) -> int:
        """How many (example, variant) scores the race was shown."""
        return self._evaluations

    @property
    def n(self) -> int:
        """How many examples the race was shown."""
        return self._wealth.n

    @property
    def decided(self) -> bool:
        """Whether a single variant is left, so that more examples change nothing."""
        return self._alive.size == 1

    @property
    def leader(self) -> int:
        """Index of the variant that would be recommended now: highest mean in play, exact ties by index."""
        return int(self._alive[self._ranking()[0]])

    def update(self, scores_block: ArrayLike) -> None:
        """Show the race the next examples; variants may drop out at the end of the block.

        Args:
            scores_block: [b, m] booleans or numbers in [0, 1], columns in the order of ``alive_ids``; b may be 0.

        Raises:
            ValueError: Wrong shape, NaN, or outside [0, 1]; the race is unchanged.
        """
        block = np.asarray(scores_block)
        if block.ndim == 2 and block.shape == (0, self._alive.size):
            return
        scores = as_scores(scores_block)
        if scores.shape[1] != self._alive.size:
            raise ValueError(
                f"scores_block must have one column per variant in play ({self._alive.size}), got {scores.shape[1]}"
            )
        highest = self._wealth.update(scores)
        self._evaluations += scores.size
        self._seen[self._alive] += len(scores)
        self._sums[self._alive] = self._wealth.sums
        kept = highest < -math.log(self._alpha)
        if not kept.any():  # has probability at most alpha; a choice needs somebody, so the least refuted stays
            kept[highest.argmin()] = True
        if not kept.all():
            self._wealth.keep(kept)
            self._alive = self._alive[kept]

    def p_within(self, delta: float = 0.01) -> float:
        """Posterior probability that the variant in the lead is within delta of the best one in play.

        For the stopping rule ``fast``: stop when it reaches :data:`FAST_LEVEL`. Unlike the race itself it is a model's
        statement (:mod:`seedzoo.selection.posterior`) and not a guarantee; bench/race.py measures how often it holds.

        Args:
            delta: Tolerated shortfall, in the unit of the scores, in (0, 1).

        Returns:
            A probability; 0 before the first example unless only one variant is in play.

        Raises:
            ValueError: delta outside (0, 1).
        """
        tolerance = check_open_unit(delta, "delta")
        n = self._wealth.n
        if n == 0:
            return 1.0 if self._alive.size == 1 else 0.0
        return posterior_within(
            self._wealth.sums / n,
            self._covariance(),
            best=int(self._ranking()[0]),
            delta=tolerance,
            n_draws=_DRAWS,
            rng=np.random.default_rng(self._seed),
        )

    def choice(
        self,
        delta: float = 0.01,
        *,
        reserve: ArrayLike | None = None,
        baselines: Mapping[str, ArrayLike] | None = None,
        reference: int | None = None,
    ) -> Choice:
        """The variant in the lead, and what the data can vouch for.

        Recommended is the highest mean among the variants in play; exact ties go to the lowest index.
        ``candidates`` are the variants in play.

        Without a reserve ``accuracy`` and ``variant_intervals`` are valid at any stopping time and for all variants
        jointly (Beta-binomial confidence sequences, Bonferroni over M; each variant at the number of examples it
        was shown), which makes them about two to three times as wide as a Wilson interval; ``means`` are those
        of the race, NaN for what was never shown; ``gains`` are empty, since dropped variants no longer count in
        a baseline; ``p_within`` is the hierarchical Bayes figure of :meth:`p_within`.

        With a reserve that the race never saw the pick is frozen before the reserve is looked at. All of ``means``,
        ``accuracy``, ``gains`` and ``p_within`` come from the reserve alone. The accuracy of the pick is then a
        plain Wilson interval and each gain a plain paired t interval, one pick and no selection on these data;
        only ``variant_intervals`` stay simultaneous over all M.

        Args:
            delta: Tolerated shortfall for ``p_within``, in the unit of the scores, in (0, 1).
            reserve: [r, M] scores of *all* variants on examples that the race was never shown.
            baselines: Name to [r] scores on the reserve, to state gains over, as in ``choose``.
            reference: Index of the variant that is best by held-out accuracy, as in ``choose``.

        Returns:
            The choice. ``n`` counts the examples of the race and the reserve; ``detectable`` and
            ``labels_to_separate`` speak of the race: the former for a paired test on its examples, the latter
            how many more examples until the runner-up drops out if the observed difference is the true one.

        Raises:
            ValueError: delta outside (0, 1); a reserve that is not [r >= 1, M], NaN or outside [0, 1]; baselines
                or a reference that do not suit it, or that are given without a reserve.

        References:
            Beta-binomial sequences: H. Robbins (1970), Statistical methods related to the law of the iterated
            logarithm, Ann. Math. Statist. 41; they hold for scores in [0, 1] because the likelihood ratio of a
            Bernoulli variable is convex in the outcome.
        """
        tolerance = check_open_unit(delta, "delta")
        ranking = self._ranking()
        best = int(self._alive[ranking[0]])
        candidates = tuple(int(j) for j in self._alive[ranking])
        raced = Choice(
            best=best,
            candidates=candidates,
            means=np.where(self._seen > 0, self._sums / np.maximum(self._seen, 1), np.nan),
            accuracy=Interval(math.nan, 0.0, 1.0),
            variant_intervals=(np.zeros(self._variants), np.ones(self._variants)),
            gains={},
            p_within=self.p_within(tolerance),
            detectable=self._detectable(ranking),
            labels_to_separate=self._examples_to_separate(ranking),
            reason=self._reason(ranking),
            n=self.n,
            alpha=self._alpha,
            delta=tolerance,
        )
        if reserve is None:
            if baselines or reference is not None:
                raise ValueError("baselines and reference need a reserve to be measured on")
            lows, highs = self._sequences()
            accuracy = Interval(float(raced.means[best]), float(lows[best]), float(highs[best]))
            return dataclasses.replace(raced, accuracy=accuracy, variant_intervals=(lows, highs))
        return self._on_reserve(raced, reserve, baselines=baselines, reference=reference)

    def _on_reserve(
        self,
        raced: Choice,
        reserve: ArrayLike,
        *,
        baselines: Mapping[str, ArrayLike] | None,
        reference: int | None,
    ) -> Choice:
        scores = as_scores(reserve)
        rows, variants = scores.shape
        if variants != self._variants:
            raise ValueError(f"reserve must have one column per variant ({self._variants}), got {variants}")
        best = raced.best
        measured = choose(
            scores,
            alpha=self._alpha,
            delta=raced.delta,
            baselines=baselines,
            reference=reference,
            seed=self._seed,
        )
        low, high = wilson(measured.means[best], rows, alpha=self._alpha)
        columns = {name: np.asarray(column, dtype=np.float64) for name, column in (baselines or {}).items()}
        columns[FAMILY_MEAN] = scores.mean(axis=1)
        if reference is not None:
            columns[BEST_HELD_OUT] = scores[:, reference]
        rivals = summarise(scores[:, raced.candidates])
        itself = {FAMILY_MEAN: variants == 1, BEST_HELD_OUT: reference == best}
        return dataclasses.replace(
            raced,
            means=measured.means,
            accuracy=Interval(float(measured.means[best]), float(low), float(high)),
            variant_intervals=measured.variant_intervals,
            gains={
                name: Interval(0.0, 0.0, 0.0)
                if itself.get(name, False)
                else _paired_t(scores[:, best] - columns[name], alpha=self._alpha)
                for name in measured.gains
            },
            p_within=posterior_within(
                rivals.means,
                rivals.paired_covariance,
                best=0,
                delta=raced.delta,
                n_draws=_DRAWS,
                rng=np.random.default_rng(self._seed),
            ),
            reason=f"{raced.reason} Accuracy and gains come from {rows} reserved examples that the race never saw.",
            n=raced.n + rows,
        )

    def _ranking(self) -> NDArray[np.intp]:
        """Positions in ``alive_ids`` by falling mean, exact ties by index."""
        return np.lexsort((self._alive, -np.round(self._wealth.sums / max(self._wealth.n, 1), _DECIMALS)))

    def _covariance(self) -> Floats:
        """[m, m] of the means in play, half an example's pseudo-variance added to each (see ``choose``)."""
        n = self._wealth.n
        mean = self._wealth.sums / n
        unbiased = n / (n - 1) if n > 1 else 1.0
        spread = (self._wealth.cross / n - np.outer(mean, mean)) * unbiased
        return np.asarray(spread / n + np.eye(mean.size) / (2 * n**2))

    def _detectable(self, ranking: NDArray[np.intp]) -> float:
        """See :class:`Choice`: power of a paired test on the examples of the race, between its leaders."""
        if self._variants == 1:
            return 0.0
        n = self._wealth.n
        if n == 0:
            return 1.0
        if ranking.size == 1:  # rivals were dropped at different times: no common sample to speak of
            return math.nan
        se = paired_se(self._covariance())[ranking[0], ranking[1:]]
        factor = critical_value(self._alpha / 2, max(n - 1, 1)) + critical_value(1 - POWER, None)
        return min(factor * float(np.median(se)), 1.0)

    def _examples_to_separate(self, ranking: NDArray[np.intp]) -> int | None:
        """Examples until a Kelly bet on the leader lifts the runner-up's e-value from where it is to 1 / alpha."""
        n = self._wealth.n
        if ranking.size < 2 or n == 0:
            return None
        lead, rival = ranking[:2]
        gap = round(float(self._wealth.sums[lead] - self._wealth.sums[rival]) / n, _DECIMALS)
        if gap <= 0.0:
            return None
        cross = self._wealth.cross
        second = float(cross[lead, lead] + cross[rival, rival] - 2 * cross[lead, rival]) / n
        stake = min(gap / max(second, gap**2), 1.0)
        growth = stake * gap - stake**2 * second / 2
        return max(math.ceil((-math.log(self._alpha) - float(self._wealth.log_e[rival])) / growth), 1)

    def _sequences(self) -> tuple[Floats, Floats]:
        """Lows and highs [M] of Beta-binomial confidence sequences at level alpha / M each.

        They hold all p at which the wealth of a gambler with a Beta(1/2, 1/2) mixture stays below M / alpha.
        """
        right, wrong = self._sums, self._seen - self._sums
        share = np.clip(right / np.maximum(self._seen, 1), 0.0, 1.0)
        wrong = np.maximum(wrong, 0.0)
        mixture = special.betaln(right + 0.5, wrong + 0.5) - special.betaln(0.5, 0.5)
        limit = math.log(self._variants / self._alpha)

        def refuted(p: Floats) -> NDArray[np.bool_]:
            wealth = mixture - special.xlogy(right, p) - special.xlog1py(wrong, -p)
            return np.asarray(wealth >= limit)

        ends = []
        for edge in (0.0, 1.0):
            # Bisection between the share, never refuted, and the edge; what is returned is the outer, refuted point.
            inner, outer = share.copy(), np.full(self._variants, edge)
            for _ in range(50):
                middle = (inner + outer) / 2
                out = refuted(middle)
                inner, outer = np.where(out, inner, middle), np.where(out, middle, outer)
            ends.append(outer)
        return ends[0], ends[1]

    def _reason(self, ranking: NDArray[np.intp]) -> str:
        if self._variants == 1:
            return "Recommended as the only variant there is."
        n = self._wealth.n
        if n == 0:
            return "Recommended by the lowest index: the race has seen no example."
        field = f"{ranking.size} of {self._variants} variants still in play after {n} examples of a race"
        if ranking.size == 1:
            return f"Recommended as the last of {self._variants} variants in play, after {n} examples of a race."
        means = np.round(self._wealth.sums / n, _DECIMALS)
        tied = int(np.count_nonzero(means == means[ranking[0]]))
        if tied > 1:
            return f"Recommended among {tied} tied at the highest mean of {field}; tie broken by the lowest index."
        return f"Recommended for the highest mean of the {field}."


def _paired_t(differences: Floats, *, alpha: float) -> Interval:
    """Student's t interval of a mean of paired differences in [-1, 1], one example's pseudo-variance added."""
    n = differences.size
    variance = float(differences.var(ddof=1)) if n > 1 else 0.0
    half = critical_value(alpha / 2, max(n - 1, 1)) * math.sqrt(variance / n + 1 / n**2)
    mean = float(differences.mean())
    return Interval(mean, max(mean - half, -1.0), min(mean + half, 1.0))
