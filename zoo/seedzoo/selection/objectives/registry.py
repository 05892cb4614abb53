"""Objectives by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from seedzoo.selection.objectives.metric import Metric
from seedzoo.selection.objectives.per_example import accuracy, brier, cost_matrix, log_loss, multilabel_accuracy, top_k
from seedzoo.selection.objectives.ranking import auroc, average_precision, risk_at_coverage
from seedzoo.selection.objectives.set_level import balanced_accuracy, ece, macro_f1, worst_slice

__all__ = ["OBJECTIVES", "objective"]

OBJECTIVES: Mapping[str, Callable[..., Metric]] = MappingProxyType(
    {
        "accuracy": accuracy,
        "top_k": top_k,
        "balanced_accuracy": balanced_accuracy,
        "macro_f1": macro_f1,
        "log_loss": log_loss,
        "brier": brier,
        "ece": ece,
        "auroc": auroc,
        "average_precision": average_precision,
        "cost": cost_matrix,
        "worst_slice": worst_slice,
        "multilabel_accuracy": multilabel_accuracy,
        "risk_at_coverage": risk_at_coverage,
    }
)
"""Name to what makes the metric; :class:`Metric` says which way is better and whether it may race."""


def objective(name: str, **parameters: Any) -> Metric:
    """The metric of this name.

    Args:
        name: One of :data:`OBJECTIVES`.
        **parameters: What it takes: ``k`` of top_k, ``bins`` of ece, ``costs`` of cost (required), ``coverage`` of
            risk_at_coverage, ``eleven_point`` of average_precision, ``exact`` of multilabel_accuracy.

    Raises:
        ValueError: No such metric, or parameters that it does not take or lacks.
    """
    make = OBJECTIVES.get(name)
    if make is None:
        raise ValueError(f"no objective is called {name!r}; there are {', '.join(OBJECTIVES)}")
    try:
        inspect.signature(make).bind(**parameters)
    except TypeError as error:
        raise ValueError(f"objective {name}: {error}") from None
    return make(**parameters)
