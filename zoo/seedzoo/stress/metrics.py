"""What is counted on evaluated examples: pure functions from probabilities to sums, and from sums to a profile's row.

Every sum is an integer. What is not a count (losses, confidences) is rounded per example to a multiple of 2^-30, which
changes a mean by less than 1e-9; integers add up to the same in any order and any split into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedzoo.inference.evaluate import softmax
from seedzoo.stress.table import Measurable, ProfileRow, profile_row

__all__ = [
    "BINS",
    "Scores",
    "Sums",
    "Truth",
    "add",
    "beside",
    "class_probabilities",
    "row_of",
    "score",
    "stack",
    "sums",
]

BINS = 15
"""Equal-width bins of the top probability, each with its upper end, for the expected calibration error."""
UNIT = 2.0**30
_TOP = 5
_TINY = float(np.finfo(np.float32).tiny)

Sums = Mapping[str, NDArray[np.int64]]
"""What was counted, by name; what is not measured is absent. All but ``n`` and ``class_n`` begin with M variants:

n ``[]`` examples or anchors, correct ``[M]``, top5 ``[M]``, loss ``[M]`` and brier ``[M]`` in units of 2^-30,
bin_n, bin_correct and bin_confidence ``[M, 15]`` (the last in these units), class_n ``[C]``, class_correct ``[M, C]``,
squares ``[]`` over examples the squared number of variants that are right, from which the paired test of excess
variance follows (:mod:`seedzoo.selection.excess_variance`).
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What counts as right for b examples.

    Attributes:
        labels: int64 ``[b]`` class indices of the task.
        classes: C, the task's classes.
        accepted: bool ``[b, C]``; None where only the label is right.
        candidates: int ``[K]`` ascending class indices among which predictions are made; None for all C.
        anchors: int64 ``[b]``; None where every example counts for itself.
    """

    labels: NDArray[np.int64]
    classes: int
    accepted: NDArray[np.bool_] | None = None
    candidates: NDArray[np.intp] | None = None
    anchors: NDArray[np.int64] | None = None

    @property
    def width(self) -> int:
        """How many classes a prediction is made among: C or K."""
        return self.classes if self.candidates is None else len(self.candidates)

    @property
    def places(self) -> NDArray[np.intp]:
        """Each label's column among the candidates ``[b]``."""
        if self.candidates is None:
            return self.labels.astype(np.intp)
        return np.searchsorted(self.candidates, self.labels).astype(np.intp)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What is kept of the predictions on b examples, ``[b]`` of one variant or ``[M, b]`` of all.

    Attributes:
        right: Whether the most probable class is right.
        top5: Whether one of the five most probable is; None with five classes or fewer.
        loss: -ln(probability of what is right), in units of 2^-30 nats.
        brier: Sum over classes of (probability - one-hot label)^2, in these units; None where several classes
            are right.
        confidence: Top probability, in these units.
    """

    right: NDArray[np.bool_]
    top5: NDArray[np.bool_] | None
    loss: NDArray[np.int64]
    brier: NDArray[np.int64] | None
    confidence: NDArray[np.int64]


def class_probabilities(logits: NDArray[np.float32], candidates: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
    """Softmax float32 ``[b, K]`` of logits ``[b, C]``, over the candidates only where there are some."""
    return softmax(logits if candidates is None else logits[:, candidates])


def score(probabilities: NDArray[np.float32], truth: Truth) -> Scores:
    """Score one variant's predictions.

    Args:
        probabilities: float32 ``[b, K]`` from :func:`class_probabilities`.
        truth: Of the same examples.
    """
    rows, places = np.arange(len(probabilities)), truth.places
    accepted = truth.accepted
    if accepted is None:
        best = places
        mass = probabilities[rows, places].astype(np.float64)
        wide = probabilities.astype(np.float64)
        brier = np.square(wide).sum(axis=1) - 2 * mass + 1
    else:
        accepted = accepted if truth.candidates is None else accepted[:, truth.candidates]
        among = np.where(accepted, probabilities, np.float32(-1))
        best = among.argmax(axis=1)
        mass = np.where(accepted, probabilities, np.float32(0)).sum(axis=1, dtype=np.float64)
        brier = None
    top = probabilities.argmax(axis=1)
    right: NDArray[np.bool_] = np.equal(top, best)
    possible: NDArray[np.bool_] = np.ones(len(rows), dtype=np.bool_)
    if accepted is not None:
        right, possible = accepted[rows, top], np.asarray(accepted.any(axis=1))
    return Scores(
        right=right,
        top5=_among_top(probabilities, best, _TOP) & possible if truth.width > _TOP else None,
        loss=_fixed(-np.log(np.clip(mass, _TINY, 1.0))),
        brier=None if brier is None else _fixed(brier),
        confidence=_fixed(probabilities[rows, top]),
    )


def _among_top(probabilities: NDArray[np.float32], which: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """Whether one class of each row is among its most probable; of equally probable ones the first goes before."""
    own = probabilities[np.arange(len(which)), which][:, np.newaxis]
    before = (probabilities == own) & (np.arange(probabilities.shape[1]) < which[:, np.newaxis])
    rank: NDArray[np.intp] = ((probabilities > own) | before).sum(axis=1)
    return rank < count


def _fixed(values: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.rint(values.astype(np.float64) * UNIT).astype(np.int64)


def stack(scores: Iterable[Scores]) -> Scores:
    """Scores of M variants ``[M, b]`` from those of each."""
    return _together(list(scores), np.stack)


def beside(groups: Iterable[Scores]) -> Scores:
    """Scores of all variants ``[M, b]`` from those of groups of them ``[g, b]``."""
    return _together(list(groups), np.concatenate)


def _together(parts: Sequence[Scores], join: Callable[[Sequence[NDArray[Any]]], NDArray[Any]]) -> Scores:
    top5 = [part.top5 for part in parts if part.top5 is not None]
    brier = [part.brier for part in parts if part.brier is not None]
    return Scores(
        right=join([part.right for part in parts]),
        top5=join(top5) if top5 else None,
        loss=join([part.loss for part in parts]),
        brier=join(brier) if brier else None,
        confidence=join([part.confidence for part in parts]),
    )


def sums(
    scores: Scores, truth: Truth, rows: NDArray[np.intp] | None = None, *, counted: NDArray[np.bool_] | None = None
) -> Sums:
    """Count what M variants got on examples.

    Args:
        scores: ``[M, b]``.
        truth: Of the same b examples. Where it has anchors, all examples of an anchor must be among ``rows``.
        rows: Positions of the examples that count; all when omitted.
        counted: bool ``[M]`` which variants count in ``squares``; all when omitted. Quantised twins must not: they
            are copies, not members of the family.
    """
    if rows is None:
        rows = np.arange(len(truth.labels))
    right = scores.right[:, rows]
    members = len(right)
    if truth.anchors is not None:
        _, number = np.unique(truth.anchors[rows], return_inverse=True)
        anchors = int(number.max()) + 1 if len(rows) else 0
        wrong = np.zeros((members, anchors), dtype=np.bool_)
        for member in range(members):
            wrong[member, number[~right[member]]] = True
        return {
            "n": np.array(anchors, dtype=np.int64),
            "correct": _count(~wrong),
            "squares": _squares(~wrong, counted),
        }
    found = {
        "n": np.array(len(rows), dtype=np.int64),
        "correct": _count(right),
        "squares": _squares(right, counted),
        "loss": _total(scores.loss[:, rows]),
    }
    if scores.top5 is not None:
        found["top5"] = _count(scores.top5[:, rows])
    if scores.brier is not None:
        found["brier"] = _total(scores.brier[:, rows])
    confidence = scores.confidence[:, rows]
    # -(-a // b) rounds up: a bin is open below and closed above, as in Guo et al. (2017).
    bins = np.clip(-(-confidence * BINS // int(UNIT)) - 1, 0, BINS - 1)
    found["bin_n"] = _grouped(bins, BINS, None)
    found["bin_correct"] = _grouped(bins, BINS, right)
    found["bin_confidence"] = _grouped(bins, BINS, confidence)
    if truth.accepted is None:
        labels = truth.labels[rows]
        found["class_n"] = np.bincount(labels, minlength=truth.classes).astype(np.int64)
        found["class_correct"] = _grouped(np.broadcast_to(labels, right.shape), truth.classes, right)
    return found


def _count(marks: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.asarray(marks.sum(axis=1, dtype=np.int64))


def _squares(right: NDArray[np.bool_], counted: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    per_example = (right if counted is None else right[counted]).sum(axis=0, dtype=np.int64)
    return np.asarray(per_example @ per_example, dtype=np.int64)


def _total(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(values.sum(axis=1))


def _grouped(
    groups: NDArray[np.int64], count: int, values: NDArray[np.bool_] | NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Sums of ``values`` ``[M, b]`` (of ones when omitted) by group: int64 ``[M, count]``."""
    cells = (np.arange(len(groups))[:, np.newaxis] * count + groups).ravel()
    # Weighted sums are float64: exact below 2^53, which a block of 2^23 examples at 2^30 units each does not pass.
    weights = None if values is None else values.ravel()
    found = np.bincount(cells, weights=weights, minlength=len(groups) * count)
    return found.astype(np.int64).reshape(len(groups), count)


def add(parts: Iterable[Sums]) -> Sums:
    """The sums of all parts together, exactly; the parts must come from the same variants and kind of truth.

    Raises:
        ValueError: There are no parts, or they do not count the same.
    """
    total: dict[str, NDArray[np.int64]] = {}
    for part in parts:
        if total and total.keys() != part.keys():
            raise ValueError(f"parts count {sorted(total)} and {sorted(part)}")
        total = {name: part[name] + total[name] if total else part[name] for name in part}
    if not total:
        raise ValueError("there are no parts to add")
    return total


def row_of(found: Sums, member: int, *, variant: str, condition: Measurable) -> ProfileRow:
    """The profile's row of one variant.

    The expected calibration error is the mean over examples of the distance between accuracy and mean
    confidence of their bin (Guo et al. 2017, "On calibration of modern neural networks").

    Args:
        found: Sums with n >= 1.
        member: The variant's place in them.
        variant: Its tag.
        condition: What it was measured under.
    """
    n = int(found["n"])

    def mean(name: str, unit: float) -> float | None:
        return None if name not in found else float(found[name][member]) / unit / n

    ece = None
    if "bin_n" in found:
        gaps = np.abs(found["bin_correct"][member] - found["bin_confidence"][member] / UNIT)
        ece = float(gaps.sum()) / n
    return profile_row(
        variant=variant,
        condition=condition,
        n=n,
        correct=int(found["correct"][member]),
        log_loss=mean("loss", UNIT),
        top5=mean("top5", 1),
        brier=mean("brier", UNIT),
        ece=ece,
        class_n=found["class_n"].tolist() if "class_n" in found else None,
        class_correct=found["class_correct"][member].tolist() if "class_correct" in found else None,
    )
