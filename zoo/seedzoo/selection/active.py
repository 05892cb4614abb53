"""Which example to label next, and which variant to recommend, when labels are few and predictions many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.checks import check_int, check_open_unit
from seedzoo.selection.choice import FAMILY_MEAN, Choice, assess
from seedzoo.selection.intervals import Interval
from seedzoo.selection.surrogate import VoteModel

__all__ = ["ActiveSelector"]

# Bets as shares of the largest stake that cannot lose everything.
_STAKES = np.array([0.1, 0.25, 0.5, 0.9])
# Expected standard deviation of a contrast per label before any is known, as a share of the disagreement rate.
_FIRST_SD, _LATER_SD, _LEAST_SD = 0.5, 0.3, 0.003


class ActiveSelector:
    """Asks for the most informative labels one by one and recommends a variant at any time.

    Each label is drawn at random with a probability q(i) that follows from the past:
    q = (1 - eta) sqrt(sum_c pi_i(c) s_i(c) (1 - s_i(c))) / total + eta uniform, over the unlabelled examples on
    which the variants disagree. pi_i(c) is the probability that c is true (see
    :class:`~seedzoo.selection.surrogate.VoteModel`), s_i(c) the plausible variants' share of votes for c.

    * The recommendation maximises the surrogate's mean score (labelled examples count with the truth). It is
      no more than a good guess until many labels are in; it equals the truth once all disagreement is labelled.
    * The candidates do not trust the surrogate: psi_h = mean_i chat_ih + (1[P_Ih = y_I] - chat_Ih) / (N q(I)) is
      unbiased for the accuracy of h on these N examples, up to a constant common to all variants, whatever the
      surrogate says. Variant j leaves when a bet that the plausible variants' weighted psi exceeds psi_j has
      multiplied its stake by 1 / alpha (an e-process: valid at any stopping time and any number of looks).

    Two things these labels cannot tell. Nothing is known of examples on which all variants agree, so there is
    no accuracy without :meth:`audit`. And they are no random sample: scores on them must not be averaged.

    Args:
        predictions: int [N, M] predicted class of each variant on each example; no labels.
        n_classes: Number of classes C; predictions and labels lie in 0..C-1.
        eta: Share of uniform sampling, in (0, 1). More makes worst cases milder and typical ones slower.
        seed: Same predictions, labels and seed: same questions.

    Raises:
        ValueError: Predictions of the wrong shape or dtype or outside the classes; n_classes below 2; eta outside
            (0, 1); a negative seed.

    References:
        Augmented inverse probability weighting: J. Robins, A. Rotnitzky, L. P. Zhao (1994), JASA 89; predictable
        active sampling: T. Zrnic, E. J. Candes (2024), Active statistical inference, ICML. E-processes by
        betting: I. Waudby-Smith, A. Ramdas (2024), JRSS B 86. Sampling for differences: M. Matsuura, S. Hara
        (2023), Active model selection: a variance minimization approach.
    """

    def __init__(self, predictions: ArrayLike, n_classes: int, eta: float = 0.5, seed: int = 0) -> None:
        self._classes = check_int(n_classes, "n_classes", low=2)
        self._predictions = _checked_predictions(predictions, self._classes)
        self._eta = check_open_unit(eta, "eta")
        self._seed = check_int(seed, "seed", low=0)
        count, variants = self._predictions.shape
        self._model = VoteModel(self._predictions)
        self._labels = np.full(count, -1, dtype=np.int64)
        self._row_of = np.full(count, -1, dtype=np.int64)
        self._row_of[self._model.examples] = np.arange(self._model.examples.size)
        self._open = np.ones(self._model.examples.size, dtype=np.bool_)
        self._history: list[tuple[int, int, float]] = []
        self._pending: tuple[int, float] | None = None
        self._audited: NDArray[np.int64] | None = None
        self._steps = 0
        self._spread = 0.0
        self._wealth = np.zeros((_STAKES.size, variants))
        self._evidence = np.zeros(variants)  # log of the largest e-value so far, per variant
        self._refresh()

    @property
    def n_labels(self) -> int:
        """Number of labels known."""
        return len(self._history)

    @property
    def relative(self) -> NDArray[np.float64]:
        """[M] the surrogate's estimate of each variant's accuracy minus the family mean; no guarantee."""
        return np.asarray(self._chat - self._chat.mean())

    @property
    def sampling(self) -> NDArray[np.float64]:
        """[N] the probabilities q with which the next example is drawn (all 0 once no disagreement is left)."""
        q = np.zeros(self._labels.size)
        q[self._model.examples] = self._q
        return q

    def next(self) -> int:
        """Index of the example to label next; the same until :meth:`tell` has its label.

        Disagreement examples come first; when none is left the rest follows in random order, which cannot
        change the choice any more.

        Raises:
            ValueError: Every example is labelled.
        """
        if self._pending is None:
            rng = np.random.default_rng([self._seed, len(self._history)])
            if self._open.any():
                # side="right" steps over examples of probability 0.
                limits = np.cumsum(self._q)
                row = int(np.searchsorted(limits, rng.random() * limits[-1], side="right"))
                row = min(row, int(np.flatnonzero(self._open)[-1]))
                self._pending = int(self._model.examples[row]), float(self._q[row])
            else:
                rest = np.flatnonzero(self._labels < 0)
                if not rest.size:
                    raise ValueError("every example is labelled")
                self._pending = int(rng.choice(rest)), math.nan
        return self._pending[0]

    def tell(self, index: int, label: int) -> None:
        """Take in a label.

        Args:
            index: What :meth:`next` returned; while nothing is asked, any example. Such labels are used as known
                truth, and the guarantees stand, because the random draws are our own. A question must be
                answered first: dropping some would make the draws depend on who is asked.
            label: Its true class, 0..C-1.

        Raises:
            ValueError: An index or label out of range, an example that has its label already, or another one than
                was asked.
        """
        at = check_int(index, "index", low=0, high=self._labels.size)
        true = check_int(label, "label", low=0, high=self._classes)
        if self._labels[at] >= 0:
            raise ValueError(f"example {at} is labelled already, as class {self._labels[at]}")
        if self._pending is not None and self._pending[0] != at:
            raise ValueError(f"example {self._pending[0]} was asked; tell its label before that of example {at}")
        q = math.nan if self._pending is None else self._pending[1]
        self._pending = None
        self._record(at, true, q)

    def audit(self, count: int) -> NDArray[np.int64]:
        """Draw a uniform random sample of all N examples, to learn accuracies too; once only.

        Args:
            count: Its size, fixed now; 100 or more to be of use.

        Returns:
            Indices of those that have no label yet, to be told in any order. As soon as all have one, the
            choice states an accuracy, from this sample alone.

        Raises:
            ValueError: A count outside 1..N, or a sample drawn before.
        """
        if self._audited is not None:
            raise ValueError("an audit sample was drawn already; its size cannot be changed afterwards")
        size = check_int(count, "count", low=1, high=self._labels.size + 1)
        rng = np.random.default_rng([self._seed, self._labels.size, size])
        self._audited = np.sort(rng.choice(self._labels.size, size, replace=False)).astype(np.int64)
        return self._audited[self._labels[self._audited] < 0]

    def choice(self, alpha: float = 0.05, delta: float = 0.01) -> Choice:
        """The recommendation now, after any number of labels.

        Args:
            alpha: Chance that the best variant on these N examples ever leaves the candidates, however often one
                looks; with an audit also one minus the coverage of its intervals, which then are about the
                distribution that the examples come from.
            delta: Only passed on: no honest P(within delta) is known for such labels.

        Returns:
            ``best``, ``candidates`` and ``reason`` as described for this class, best first, then by estimate;
            ``n`` is the number of labels. ``p_within`` and ``detectable`` are nan and ``labels_to_separate``
            None: none can be stated honestly. Without a complete audit ``means`` are nan, ``accuracy`` is
            (nan, 0, 1), all variant intervals are [0, 1], and the gain over the family mean is the surrogate's
            estimate with the interval [-1, 1]. With one, all of these come from the audit sample.

        Raises:
            ValueError: alpha or delta outside (0, 1).
        """
        level = check_open_unit(alpha, "alpha")
        tolerance = check_open_unit(delta, "delta")
        variants = self._predictions.shape[1]
        estimate = np.round(self.relative, 12)
        kept = self._evidence < -math.log(level)
        if not self._open.any():
            kept = estimate >= estimate.max()  # all disagreement is labelled: the truth on these examples
        if not kept.any():  # possible with probability alpha only
            kept = np.ones(variants, dtype=np.bool_)
        ranking = [int(j) for j in np.lexsort((np.arange(variants), -estimate)) if kept[j]]
        best = ranking[0]
        means = np.full(variants, math.nan)
        intervals = np.zeros(variants), np.ones(variants)
        gains = {FAMILY_MEAN: Interval(float(estimate[best]), -1.0, 1.0) if variants > 1 else Interval(0.0, 0.0, 0.0)}
        if self._audited is not None and (self._labels[self._audited] >= 0).all():
            scores = self._predictions[self._audited] == self._labels[self._audited, None]
            means, intervals, gains = assess(scores, best=best, alpha=level, seed=self._seed)
        return Choice(
            best=best,
            candidates=tuple(ranking),
            means=means,
            accuracy=Interval(float(means[best]), float(intervals[0][best]), float(intervals[1][best])),
            variant_intervals=intervals,
            gains=gains,
            p_within=math.nan,
            detectable=math.nan,
            labels_to_separate=None,
            reason=self._reason(estimate, best),
            n=self.n_labels,
            alpha=level,
            delta=tolerance,
        )

    def state(self) -> dict[str, Any]:
        """All that is needed beside the predictions to go on: plain numbers and arrays.

        Returns:
            ``n_classes``, ``eta``, ``seed``; ``indices`` int [T], ``labels`` int [T] and ``probabilities`` float [T]
            (q of each label; nan where it was not drawn by disagreement), in order; ``pending`` (index, -1 for
            none) and ``pending_probability``; ``audit`` int [count] (empty: none drawn).
        """
        return {
            "n_classes": self._classes,
            "eta": self._eta,
            "seed": self._seed,
            "indices": np.array([at for at, _, _ in self._history], dtype=np.int64),
            "labels": np.array([label for _, label, _ in self._history], dtype=np.int64),
            "probabilities": np.array([q for _, _, q in self._history], dtype=np.float64),
            "pending": -1 if self._pending is None else self._pending[0],
            "pending_probability": math.nan if self._pending is None else self._pending[1],
            "audit": np.zeros(0, dtype=np.int64) if self._audited is None else self._audited.copy(),
        }

    @classmethod
    def restore(cls, predictions: ArrayLike, state: Mapping[str, Any]) -> Self:
        """The selector that gave this state, for the same predictions; it goes on as that one would have.

        The labels are replayed (a few ms each) with the stored probabilities.

        Raises:
            ValueError: A state that lacks an entry or does not fit the predictions.
        """
        try:
            selector = cls(predictions, state["n_classes"], state["eta"], state["seed"])
            indices, labels, audit = (np.asarray(state[key]) for key in ("indices", "labels", "audit"))
            probabilities = np.asarray(state["probabilities"], dtype=np.float64)
            pending, pending_q = check_int(state["pending"], "pending", low=-1), float(state["pending_probability"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"the state of the labelling cannot be used: {error}") from error
        if not indices.ndim == labels.ndim == probabilities.ndim == 1 or not (
            len(indices) == len(labels) == len(probabilities)
        ):
            raise ValueError("the state's indices, labels and probabilities must be lists of equal length")
        count = selector._labels.size
        for at, label, q in zip(indices.tolist(), labels.tolist(), probabilities.tolist(), strict=True):
            row = selector._row_of[check_int(at, "state: index", low=0, high=count)]
            if not math.isnan(q) and not (0.0 < q <= 1.0 and row >= 0):
                raise ValueError(f"state: example {at} cannot have been drawn with probability {q}")
            if selector._labels[at] >= 0:
                raise ValueError(f"state: example {at} is labelled twice")
            selector._record(at, check_int(label, "state: label", low=0, high=selector._classes), q)
        if audit.ndim != 1 or len(set(audit.tolist())) < audit.size:
            raise ValueError("the state's audit must be a list of examples, none of them twice")
        if audit.size:
            selector._audited = np.array([check_int(at, "state: audit", low=0, high=count) for at in audit.tolist()])
        if pending >= 0:
            at = check_int(pending, "state: pending", low=0, high=count)
            # Only examples on which the variants disagree are drawn with a probability.
            drawn = selector._row_of[at] >= 0
            if selector._labels[at] >= 0 or not (0.0 < pending_q <= 1.0 if drawn else math.isnan(pending_q)):
                raise ValueError(f"state: example {at} cannot be pending, drawn with probability {pending_q}")
            selector._pending = at, pending_q
        return selector

    def _record(self, at: int, label: int, q: float) -> None:
        self._labels[at] = label
        self._history.append((at, label, q))
        row = int(self._row_of[at])
        if row < 0:
            return
        if not math.isnan(q):
            self._bet(row, label, q)
        self._open[row] = False
        self._model.learn(row, label)
        self._refresh()

    def _unbiased(self, row: int, label: int, q: float) -> NDArray[np.float64]:
        """[M] psi of one draw: unbiased for the accuracies, up to a constant common to all variants."""
        model = self._model
        pairs = model.pairs(row)
        surprise = (model.classes[pairs] == label) - model.probabilities[pairs]
        return np.asarray(self._chat + (model.votes[pairs].T @ surprise) / (self._labels.size * q))

    def _bet(self, row: int, label: int, q: float) -> None:
        """Update the e-processes with a drawn label; all stakes follow from what was known before it."""
        model, count = self._model, self._labels.size
        psi = self._unbiased(row, label, q)
        correction = psi - self._chat
        lead = self._plausible @ self._chat - self._chat
        # A contrast's correction is never below -(1 + pi) / (N q), whichever example and label had come.
        top = np.maximum.reduceat(model.probabilities, model.starts)[self._open]
        lowest = float(((1 + top) / (count * np.minimum(self._q[self._open], 1.0))).max())
        bound = np.maximum(lowest - lead, 0.1 * lowest)
        gain = self._plausible @ psi - psi
        self._wealth += np.log1p(np.maximum(_STAKES[:, None] * gain / bound, -0.999))
        best = self._wealth.max(axis=0)
        now = best + np.log(np.exp(self._wealth - best).mean(axis=0))
        self._evidence = np.maximum(self._evidence, now)
        squared = float(np.square(correction - correction.mean()).mean())
        self._steps += 1
        if self._steps == 1:
            squared = max(squared, (_LATER_SD * model.examples.size / count) ** 2)
        self._spread += (squared - self._spread) / self._steps

    def _refresh(self) -> None:
        """Surrogate means, plausible variants and sampling probabilities, after all that is known."""
        model, count = self._model, self._labels.size
        self._chat = model.totals() / count
        if self._steps:
            sd = max(math.sqrt(self._spread / self._steps), _LEAST_SD)
        else:
            sd = max(_FIRST_SD * model.examples.size / count, 0.02)
        weights = np.exp(-0.5 * np.square((self._chat.max() - self._chat) / sd))
        self._plausible = weights / weights.sum()
        share = model.votes @ self._plausible
        power = np.sqrt(np.maximum(model.per_example(model.probabilities * share * (1 - share)), 0.0))
        power[~self._open] = 0.0
        self._q = np.zeros(power.size)
        if self._open.any():
            uniform = self._open / np.count_nonzero(self._open)
            total = power.sum()
            self._q = (1 - self._eta) * power / total + self._eta * uniform if total > 0.0 else uniform

    def _reason(self, estimate: NDArray[np.float64], best: int) -> str:
        variants, n = estimate.size, self.n_labels
        if variants == 1:
            return "Recommended as the only variant there is."
        tied = int(np.count_nonzero(estimate == estimate[best]))
        tie = f" It ties with {tied - 1} more; the lowest index decides." if tied > 1 else ""
        if not self._open.any():
            return f"Recommended as the most accurate on these examples: all disagreement is labelled.{tie}"
        if n == 0:
            return f"Recommended for agreeing most with the variants' votes; no label is known yet.{tie}"
        labels = f"{n} label{'s' if n > 1 else ''}"
        return f"Recommended for the highest accuracy estimated from {labels} and the variants' votes.{tie}"


def _checked_predictions(predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    try:
        array = np.asarray(predictions)
    except ValueError as error:
        raise ValueError(f"predictions cannot be read as an array: {error}") from error
    if array.dtype.kind not in "iu":
        raise ValueError(f"predictions must be integers, got dtype {array.dtype}")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"predictions must have the shape [examples, variants], neither 0, got {array.shape}")
    if int(array.min()) < 0 or int(array.max()) >= classes:
        raise ValueError(f"predictions must lie in 0..{classes - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int64)
