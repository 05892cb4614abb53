"""What the server says of families, variants and profiles, as plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from seedzoo.records import Certificate, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ConditionView", "FamilyView", "ProfileView", "VariantView"]


@dataclass(frozen=True, slots=True)
class FamilyView:
    """All variants of one recipe, in the release that the server offers."""

    name: str
    title: str
    release: str
    released: datetime | None
    task: Task
    variant_count: int
    held_out_mean: float
    """Mean over the variants of the accuracy on the in-distribution test set."""
    held_out_sd: float
    certificate: Certificate | None
    """None in a family that is not certified."""
    suite: str
    data_name: str
    train_examples: int
    held_out_examples: int
    licence: str
    model_bytes: int
    """Size of all variants' ONNX files together."""
    browse_only: bool = False
    """Whether no variant can be selected: there are no models, or no certificate."""
    provenance: str = ""
    """Where imported results come from."""
    factors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Levels of each factor of a crossed design."""


@dataclass(frozen=True, slots=True)
class VariantView:
    """One trained member of a family."""

    name: str
    """``<family>/<tag>``"""
    family: str
    tag: str
    release: str
    model_size: int
    model_sha256: str
    """Empty in a browse-only family that holds no models."""
    seeds: dict[str, int]
    held_out_accuracy: float
    factors: dict[str, str] = field(default_factory=dict)
    """Level of each factor of a crossed design."""
    int8_size: int = 0
    int8_sha256: str = ""
    """Of the quantised twin, another model with results of its own; empty where there is none."""
    has_card: bool = False


@dataclass(frozen=True, slots=True)
class ConditionView:
    """What a family does on one condition. Numbers that are undefined (a constant column) are NaN."""

    condition: str
    kind: str
    severity: int
    """0 where the condition has no severities."""
    n_examples: int
    """0 where imported results do not say."""
    mean: float
    sd: float
    min: float
    max: float
    worst_variant: str
    best_variant: str
    sd_ratio: float
    """sd divided by the sd in distribution."""
    spearman: float
    """Rank correlation over variants with in-distribution accuracy, and its 95 % interval."""
    spearman_low: float
    spearman_high: float
    measured: int = 0
    """Variants that were measured on it; 0 where an older server does not say."""


@dataclass(frozen=True, slots=True, eq=False)
class ProfileView:
    """The measured table variant x condition of a family."""

    family: str
    release: str
    suite: str
    tags: tuple[str, ...]
    conditions: tuple[ConditionView, ...]
    accuracy: NDArray[np.float64]
    """[variants, conditions], in the order of ``tags`` and ``conditions``, NaN where not measured; read-only."""
    metrics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Other metrics that were measured, each as ``accuracy``: ``log_loss`` (nats), ``ece``, ``brier``, ``top5``,
    ``worst_class`` (accuracy of the class that is predicted worst)."""
    int8_accuracy: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """By tag: accuracies of the quantised twin, [conditions], where it has a profile of its own."""

    def row(self, tag: str) -> NDArray[np.float64]:
        """Accuracies of one variant, [conditions].

        Raises:
            KeyError: The profile has no such variant.
        """
        if tag not in self.tags:
            raise KeyError(tag)
        row: NDArray[np.float64] = self.accuracy[self.tags.index(tag)]
        return row

    def column(self, condition: str) -> NDArray[np.float64]:
        """Accuracies on one condition, [variants].

        Raises:
            KeyError: The profile has no such condition.
        """
        names = [entry.condition for entry in self.conditions]
        if condition not in names:
            raise KeyError(condition)
        column: NDArray[np.float64] = self.accuracy[:, names.index(condition)]
        return column
