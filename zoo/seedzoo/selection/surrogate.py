"""Who is probably right where variants disagree: a conditional logit on their votes, fitted to few labels.

Only disagreement examples matter to a comparison of variants; on all others every variant scores the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["VoteModel"]

# Prior of the utilities, tuned on the first half of the tasks of bench/few_labels.py. Votes: 4 nats between no
# vote and all votes, of which each variant's share may vary; the common strength; each class; each pair of
# (class, class of the plurality); the outside option "no variant is right". _BALANCE: power of the predicted class
# mix by which classes that are predicted too often start lower; chosen with lopsided pools among the tasks.
_VOTE, _VARIANT_SD, _STRENGTH_SD, _CLASS_SD, _CONFUSION_SD = 4.0, 0.7, 2.0, 1.0, 0.5
_NONE, _NONE_SD = -2.0, 1.0
_BALANCE, _BALANCE_MOST = 0.5, 2.0
# The fit starts from the last one, so one Newton step each suffices once labels no longer come as a surprise;
# _MOST is the largest change of a utility in one step.
_FEW, _MOST = 20, 3.0
# Up to this many labels the model is refitted at each, later at every _EVERY-th: it hardly moves any more.
_EACH, _EVERY = 100, 5


class VoteModel:
    """Probability that each predicted class is the true one, for every disagreement example.

    The alternatives of an example are the classes that at least one variant predicts, and "none of them".
    Utility of class c on example i: sum_m w_m 1[P_im = c] + b_c + B_(c, plurality of i), a Gaussian prior on
    all, fitted to the labelled examples by penalised maximum likelihood. The labels enter given the
    predictions, so it does not matter to the fit how examples were chosen by their predictions. b_c starts at
    -.5 log(C predicted share of c), half-way to an even mix. Labelled examples have the truth for a probability.

    Args:
        predictions: [N, M] class numbers.

    Attributes:
        examples: [n] indices of the disagreement examples.
        votes: Sparse [R, M]: 1 where variant m predicts the class of pair r; a pair is an example and a class
            that some variant predicts there. Pairs are sorted by example.
        starts: [n] first pair of each example.
        rows: [R] disagreement example (0..n-1) of each pair.
        classes: [R] class of each pair.
        probabilities: [R] probability that the pair's class is the true one.

    References:
        D. McFadden (1974), Conditional logit analysis of qualitative choice behavior. The idea of learning
        from consensus: A. P. Dawid, A. M. Skene (1979), Appl. Statist. 28.
    """

    def __init__(self, predictions: NDArray[np.int64]) -> None:
        variants = predictions.shape[1]
        self.examples = np.flatnonzero((predictions != predictions[:, :1]).any(axis=1))
        held = predictions[self.examples]
        n = self.examples.size
        span = int(predictions.max()) + 1
        keys, pairs = np.unique(np.arange(n)[:, None] * span + held, return_inverse=True)
        self.rows, self.classes = np.divmod(keys, span)
        self.starts = np.searchsorted(self.rows, np.arange(n))
        self._ends = np.append(self.starts[1:], keys.size)
        self.votes: Any = sparse.csr_matrix(
            (np.ones(held.size), (pairs.ravel(), np.tile(np.arange(variants), n))), shape=(keys.size, variants)
        )
        self._by_variant = self.votes.T.tocsr()
        self.truth = np.zeros(keys.size)
        self._known = np.zeros(keys.size, dtype=np.bool_)
        self._design, self._prior_mean, self._prior_variance = self._features(predictions)
        self._coefficients, self._none = self._prior_mean.copy(), _NONE
        self._labelled: list[int] = []
        self.probabilities = self._predict()

    def _features(self, predictions: NDArray[np.int64]) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
        variants, span = predictions.shape[1], int(predictions.max()) + 1
        share = np.asarray(self.votes.sum(axis=1)).ravel() / variants
        plurality = np.zeros(self.examples.size, dtype=np.int64)
        if self.examples.size:
            top = np.flatnonzero(share >= np.maximum.reduceat(share, self.starts)[self.rows])[::-1]
            plurality[self.rows[top]] = self.classes[top]  # reversed, so that the lowest of tied classes stays
        each = np.arange(share.size)
        ones = np.ones(share.size)
        # Predictions under shift heap up in few classes more often than the truth does: start from a mix between the
        # predicted one and an even one. Wrong where the truth is lopsided; the first labels then correct it.
        mix = np.bincount(predictions.ravel(), minlength=span) / predictions.size
        present = np.maximum(mix, 1e-9)
        balance = np.where(mix > 0, -_BALANCE * np.log(present * np.count_nonzero(mix)), 0.0)
        balance = np.clip(balance, -_BALANCE_MOST, _BALANCE_MOST)
        cells, confusion = np.unique(self.classes * span + plurality[self.rows], return_inverse=True)
        blocks = (
            (self.votes, _VOTE / variants, _VARIANT_SD**2 / variants),
            (sparse.csr_matrix(share[:, None]), 0.0, _STRENGTH_SD**2),
            (sparse.csr_matrix((ones, (each, self.classes)), shape=(share.size, span)), balance, _CLASS_SD**2),
            (
                sparse.csr_matrix((ones, (each, confusion.ravel())), shape=(share.size, cells.size)),
                0.0,
                _CONFUSION_SD**2,
            ),
        )
        design = sparse.hstack([block for block, _, _ in blocks]).tocsr()
        mean = np.concatenate([np.broadcast_to(value, block.shape[1]) for block, value, _ in blocks])
        variance = np.concatenate([np.full(block.shape[1], value) for block, _, value in blocks])
        return design, mean, variance

    def pairs(self, row: int) -> NDArray[np.intp]:
        """The pairs of a disagreement example."""
        return np.arange(self.starts[row], self._ends[row])

    def per_example(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums [n] of values [R] over each example's pairs."""
        return np.add.reduceat(values, self.starts) if values.size else np.zeros(0)

    def totals(self) -> NDArray[np.float64]:
        """[M] expected number of disagreement examples on which each variant is right."""
        return np.asarray(self._by_variant @ self.probabilities)

    def learn(self, row: int, label: int) -> None:
        """Take in the true class of a disagreement example."""
        pairs = self.pairs(row)
        self.truth[pairs] = self.classes[pairs] == label
        self._known[pairs] = True
        self._labelled.append(row)
        count = len(self._labelled)
        if count <= _EACH or count % _EVERY == 0:
            self._fit()
            self.probabilities = self._predict()
        else:
            self.probabilities = self.probabilities.copy()
            self.probabilities[pairs] = self.truth[pairs]

    def _predict(self) -> NDArray[np.float64]:
        if not self.examples.size:
            return np.zeros(0)
        utilities = self._design @ self._coefficients
        top = np.maximum(np.maximum.reduceat(utilities, self.starts), self._none)
        weights = np.exp(utilities - top[self.rows])
        whole = self.per_example(weights) + np.exp(self._none - top)
        return np.where(self._known, self.truth, weights / whole[self.rows])

    def _fit(self) -> None:
        pairs = np.concatenate([self.pairs(row) for row in self._labelled])
        sizes = self._ends[self._labelled] - self.starts[self._labelled]
        starts = np.cumsum(sizes) - sizes
        at = np.repeat(np.arange(sizes.size), sizes)
        rows = self._design[pairs]
        # A feature seen once says hardly more than its example; leaving it out bounds the cost at many classes.
        seen = np.flatnonzero(np.bincount(rows.indices, minlength=rows.shape[1]) > 1)
        x, y = rows[:, seen].toarray(), self.truth[pairs]
        nobody = 1 - np.add.reduceat(y, starts)
        mean = np.append(self._prior_mean[seen], _NONE)
        precision = 1 / np.append(self._prior_variance[seen], _NONE_SD**2)
        value = np.append(self._coefficients[seen], self._none)
        for _ in range(2 if len(self._labelled) <= _FEW else 1):
            utilities = x @ value[:-1]
            top = np.maximum(np.maximum.reduceat(utilities, starts), value[-1])
            weights, outside = np.exp(utilities - top[at]), np.exp(value[-1] - top)
            whole = np.add.reduceat(weights, starts) + outside
            p, p_none = weights / whole[at], outside / whole
            gradient = np.append(x.T @ (y - p), (nobody - p_none).sum()) - precision * (value - mean)
            weighted = x * p[:, None]
            expected = np.column_stack([np.add.reduceat(weighted, starts, axis=0), p_none])
            hessian = np.diag(precision) - expected.T @ expected
            hessian[:-1, :-1] += weighted.T @ x
            hessian[-1, -1] += p_none.sum()
            step = np.linalg.solve(hessian, gradient)
            longest = max(float(np.abs(x @ step[:-1]).max()), abs(float(step[-1])), 1e-12)
            value = value + step * min(1.0, _MOST / longest)
        self._coefficients = self._prior_mean.copy()
        self._coefficients[seen] = value[:-1]
        self._none = float(value[-1])
