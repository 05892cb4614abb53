"""Betting against "variant j is the best": the e-processes behind the race, in log space.

Null hypothesis of variant j: its mean score is the highest, E[X_j] >= E[X_k] for every rival k. An e-process
against it is the wealth of a gambler who starts with 1 and bets on the differences D_k = X_k - X_j in [-1, 1]:

    E_j <- E_j * (1 + sum_k b_k D_k),    b_k >= 0, sum_k b_k < 1, b chosen before the example is seen.

*Claim 1.* Under the null E_j is a non-negative supermartingale. The factor is at least 1 - sum b > 0, and its
conditional expectation is 1 + sum_k b_k (E[X_k] - E[X_j]) <= 1. By Ville's inequality the chance that E_j ever
reaches 1 / alpha is at most alpha, at whatever time one stops. *Claim 2.* So the set of variants whose E_j never
reached 1 / alpha holds the best one with probability 1 - alpha, simultaneously over all times, with no correction
for the number of variants: an error needs the wealth against one fixed variant, the best, to reach 1 / alpha.
(If several tie for the best, the claim holds for each of them.) *Claim 3.* Splitting the wealth over several
bettors, and moving wealth between bettors by a rule that looks at past examples only, is again such a bet: the
b of the whole is the wealth-weighted mean of the parts. *Claim 4.* Whatever is at most such a wealth is valid too.
Betting on non-negative combinations of the D_k loses nothing: for a null made of finitely many such moment
constraints every admissible e-variable has this form (Clerico 2024).

The bettors, for each j:

* one per pair (rival k, stake g on a grid), equal shares at the start. They are the averaged e-process. They learn
  slowly who is best, but not at all badly, since against a bad variant many rivals win;
* one per stake whose rival is a *composite* sum_k w_k X_k, w on the simplex: the direction of the portfolio that
  maximises the growth rate b'd - b'Sb / 2 estimated from past examples (d = mean, S = second moments of the D_k),
  a Markowitz portfolio. Mixing rivals that err on different examples lowers the variance of the bet. They start
  with nothing, and after each step of b examples, n seen so far, get b / (n + b) of the pairs' wealth, so that the
  composite bets more the more is known. A dropped rival's wealth goes to them too, where the averaged process
  leaves it frozen. The stake's own wealth is kept apart in both moves, so what was learned of the stake is kept.

For boolean scores the pairs' wealth is exact, from the counts of examples that only one of the pair got right. For
other scores in [0, 1] each log factor is replaced by a lower bound (claim 4) that needs sums only:
log(1 + g D) >= g D + (log(1 - g) + g) D^2 for D >= -1, 0 <= g < 1 (Fan, Grama, Liu 2015).

References:
    I. Waudby-Smith, A. Ramdas (2024), Estimating means of bounded random variables by betting, JRSS B 86. A. Ramdas,
    P. Grunwald, V. Vovk, G. Shafer (2023), Game-theoretic statistics and safe anytime-valid inference, Stat. Sci. 38.
    X. Fan, I. Grama, Q. Liu (2015), Exponential inequalities for martingales with applications, EJP 20. E. Clerico
    (2024), On the optimality of coin-betting for mean estimation. T. Cover (1991), Universal portfolios, Math.
    Finance 1. J. Ville (1939), Etude critique de la notion de collectif.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Wealth"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The stakes of statistics.md's averaged e-process, 2 theta - 1 for ten theta inside (1/2, 1). All below 1, so that
# no single example can ruin a bettor and no logarithm is infinite.
_STAKES: Floats = 2 * np.linspace(0.5, 1.0, 12)[1:-1] - 1
# The portfolio is refreshed when this share of examples is new: it hardly moves in between, and costs O(M^3).
_REFRESH = 0.1
_STEPS = 10
# A block is played in steps of this many examples (of 1 / 500 of all so far or of one per 20 variants, once that is
# more: a step costs O(M^2)). Wealth may reach 1 / alpha anywhere in a block, and the bettors learn inside it. Saves
# 2 % of the evaluations at n = 1000.
_PLAY = 10


def _log_sum(values: Floats, axis: int) -> Floats:
    """log(sum(exp(values))) along an axis; -inf where everything is -inf."""
    top = values.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(values - top).sum(axis=axis)) + top.squeeze(axis))


class Wealth:
    """Log wealth of the bets against each of the variants still in play.

    Arrays shrink as variants are dropped; m is the number still in play and G the number of stakes.

    Args:
        n_variants: M, at least 1.

    Attributes:
        n: Number of examples seen.
        sums: [m] sum of scores.
        cross: [m, m] sum of products of scores.
        log_e: [m] log e-value against "this variant is the best"; 0 before the first example.
    """

    def __init__(self, n_variants: int) -> None:
        self.n = 0
        self.sums: Floats = np.zeros(n_variants)
        self.cross: Floats = np.zeros((n_variants, n_variants))
        self.log_e: Floats = np.zeros(n_variants)
        # [G, k, j]: log wealth of the bettor on rival k against j at stake g; -inf for k = j, which is no bet.
        share = -np.log(_STAKES.size * max(n_variants - 1, 1))
        self._pairs: Floats = np.full((_STAKES.size, n_variants, n_variants), share)
        self._pairs[:, np.arange(n_variants), np.arange(n_variants)] = -np.inf
        self._composite: Floats = np.full((_STAKES.size, n_variants), -np.inf)  # [G, j]
        self._weights: Floats = np.full((n_variants, n_variants), 0.3 / n_variants)  # [k, j] stakes, unnormalised
        self._refreshed = 0

    def update(self, block: Floats) -> Floats:
        """Play a block step by step: settle the bets on a step, then let the bettors learn from it.

        Args:
            block: [b, m] scores in [0, 1] of the variants in play, b >= 1.

        Returns:
            [m] highest ``log_e`` at the end of any step.
        """
        highest = np.full(self.sums.size, -np.inf)
        start = 0
        while start < len(block):
            step = block[start : start + max(_PLAY, self.n // 500, self.sums.size // 20)]
            start += len(step)
            if self.sums.size > 1:
                self._settle(step)
            np.maximum(highest, self.log_e, out=highest)
            self.n += len(step)
            self.sums += step.sum(axis=0)
            self.cross += step.T @ step
            if self.sums.size > 1:
                self._reallocate(_log_sum(self._pairs, 1), len(step) / (self.n + len(step)))
                if self.n >= (1 + _REFRESH) * self._refreshed:
                    self._refresh()
        return highest

    def keep(self, kept: Mask) -> None:
        """Drop the variants that are not kept; what was staked on them passes to the composites.

        Args:
            kept: [m] mask with at least one True.
        """
        staked = _log_sum(self._pairs[:, ~kept], 1)[:, kept] if not kept.all() else None
        self.sums, self.log_e = self.sums[kept], self.log_e[kept]
        self.cross = self.cross[np.ix_(kept, kept)]
        self._pairs = self._pairs[:, kept][:, :, kept]
        self._composite = self._composite[:, kept]
        self._weights = self._weights[np.ix_(kept, kept)]
        if staked is not None:
            self._composite = np.logaddexp(self._composite, staked)

    def _settle(self, block: Floats) -> None:
        if np.all((block == 0.0) | (block == 1.0)):
            wins = block.T @ (1.0 - block)  # [k, j]: examples that k got right and j wrong
            for g, stake in enumerate(_STAKES):
                self._pairs[g] += np.log1p(stake) * wins
                self._pairs[g] += np.log1p(-stake) * wins.T
        else:
            total = block.sum(axis=0)
            product = block.T @ block
            square = np.diagonal(product)
            first = total[:, None] - total
            second = np.maximum(square[:, None] + square - 2 * product, 0.0)
            for g, stake in enumerate(_STAKES):
                self._pairs[g] += stake * first
                self._pairs[g] += (np.log1p(-stake) + stake) * second
        weights = self._directions()
        differences = np.clip(block @ weights - block, -1.0, 1.0)  # rounding may step over the edge
        for g, stake in enumerate(_STAKES):
            self._composite[g] += np.log1p(stake * differences).sum(axis=0)
        stakes = np.concatenate([_log_sum(self._pairs, 1), self._composite])
        self.log_e = _log_sum(stakes, 0)

    def _reallocate(self, pairs: Floats, share: float) -> None:
        self._pairs += np.log1p(-share)
        self._composite = np.logaddexp(self._composite, pairs + np.log(share))

    def _directions(self) -> Floats:
        """[k, j] composite rival of each j: weights that sum to 1 (all rivals alike where no bet looks good)."""
        total = self._weights.sum(axis=0)
        usable = total > 1e-9
        return np.asarray(np.where(usable, self._weights / np.where(usable, total, 1.0), 1.0 / total.size))

    def _refresh(self) -> None:
        """Projected gradient ascent on w'd - w'Sw / 2 - |w|^2 / (2 n) over w >= 0, sum w <= 1, for all j at once.

        It starts from the last portfolio, so few steps do; any result is a valid bet. S_j w, S_j = second moments
        of X_k - X_j, is expanded so that one matrix product serves all j.
        """
        self._refreshed = self.n
        mean, second = self.sums / self.n, self.cross / self.n
        square = np.diagonal(second)
        gains = mean[:, None] - mean
        ridge = 1.0 / self.n
        spread = max(float(2 * square.mean() - 2 * second.mean()), 0.0)
        step = 1.0 / (spread * mean.size / 2 + ridge)
        weights = self._weights
        for _ in range(_STEPS):
            total = weights.sum(axis=0)
            product = second @ weights
            curvature = product - second * total - (second * weights).sum(axis=0) + square * total
            weights = np.maximum(weights + step * (gains - curvature - ridge * weights), 0.0)
            np.fill_diagonal(weights, 0.0)
            weights /= np.maximum(weights.sum(axis=0), 1.0)
        self._weights = weights
