"""One result of a profile: a variant under a condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from seedzoo.errors import DataError
from seedzoo.selection.intervals import wilson

__all__ = ["Measurable", "ProfileRow", "profile_row", "published_row"]


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """One variant under one condition; the fields are the table's columns.

    Attributes:
        variant: The variant's tag or id.
        condition: The condition's name.
        kind: The condition's kind.
        severity: 1 upwards; None where the kind has no degrees.
        n: Examples evaluated; None where published results do not say.
        correct: Examples predicted right; None where it was published only as a rounded share.
        accuracy: correct / n, or as published.
        accuracy_low: Lower end of the 95 % Wilson interval; None where n is.
        accuracy_high: Upper end of the 95 % Wilson interval; None where n is.
        log_loss: Mean of -ln(probability of the true class), nats.
        top5: Share of the examples whose class is among the five most probable.
        brier: Mean over examples of the sum over classes of (probability - one-hot label)^2, in 0..2.
        ece: Expected calibration error: 15 equal-width bins of the top probability, weighted mean of |accuracy -
            confidence|.
        class_n: Examples of each class, in the task's order.
        class_correct: Of them predicted right.

    What was not measured is None.
    """

    variant: str
    condition: str
    kind: str
    severity: int | None
    n: int | None
    correct: int | None
    accuracy: float
    accuracy_low: float | None
    accuracy_high: float | None
    log_loss: float | None
    top5: float | None = None
    brier: float | None = None
    ece: float | None = None
    class_n: tuple[int, ...] | None = None
    class_correct: tuple[int, ...] | None = None

    @property
    def worst_class(self) -> float | None:
        """Accuracy of the class that is predicted worst, among those with examples; None where not measured."""
        if self.class_n is None or self.class_correct is None:
            return None
        shares = [right / n for right, n in zip(self.class_correct, self.class_n, strict=True) if n]
        return min(shares, default=None)


class Measurable(Protocol):
    """What rows of the profile are about: a synthetic condition or a test set."""

    @property
    def name(self) -> str:
        """Unique name, such as ``pixelate-3`` or ``natural/objectnet``."""
        ...

    @property
    def kind(self) -> str:
        """Its kind, such as ``pixelate`` or ``natural``."""
        ...

    @property
    def severity(self) -> int | None:
        """1 upwards; None where there are no degrees."""
        ...


def profile_row(
    *,
    variant: str,
    condition: Measurable,
    n: int,
    correct: int,
    log_loss: float | None,
    top5: float | None = None,
    brier: float | None = None,
    ece: float | None = None,
    class_n: Sequence[int] | None = None,
    class_correct: Sequence[int] | None = None,
) -> ProfileRow:
    """A row from what was counted; accuracy and its 95 % Wilson interval follow. Arguments as in :class:`ProfileRow`.

    Raises:
        DataError: n is not positive, or correct is not in 0..n.
    """
    if not 0 <= correct <= n or n < 1:
        raise DataError(f"{variant} under {condition.name}: {correct} of {n} examples right is impossible")
    low, high = wilson(correct / n, n)
    return ProfileRow(
        variant=variant,
        condition=condition.name,
        kind=condition.kind,
        severity=condition.severity,
        n=int(n),
        correct=int(correct),
        accuracy=float(correct / n),
        accuracy_low=float(low),
        accuracy_high=float(high),
        log_loss=None if log_loss is None else float(log_loss),
        top5=top5,
        brier=brier,
        ece=ece,
        class_n=None if class_n is None else tuple(map(int, class_n)),
        class_correct=None if class_correct is None else tuple(map(int, class_correct)),
    )


def published_row(
    *, variant: str, condition: str, kind: str, accuracy: float, severity: int | None = None, n: int | None = None
) -> ProfileRow:
    """A row from a published accuracy, a share in 0..1; with n the count and its Wilson interval follow.

    Raises:
        DataError: The accuracy is no share, or n is not positive.
    """
    if not 0 <= accuracy <= 1 or (n is not None and n < 1):
        raise DataError(f"{variant} under {condition}: accuracy {accuracy} of {n} examples is impossible")
    low, high = (None, None) if n is None else map(float, wilson(accuracy, n))
    return ProfileRow(
        variant=variant,
        condition=condition,
        kind=kind,
        severity=severity,
        n=n,
        correct=None,
        accuracy=float(accuracy),
        accuracy_low=low,
        accuracy_high=high,
        log_loss=None,
    )
