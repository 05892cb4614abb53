"""What metrics are computed from: labels, and what M variants said about the same n examples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedzoo.selection.checks import as_group_codes

__all__ = ["Inputs"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Checked inputs; build them with :meth:`of`.

    Attributes:
        labels: [n] true class numbers, or [n, L] booleans in a multi-label task.
        predicted: [n, M] predicted class numbers, or [n, M, L] booleans. Where only probabilities were given:
            their arg max, or whether they are at least one half.
        probabilities: [n, M, C] class probabilities, or [n, M, L] of each label; None if not given.
        slices: [n] number of the slice an example belongs to; None if not given.
        classes: C, or L.
    """

    labels: NDArray[Any]
    predicted: NDArray[Any]
    probabilities: NDArray[np.float64] | None
    slices: NDArray[np.intp] | None
    classes: int

    @classmethod
    def of(
        cls,
        labels: ArrayLike,
        *,
        predicted: ArrayLike | None = None,
        probabilities: ArrayLike | None = None,
        slices: Sequence[Hashable] | NDArray[Any] | None = None,
    ) -> Inputs:
        """Check inputs.

        Args:
            labels: [n] class numbers from 0 on, or [n, L] booleans.
            predicted: [n, M] class numbers, or [n, M, L] booleans.
            probabilities: [n, M, C] non-negative, summing to 1 within 1e-3 over classes; or [n, M, L] in [0, 1].
            slices: [n] hashables, the slice of each example.

        Raises:
            ValueError: Nothing predicted, shapes that do not fit each other, wrong dtypes, NaN, labels outside the
                classes, or probabilities that are none.
        """
        truth = np.asarray(labels)
        many = truth.ndim == 2
        if truth.ndim not in (1, 2) or truth.dtype.kind not in ("b" if many else "iu") or not truth.size:
            raise ValueError(
                "labels must be class numbers [n] or booleans [n, labels] for at least one example, "
                f"got {truth.dtype} of shape {truth.shape}"
            )
        if predicted is None and probabilities is None:
            raise ValueError("predicted or probabilities must be given")
        n = len(truth)
        chance = None if probabilities is None else _probabilities(probabilities, truth)
        guess: NDArray[Any]
        if predicted is None and chance is not None:
            guess = np.asarray(chance >= 0.5) if many else chance.argmax(axis=2)
        else:
            guess = _predicted(np.asarray(predicted), truth)
        if chance is not None and chance.shape[:2] != guess.shape[:2]:
            raise ValueError(
                f"predicted and probabilities must be of the same examples and variants, got {guess.shape[:2]} "
                f"and {chance.shape[:2]}"
            )
        if chance is not None:
            classes = chance.shape[2]
        elif many:
            classes = truth.shape[1]
        else:
            classes = int(max(truth.max(), guess.max())) + 1
        if not many and (truth.min() < 0 or truth.max() >= classes):
            raise ValueError(f"labels must lie between 0 and {classes - 1}, got {truth.min()} to {truth.max()}")
        codes = None if slices is None else as_group_codes(slices, n=n)
        return cls(labels=truth, predicted=guess, probabilities=chance, slices=codes, classes=classes)

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.labels)

    @property
    def multilabel(self) -> bool:
        """Whether an example may have several labels."""
        return bool(self.labels.ndim == 2)

    @property
    def variants(self) -> int:
        """M."""
        return int(self.predicted.shape[1])

    def take(self, rows: NDArray[np.intp]) -> Inputs:
        """The inputs of these examples only."""
        return replace(
            self,
            labels=self.labels[rows],
            predicted=self.predicted[rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            slices=None if self.slices is None else self.slices[rows],
        )

    def first(self, variants: int) -> Inputs:
        """The inputs of so many leading columns only."""
        return replace(
            self,
            predicted=self.predicted[:, :variants],
            probabilities=None if self.probabilities is None else self.probabilities[:, :variants],
        )

    def need_predicted(self, *, multilabel: bool = False) -> NDArray[Any]:
        """``predicted``, for a task of this kind.

        Raises:
            ValueError: The task is of the other kind.
        """
        self._need_kind(multilabel)
        return self.predicted

    def need_probabilities(self, *, multilabel: bool | None = False) -> NDArray[np.float64]:
        """``probabilities``, for a task of this kind (None: of either kind).

        Raises:
            ValueError: Not given, or the task is of the other kind.
        """
        if multilabel is not None:
            self._need_kind(multilabel)
        if self.probabilities is None:
            raise ValueError("this metric needs class probabilities")
        return self.probabilities

    def indicator(self) -> NDArray[np.bool_]:
        """[n, C] True where the example has this class or label."""
        if self.multilabel:
            return np.asarray(self.labels, dtype=np.bool_)
        return np.asarray(self.labels[:, None] == np.arange(self.classes), dtype=np.bool_)

    def _need_kind(self, multilabel: bool) -> None:
        if self.multilabel != multilabel:
            kind = "labels as booleans [n, labels]" if multilabel else "one class number per example"
            raise ValueError(f"this metric needs {kind}")


def _predicted(values: ArrayLike, truth: NDArray[Any]) -> NDArray[Any]:
    guess = np.asarray(values)
    many = truth.ndim == 2
    fits = guess.ndim == truth.ndim + 1 and guess.shape[0] == len(truth) and guess.shape[1] > 0
    if not fits or guess.dtype.kind not in ("b" if many else "iu") or (many and guess.shape[2] != truth.shape[1]):
        expected = (
            f"booleans [{len(truth)}, variants, {truth.shape[1]}]" if many else f"integers [{len(truth)}, variants]"
        )
        raise ValueError(f"predicted must be {expected}, got {guess.dtype} of shape {guess.shape}")
    if not many and guess.min() < 0:
        raise ValueError("predicted must be class numbers from 0 on")
    return guess


def _probabilities(values: ArrayLike, truth: NDArray[Any]) -> NDArray[np.float64]:
    chance = np.asarray(values)
    n = len(truth)
    if chance.ndim != 3 or chance.shape[0] != n or 0 in chance.shape or chance.dtype.kind not in "fiub":
        raise ValueError(
            f"probabilities must be numbers [{n}, variants, classes], got {chance.dtype} of shape {chance.shape}"
        )
    chance = chance.astype(np.float64, copy=False)
    if not (chance.min() >= 0.0 and chance.max() <= 1.0 + 1e-3):  # NaN fails both comparisons
        raise ValueError("probabilities must lie in [0, 1] and must not be NaN")
    if truth.ndim == 2:
        if chance.shape[2] != truth.shape[1]:
            raise ValueError(f"probabilities must cover {truth.shape[1]} labels, got {chance.shape[2]}")
    elif np.abs(chance.sum(axis=2) - 1.0).max() > 1e-3:
        raise ValueError("probabilities must sum to 1 over the classes")
    return chance
